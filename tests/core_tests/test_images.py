import os
import resource
import signal
import struct
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from core.cache import Cache
from core.catalog import Catalog
from core.errors import UserError
from core.images import PAD, PIXEL_LIMIT, UnreadablePictureError, check_pictures, decode, fault, list_pictures
from core.pixels import Pixels, load_pixels, prepare_pixels

SIZE = 32


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def catalog_of(links: list[str], images: Path | None) -> Catalog:
    rows = len(links)
    texts = np.array([f"Item Name: {row}" for row in range(rows)], dtype=object)
    ids = np.array([f"id{row}" for row in range(rows)], dtype=object)
    return Catalog(ids, texts, np.array(links, dtype=object), np.ones(rows), images=images)


def huge_png(path: Path, side: int) -> None:
    """A valid header of a picture of side x side pixels, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        noise(60 + number, 40, number).save(folder / f"{number}.jpg")
    noise(30, 50, 9).save(folder / "tall.png")
    return folder


def spoil(images: Path) -> dict[str, str]:
    """Bad files by name, with a word that the message must hold."""
    whole = (images / "0.jpg").read_bytes()
    (images / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    png = (images / "tall.png").read_bytes()
    (images / "truncated.png").write_bytes(png[: len(png) // 2])
    (images / "flipped.png").write_bytes(png[:60] + bytes([png[60] ^ 255]) + png[61:])
    (images / "empty.jpg").write_bytes(b"")
    (images / "text.jpg").write_text("404 not found")
    huge_png(images / "huge.png", 30_000)
    huge_png(images / "large.png", 9_000)
    return {
        "truncated.jpg": "truncated",
        "truncated.png": "truncated",
        "flipped.png": "damaged",
        "empty.jpg": "empty",
        "text.jpg": "not a picture",
        "huge.png": "more pixels than the limit",
        "large.png": "9,000 x 9,000",
    }


def test_good_pictures_missing_links_and_missing_files(images: Path) -> None:
    links = ["https://x.example/I/0.jpg", "", "https://x.example/I/none.jpg", "1.jpg?w=500", "tall.png", "0.jpg"]
    seen: list[tuple[int, int]] = []
    report = check_pictures(catalog_of(links, images), progress=lambda done, of: seen.append((done, of)))
    assert (report.rows, report.linked, report.found, report.bad) == (6, 5, 4, ())
    assert report.note == "4 of 6 rows have a picture (1 without a link, 1 without a file)"
    assert seen == [(3, 3)]


def test_bad_pictures_are_named_with_row_column_file_and_cure(images: Path) -> None:
    words = spoil(images)
    names = ["0.jpg", *words]
    with pytest.raises(UserError) as caught:
        check_pictures(catalog_of(names, images), "test")
    message = str(caught.value)
    assert f"{len(words)} rows have pictures that cannot be used" in message
    for row, (name, word) in enumerate(words.items(), start=2):
        (line,) = [line for line in message.splitlines() if f"test row {row} " in line]
        assert f"sample_id id{row - 1}" in line
        assert "column image_link" in line
        assert str(images / name) in line
        assert word in line
    assert "--drop-bad" in caught.value.cure


def test_ten_bad_pictures_are_shown_and_the_others_counted(images: Path) -> None:
    (images / "empty.jpg").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        check_pictures(catalog_of(["empty.jpg"] * 13, images))
    lines = caught.value.what.splitlines()
    assert len(lines) == 1 + 10 + 1
    assert lines[-1].strip() == "and 3 more"


def test_drop_bad_treats_them_as_missing(images: Path, tmp_path: Path) -> None:
    names = ["0.jpg", *spoil(images), ""]
    catalog = catalog_of(names, images)
    report = check_pictures(catalog, drop_bad=True)
    assert [one.row for one in report.bad] == list(range(1, len(names) - 1))
    assert report.found == 1
    assert "7 with a bad file, treated as missing" in report.note
    clean = report.without_bad(catalog)
    assert list(clean.links) == ["0.jpg", *[""] * (len(names) - 1)]
    assert list(catalog.links) == names
    pixels = load_pixels(clean, Cache(tmp_path / "cache"), SIZE)
    assert list(pixels.index) == [0, *[-1] * (len(names) - 1)]


@pytest.mark.parametrize(
    "link",
    [
        "..",
        "../",
        "https://x.example/..",
        "../../etc/passwd",
        "a\x00b.jpg",
        "x" * 5000,
        ".",
        "sub",
        "/",
        "http://[x/none.jpg",
    ],
)
def test_no_link_leads_out_of_the_folder(images: Path, tmp_path: Path, link: str) -> None:
    (images / "sub").mkdir()
    (tmp_path / "passwd").write_text("secret")
    catalog = catalog_of([link], images)
    assert check_pictures(catalog).found == 0
    assert list(load_pixels(catalog, Cache(tmp_path / "cache"), SIZE).index) == [-1]


def test_no_folder_means_no_pictures_and_an_unreadable_one_is_an_error(tmp_path: Path) -> None:
    assert check_pictures(catalog_of(["0.jpg"], None)).found == 0
    with pytest.raises(UserError, match="--images"):
        check_pictures(catalog_of(["0.jpg"], tmp_path / "nowhere"))


def test_headers_alone_decide_for_bombs(images: Path) -> None:
    huge_png(images / "huge.png", 30_000)
    assert f"limit of {PIXEL_LIMIT:,}" in fault(images / "huge.png")
    Image.new("RGB", (9000, 9000)).save(images / "huge.jpg", quality=10)
    assert "9,000 x 9,000" in fault(images / "huge.jpg")


MODES = {
    ".jpg": ("RGB", "L", "CMYK"),
    ".png": ("RGB", "L", "P", "RGBA", "LA", "1"),
    ".webp": ("RGB", "RGBA"),
    ".gif": ("P", "L"),
    ".bmp": ("RGB", "L", "P", "1"),
    ".tiff": ("RGB", "L", "RGBA", "CMYK", "1"),
}


@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix, modes in MODES.items() for mode in modes])
def test_every_format_and_mode_becomes_rgb(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"picture{suffix}"
    picture = noise(41, 29).convert(mode)
    picture.save(path)
    assert fault(path) == ""
    pixels = decode(path, SIZE)
    assert pixels.shape == (SIZE, SIZE, 3)
    expected = np.asarray(picture.convert("RGB"), dtype=float).mean(axis=(0, 1))
    middle = pixels[6:26].astype(float).mean(axis=(0, 1))
    assert np.abs(middle - expected).max() < 25


def test_sixteen_bit_greys_keep_their_brightness(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 32_768, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert np.abs(decode(tmp_path / "deep.png", SIZE).astype(int) - 128).max() <= 1


def test_decoding_fits_pads_with_white_and_does_not_distort(tmp_path: Path) -> None:
    wide = Image.new("RGB", (200, 100), (10, 20, 30))
    wide.save(tmp_path / "wide.png")
    pixels = decode(tmp_path / "wide.png", SIZE)
    assert (pixels[8:24] == (10, 20, 30)).all()
    assert (pixels[:8] == PAD).all()
    assert (pixels[24:] == PAD).all()
    Image.new("RGB", (4000, 1), (10, 20, 30)).save(tmp_path / "line.png")
    assert (decode(tmp_path / "line.png", SIZE) == (10, 20, 30)).all(axis=2).sum() == SIZE


def test_transparency_shows_the_white_ground_and_cameras_are_turned_upright(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (decode(tmp_path / "clear.png", SIZE) == 255).all()
    turned = Image.new("RGB", (40, 40), "white")
    turned.paste((255, 0, 0), (0, 0, 40, 10))  # a red top, stored as seen by a camera held sideways
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    pixels = decode(tmp_path / "turned.jpg", SIZE).astype(int)
    assert pixels[16, -3, 1] < 80
    assert pixels[16, 3, 1] > 200


def test_a_square_picture_becomes_what_clips_own_preprocessing_makes_of_it(tmp_path: Path) -> None:
    picture = noise(300, 300)
    picture.save(tmp_path / "square.png")
    processor = CLIPImageProcessorPil(do_normalize=False, do_rescale=False)
    expected = processor(images=picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    assert np.abs(decode(tmp_path / "square.png", 224).astype(float) - expected).max() <= 1


def test_jpegs_are_decoded_at_a_smaller_scale_without_visible_difference(tmp_path: Path) -> None:
    noise(800, 640).save(tmp_path / "large.jpg", quality=95)
    noise(800, 640).save(tmp_path / "large.png")
    difference = decode(tmp_path / "large.jpg", SIZE).astype(int) - decode(tmp_path / "large.png", SIZE)
    assert np.abs(difference).mean() < 2


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
    with pytest.raises(
        UserError, match=r"test row 1 \(sample_id id0\), column image_link: .*empty\.jpg: the file is empty"
    ):
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
    with pytest.raises(UserError, match="3 rows have pictures") as caught:
        load_pixels(catalog_of(["cut.jpg", "0.jpg", "empty.jpg", "cut.jpg"], images), Cache(tmp_path / "cache"), SIZE)
    assert "row 4 (sample_id id3), column image_link" in str(caught.value)
    assert nothing_but_locks(tmp_path / "cache")


def test_damage_inside_a_jpeg_is_found_in_decoding_and_can_be_dropped(images: Path, tmp_path: Path) -> None:
    whole = bytearray((images / "0.jpg").read_bytes())
    whole[whole.index(b"\xff\xc0") + 9] = 77  # 77 colour components
    (images / "odd.jpg").write_bytes(whole)
    catalog, cache = catalog_of(["odd.jpg", "1.jpg", "odd.jpg"], images), Cache(tmp_path / "cache")
    with pytest.raises(UserError, match=r"train row 1 .*odd\.jpg"):
        prepare_pixels({"train": catalog}, cache, SIZE)
    assert prepare_pixels({"train": catalog}, cache, SIZE, drop_bad=True) == 1
    pixels = load_pixels(catalog, cache, SIZE)
    assert list(pixels.index < 0) == [True, False, True]
    assert (pixels.take(np.array([1]))[0] == decode(images / "1.jpg", SIZE)).all()
    larger = load_pixels(catalog_of(["2.jpg", "odd.jpg"], images), cache, SIZE)
    assert list(larger.index < 0) == [False, True]


@settings(deadline=None, max_examples=150)
@given(
    suffix=st.sampled_from(sorted(MODES)),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=5),
    kept=st.floats(0, 1),
)
def test_damaged_files_are_pictures_or_say_what_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, damage: list[tuple[float, int]], kept: float
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    noise(24, 18).save(path)
    content = bytearray(path.read_bytes())
    for place, value in damage:
        content[int(place * (len(content) - 1))] = value
    path.write_bytes(content[: max(1, round(kept * len(content)))])
    what = fault(path)
    try:
        assert decode(path, 8).shape == (8, 8, 3)
    except UnreadablePictureError as error:
        assert str(error)
    else:
        assert what == ""


def test_a_cache_that_cannot_be_written_is_the_users_to_mend(images: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="--workspace"):
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


def test_files_are_listed_by_name(images: Path) -> None:
    (images / "folder").mkdir()
    listed = list_pictures(images)
    assert set(listed) == {"0.jpg", "1.jpg", "2.jpg", "3.jpg", "tall.png"}
    assert len({file.key for file in listed.values()}) == 5
