"""Pictures on the disk: which are there, which are bad, and how they become squares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from core.cache import Cache
from core.data.catalog import Catalog, image_path
from core.inputs.images.files import (
    PIXEL_LIMIT,
    Padding,
    UnreadableImageError,
    check_images,
    decode,
    fault,
    few_images_note,
    list_images,
)
from core.inputs.pixels import load_pixels
from tests.core_tests.image_toys import SIZE, catalog_of, huge_png, noise, spoil
from tests.errors import refused


def test_good_pictures_missing_links_and_missing_files(images: Path) -> None:
    links = ["https://x.example/I/0.jpg", "", "https://x.example/I/none.jpg", "1.jpg?w=500", "tall.png", "0.jpg"]
    seen: list[tuple[int, int]] = []
    report = check_images(catalog_of(links, images), progress=lambda done, of: seen.append((done, of)))
    assert (report.rows, report.linked, report.found, report.bad) == (6, 5, 4, ())
    assert report.note == "4 of 6 rows have a picture (1 without a link, 1 without a file)"
    assert seen == [(3, 3)]


def test_bad_pictures_are_named_with_row_column_file_and_cure(images: Path) -> None:
    words = spoil(images)
    names = ["0.jpg", *words]
    with refused("images-unusable") as caught:
        check_images(catalog_of(names, images), "test")
    message = str(caught.value)
    assert f"{len(words)} rows" in message
    for row, (name, word) in enumerate(words.items(), start=2):
        (line,) = [line for line in message.splitlines() if f"test row {row} " in line]
        for fact in (f"sample_id id{row - 1}", "column image_link", str(images / name), word):
            assert fact in line
    assert "--drop-bad" in caught.value.hint


def test_ten_bad_pictures_are_shown_and_the_others_counted(images: Path) -> None:
    (images / "empty.jpg").write_bytes(b"")
    with refused("images-unusable") as caught:
        check_images(catalog_of(["empty.jpg"] * 13, images))
    assert caught.value.what.splitlines()[11:] == ["  and 3 more"]


def test_drop_bad_treats_them_as_missing(images: Path, tmp_path: Path) -> None:
    names = ["0.jpg", *spoil(images), ""]
    catalog = catalog_of(names, images)
    report = check_images(catalog, drop_bad=True)
    assert [one.row for one in report.bad] == list(range(1, len(names) - 1))
    assert report.found == 1
    assert "7 with a bad file, treated as missing" in report.note
    clean = report.without_bad(catalog)
    assert list(clean.links) == ["0.jpg", *[""] * (len(names) - 1)]
    assert list(catalog.links) == names
    pixels = load_pixels(clean, Cache(tmp_path / "cache"), SIZE)
    assert list(pixels.index) == [0, *[-1] * (len(names) - 1)]


@pytest.mark.parametrize("link", [
    "..", "../", "https://x.example/..", "../../etc/passwd", "a\x00b.jpg", "x" * 5000, ".", "sub", "/", "http://[x/none.jpg",
])  # fmt: skip
def test_no_link_leads_out_of_the_folder(images: Path, tmp_path: Path, link: str) -> None:
    (images / "sub").mkdir()
    (tmp_path / "passwd").write_text("secret")
    catalog = catalog_of([link], images)
    assert check_images(catalog).found == 0
    assert list(load_pixels(catalog, Cache(tmp_path / "cache"), SIZE).index) == [-1]


def test_no_folder_means_no_pictures_and_an_unreadable_one_is_an_error(tmp_path: Path) -> None:
    assert check_images(catalog_of(["0.jpg"], None)).found == 0
    with refused("images-unreadable"):
        check_images(catalog_of(["0.jpg"], tmp_path / "nowhere"))


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


@pytest.mark.parametrize(("padding", "bars"), [("white", 255), ("black", 0)])
def test_decoding_fits_pads_and_does_not_distort(tmp_path: Path, padding: Padding, bars: int) -> None:
    wide = Image.new("RGB", (200, 100), (10, 20, 30))
    wide.save(tmp_path / "wide.png")
    pixels = decode(tmp_path / "wide.png", SIZE, padding=padding)
    assert (pixels[8:24] == (10, 20, 30)).all()
    assert (pixels[[*range(8), *range(24, 32)]] == bars).all()
    Image.new("RGB", (4000, 1), (10, 20, 30)).save(tmp_path / "line.png")
    assert (decode(tmp_path / "line.png", SIZE, padding=padding) == (10, 20, 30)).all(axis=2).sum() == SIZE


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


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path: Path, orientation: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = orientation
    noise(60, 40).save(tmp_path / "turned.png", exif=tags)
    ImageOps.exif_transpose(Image.open(tmp_path / "turned.png")).save(tmp_path / "upright.png")
    assert np.array_equal(decode(tmp_path / "turned.png", SIZE), decode(tmp_path / "upright.png", SIZE))


@pytest.mark.parametrize("place", [29, 31])
def test_an_odd_value_in_the_exif_leaves_the_picture_readable_and_upright(tmp_path: Path, place: int) -> None:
    """A resolution of another kind than a fraction, or of none: `ImageOps.exif_transpose` raises TypeError or struct.error."""
    tags = Image.Exif()
    tags[0x0112], tags[0x011A] = 6, 72.0
    odd = bytearray(tags.tobytes())
    odd[place] = 2
    noise(60, 40).save(tmp_path / "odd.png", exif=bytes(odd))
    noise(60, 40).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    assert np.array_equal(decode(tmp_path / "odd.png", SIZE), decode(tmp_path / "upright.png", SIZE))


def test_bytes_decode_as_their_file_does(images: Path) -> None:
    assert np.array_equal(decode((images / "0.jpg").read_bytes(), SIZE), decode(images / "0.jpg", SIZE))
    with pytest.raises(UnreadableImageError, match="empty"):
        decode(b"", SIZE)
    with pytest.raises(UnreadableImageError, match="known formats: PNG"):
        decode((images / "0.jpg").read_bytes(), SIZE, formats=["PNG"])
    with pytest.raises(UnreadableImageError, match="limit of 10"):
        decode((images / "0.jpg").read_bytes(), SIZE, pixel_limit=10)


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
    except UnreadableImageError as error:
        assert str(error)
    else:
        assert what == ""


def test_files_are_listed_by_name(images: Path) -> None:
    (images / "folder").mkdir()
    listed = list_images(images)
    assert set(listed) == {"0.jpg", "1.jpg", "2.jpg", "3.jpg", "tall.png"}
    assert len({file.key for file in listed.values()}) == 5
    asked = {"1.jpg", "folder", "..", "absent.jpg", "tall.png"}
    assert list_images(images, asked) == {name: listed[name] for name in ("1.jpg", "tall.png")}


@pytest.mark.parametrize(
    ("asked", "file"),
    [
        ("red%20mug.jpg", "red mug.jpg"),
        ("MUG.JPG", "mug.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("mug", "mug.jpg"),
        ("mug.jpeg", "mug.jpg"),
    ],
)
def test_a_name_in_another_spelling_finds_the_only_file_that_fits(tmp_path: Path, asked: str, file: str) -> None:
    (tmp_path / file).write_bytes(b"x")
    assert list_images(tmp_path, {asked})[asked].path == tmp_path / file


def test_files_of_subfolders_are_found_where_only_one_fits(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    images = tmp_path / "images"
    for path in (images / "a/b/1.jpg", images / "a/2.jpg", images / "b/2.jpg", outside / "3.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (images / "linked").symlink_to(outside, target_is_directory=True)
    (images / "a/circle").symlink_to(images, target_is_directory=True)
    found = list_images(images, {"1.jpg", "2.jpg", "3.jpg"})
    assert {name: file.path for name, file in found.items()} == {"1.jpg": images / "a/b/1.jpg"}
    assert found["1.jpg"].key.startswith("a/b/1.jpg|")


def test_the_exact_name_comes_first_and_several_fits_are_none(tmp_path: Path) -> None:
    for name in ("mug.jpg", "mug.png", "MUG.jpg"):
        (tmp_path / name).write_bytes(b"x")
    found = list_images(tmp_path, {"mug.jpg", "Mug.jpg", "mug", "..", "../mug.png"})
    assert {name: file.path.name for name, file in found.items()} == {"mug.jpg": "mug.jpg"}


@pytest.mark.parametrize(
    ("link", "name"),
    [
        ("https://x.example/a/1.jpg?w=3#top", "1.jpg"),
        (" https://x.example/1.jpg ", "1.jpg"),
        ("C:\\pics\\1.jpg", "1.jpg"),
        ("images/mug #1.jpg", "mug #1.jpg"),
        ("https://x.example/image.php?id=1&file=1.jpg", "1.jpg"),
        ("https://x.example/image.php?id=1", "image.php"),
        ('["https://x.example/1.jpg", "https://x.example/2.jpg"]', "1.jpg"),
        ("https://x.example/1.jpg | https://x.example/2.jpg", "1.jpg"),
        ("[]", ""),
        ('[{"a": 1}, "b/2.jpg"]', "2.jpg"),
        ("[blue] mug.jpg", "[blue] mug.jpg"),
        ("[" * 100_000, "[" * 100_000),
        ("", ""),
    ],
)
def test_the_name_that_a_link_asks_for(link: str, name: str) -> None:
    cells = np.array([link], dtype=object)
    assert Catalog(cells, cells, cells).image_names.tolist() == [name]


def test_a_file_that_different_links_name_is_nobodys(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.jpg")
    links = np.array(["https://a.example/1.jpg", "https://b.example/1.jpg", ""], dtype=object)
    catalog = Catalog(links, links, links, images=tmp_path)
    report = check_images(catalog)
    assert (report.found, report.shared) == (0, (0, 1))
    assert "2 name a file that other links name too" in report.note
    assert report.without_bad(catalog).links.tolist() == ["", "", ""]
    alone = catalog.take(np.array([0]))
    assert check_images(alone).found == 1
    assert check_images(alone, beside=catalog.image_paths).shared == (0,)


def test_a_file_in_folders_of_the_link_comes_before_the_bare_name(tmp_path: Path) -> None:
    for name in ("x/1.jpg", "y/1.jpg", "1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    names = {"h.example/x/1.jpg", "h.example/Y/1.jpg", "h.example/z/1.jpg"}
    found = {name: file.path.relative_to(tmp_path).as_posix() for name, file in list_images(tmp_path, names).items()}
    assert found == {"h.example/x/1.jpg": "x/1.jpg", "h.example/Y/1.jpg": "y/1.jpg", "h.example/z/1.jpg": "1.jpg"}
    (tmp_path / "1.jpg").unlink()
    assert "h.example/z/1.jpg" not in list_images(tmp_path, names)


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("https://u:p@h.example/a/../b//1.jpg?w=3", "h.example/a/b/1.jpg"),
        ("https://h.example/image.php?id=7/8", "h.example/image.php?id=7_8"),
        ("C:\\pics\\1.jpg", "pics/1.jpg"),
        ("../1.jpg", "1.jpg"),
        ("", ""),
    ],
)
def test_the_path_by_which_links_are_told_apart(link: str, path: str) -> None:
    assert image_path(link) == path


def test_few_pictures_are_said_with_an_example_of_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "IMG_0001.png").write_bytes(b"x")
    links = np.array(
        ["https://u:secret@shop.example/1.jpg?token=secret", "https://shop.example/2.jpg", ""], dtype=object
    )
    catalog = Catalog(links, links, links, images=tmp_path)
    note = few_images_note(check_images(catalog), catalog, "train.csv")
    assert note.startswith(f"train.csv: 0 of 2 links find their picture in {tmp_path}/; for example")
    assert "looks for 1.jpg; the folder has IMG_0001.png" in note and "secret" not in note


def test_no_note_where_half_of_the_pictures_are_there(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.jpg")
    links = np.array(["https://shop.example/1.jpg", "https://shop.example/2.jpg"], dtype=object)
    catalog = Catalog(links, links, links, images=tmp_path)
    assert few_images_note(check_images(catalog), catalog, "train.csv") == ""
