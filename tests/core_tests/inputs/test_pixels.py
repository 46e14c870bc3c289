"""Decoded pictures: once per file, shared by whoever selects whichever rows, whole or absent."""

from __future__ import annotations

import os
import resource
import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from core.cache import Cache
from core.errors import UserError
from core.inputs.images.files import decode
from core.inputs.pixels import Pixels, load_pixels, prepare_pixels
from tests.core_tests.image_toys import SIZE, catalog_of, noise
from tests.errors import refused


def test_pixels_are_the_decoded_files_by_row(images: Path, tmp_path: Path) -> None:
    names = ["2.jpg", "", "0.jpg", "2.jpg", "none.jpg", "tall.png"]
    pixels = load_pixels(catalog_of(names, images), Cache(tmp_path / "cache"), SIZE)
    assert isinstance(pixels.array, np.memmap)
    assert pixels.array.shape == (3, SIZE, SIZE, 3)
    assert pixels.index.dtype == np.int64
    taken = pixels.take(np.arange(len(names)))
    for row, name in enumerate(names):
        present = (images / name).is_file()
        assert (taken[row] == (decode(images / name, SIZE) if present else 0)).all()
        assert (pixels.index[row] >= 0) == present
    assert pixels.index[0] == pixels.index[3]


def cached(cache: Cache) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in cache.folder.rglob("*.npy")}


def nothing_but_locks(folder: Path) -> bool:
    return all(path.suffix == ".lock" for path in folder.rglob("*") if path.is_file())


def test_any_selection_of_rows_finds_what_was_decoded(images: Path, tmp_path: Path) -> None:
    cache, catalog = Cache(tmp_path / "cache"), catalog_of([f"{number}.jpg" for number in range(4)], images)
    decoded: list[int] = []
    whole = load_pixels(catalog, cache, SIZE, progress=lambda done, of: decoded.append(of))
    before = cached(cache)
    part = load_pixels(catalog.take(np.array([3, 1])), cache, SIZE, progress=lambda done, of: decoded.append(of))
    assert decoded == [4]
    assert cached(cache) == before
    assert (part.take(np.arange(2)) == whole.take(np.array([3, 1]))).all()


def test_new_pictures_are_added_and_old_ones_are_not_decoded_again(images: Path, tmp_path: Path) -> None:
    cache, decoded = Cache(tmp_path / "cache"), []
    load_pixels(catalog_of(["0.jpg", "1.jpg"], images), cache, SIZE)
    catalog = catalog_of(["3.jpg", "1.jpg", "tall.png"], images)
    pixels = load_pixels(catalog, cache, SIZE, progress=lambda done, of: decoded.append(of))
    assert decoded == [2]
    assert pixels.array.shape[0] == 4
    for row, name in enumerate(["3.jpg", "1.jpg", "tall.png"]):
        assert (pixels.take(np.array([row]))[0] == decode(images / name, SIZE)).all()
    other = load_pixels(catalog, cache, SIZE // 2)
    assert other.array.shape[1:] == (SIZE // 2, SIZE // 2, 3)


def test_images_padded_with_another_colour_are_other_pixels(images: Path, tmp_path: Path) -> None:
    cache, catalog = Cache(tmp_path / "cache"), catalog_of(["tall.png", "0.jpg"], images)
    white = load_pixels(catalog, cache, SIZE)
    assert prepare_pixels({"train": catalog}, cache, SIZE, padding="black") == 0
    before = cached(cache)
    black = load_pixels(catalog, cache, SIZE, padding="black")
    assert cached(cache) == before and len(before) == 2
    assert white.key != black.key
    assert (black.take(np.array([0]))[0] == decode(images / "tall.png", SIZE, padding="black")).all()
    assert (load_pixels(catalog, cache, SIZE).take(np.arange(2)) == white.take(np.arange(2))).all()


def test_prepared_catalogs_share_one_array(images: Path, tmp_path: Path) -> None:
    cache, decoded = Cache(tmp_path / "cache"), []
    train, test = catalog_of(["0.jpg", "1.jpg"], images), catalog_of(["1.jpg", "3.jpg"], images)
    prepare_pixels({"train": train, "test": test}, cache, SIZE, progress=lambda done, of: decoded.append(of))
    for catalog in (train, test, train.take(np.array([1]))):
        pixels = load_pixels(catalog, cache, SIZE, progress=lambda done, of: decoded.append(of))
        assert pixels.array.shape[0] == 3
    assert decoded == [3]
    assert len(cached(cache)) == 1
    (images / "empty.jpg").write_bytes(b"")
    with refused("images-unusable"):
        prepare_pixels({"train": train, "test": catalog_of(["empty.jpg"], images)}, cache, SIZE)


def test_a_changed_file_is_decoded_again(images: Path, tmp_path: Path) -> None:
    cache, catalog = Cache(tmp_path / "cache"), catalog_of(["0.jpg"], images)
    old = load_pixels(catalog, cache, SIZE).take(np.array([0]))
    noise(60, 40, seed=77).save(images / "0.jpg")
    os.utime(images / "0.jpg", ns=(1, 1))
    new = load_pixels(catalog, cache, SIZE).take(np.array([0]))
    assert (new[0] == decode(images / "0.jpg", SIZE)).all()
    assert (new != old).any()


def test_the_key_names_the_array_row_by_row(images: Path, tmp_path: Path) -> None:
    def grown(folder: str, *steps: list[str]) -> Pixels:
        for names in steps:
            pixels = load_pixels(catalog_of(names, images), Cache(tmp_path / folder), SIZE)
        return pixels

    first, others = grown("a", ["0.jpg", "1.jpg"]), [["0.jpg"], ["0.jpg", "1.jpg", "2.jpg"], ["tall.png", "1.jpg"]]
    assert grown("b", ["1.jpg", "0.jpg", ""]).key == first.key
    assert grown("a", ["1.jpg"]).key == first.key
    assert len({first.key, *(grown(f"other {place}", names).key for place, names in enumerate(others))}) == 4
    orders = [grown(start, [start], ["0.jpg", "1.jpg"]) for start in ("0.jpg", "1.jpg")]
    assert (orders[0].array != orders[1].array).any() and orders[0].key != orders[1].key


def test_an_array_that_had_to_make_room_is_decoded_again(images: Path, tmp_path: Path) -> None:
    catalog, decoded = catalog_of(["0.jpg", "1.jpg"], images), []
    for _ in range(2):
        cache = Cache(tmp_path / "cache", limit=1)
        pixels = load_pixels(catalog, cache, SIZE, progress=lambda done, of: decoded.append(of))
        cache.prune()
        assert (pixels.take(np.array([1]))[0] == decode(images / "1.jpg", SIZE)).all()
    assert decoded == [2, 2]


def test_no_pictures_at_all(images: Path, tmp_path: Path) -> None:
    for folder in (None, images):
        pixels = load_pixels(catalog_of(["", ""], folder), Cache(tmp_path / "cache"), SIZE)
        assert list(pixels.index) == [-1, -1]
        assert pixels.array.shape == (0, SIZE, SIZE, 3)
        assert (pixels.take(np.array([0, 1])) == 0).all()
    assert not (tmp_path / "cache").exists()


def test_an_undecodable_picture_leaves_no_half_cache(images: Path, tmp_path: Path) -> None:
    whole = (images / "0.jpg").read_bytes()
    (images / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "empty.jpg").write_bytes(b"")
    with refused("images-unusable") as caught:
        load_pixels(catalog_of(["cut.jpg", "0.jpg", "empty.jpg", "cut.jpg"], images), Cache(tmp_path / "cache"), SIZE)
    assert "row 4 (sample_id id3), column image_link" in str(caught.value)
    assert nothing_but_locks(tmp_path / "cache")


def test_damage_inside_a_jpeg_is_found_in_decoding_and_can_be_dropped(images: Path, tmp_path: Path) -> None:
    whole = bytearray((images / "0.jpg").read_bytes())
    whole[whole.index(b"\xff\xc0") + 9] = 77  # 77 colour components
    (images / "odd.jpg").write_bytes(whole)
    catalog, cache = catalog_of(["odd.jpg", "1.jpg", "odd.jpg"], images), Cache(tmp_path / "cache")
    with refused("images-unusable") as caught:
        prepare_pixels({"train": catalog}, cache, SIZE)
    assert "train row 1 " in caught.value.what
    assert prepare_pixels({"train": catalog}, cache, SIZE, drop_bad=True) == 1
    pixels = load_pixels(catalog, cache, SIZE)
    assert list(pixels.index < 0) == [True, False, True]
    assert (pixels.take(np.array([1]))[0] == decode(images / "1.jpg", SIZE)).all()
    larger = load_pixels(catalog_of(["2.jpg", "odd.jpg"], images), cache, SIZE)
    assert list(larger.index < 0) == [False, True]


def test_a_cache_that_cannot_be_written_is_the_users_to_mend(images: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with refused("image-cache-unwritable"):
        load_pixels(catalog_of(["0.jpg"], images), Cache(tmp_path / "cache"), SIZE)


def write_within_limit(images: Path, cache: Path) -> str:
    """What a process that may write no file over 4 KiB, as on a full disk, says about the cache."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        load_pixels(catalog_of(["0.jpg", "1.jpg"], images), Cache(cache), SIZE)
    except UserError as error:
        return str(error)
    return ""


def test_a_full_disk_is_an_error_and_leaves_nothing_half_written(images: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(1) as pool:
        message = pool.submit(write_within_limit, images, tmp_path / "cache").result()
    assert "cannot be written" in message
    assert "free some space" in message
    assert nothing_but_locks(tmp_path / "cache")


def load_sum(images: Path, cache: Path) -> int:
    pixels: Pixels = load_pixels(catalog_of([f"{number}.jpg" for number in range(4)], images), Cache(cache), SIZE)
    return int(pixels.take(np.arange(4)).astype(np.int64).sum())


def test_processes_may_build_the_same_cache_at_once(images: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with ProcessPoolExecutor(3) as pool:
        sums = set(pool.map(load_sum, [images] * 6, [cache] * 6))
    assert sums == {load_sum(images, tmp_path / "alone")}
    assert len(Cache(cache).entries()) == 1
