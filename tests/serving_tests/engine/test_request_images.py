"""Images of requests: every bound, and a fuzz of all that a file may be."""

from __future__ import annotations

import random
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.inputs.images.files import UnreadableImageError, decode
from serving.common.limits import ACCEPTED, Limits, decode_image
from tests.core_tests.image_toys import huge_png, noise

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

LIMITS = Limits(picture_bytes=200_000, picture_pixels=1_000_000)
SIZE = 24


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif() -> Image.Exif:
    """Turned, with a time, a fraction and a place."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x011A] = 6, "Maker", 72.0
    tags.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    tags.get_ifd(0x8825)[1] = "N"
    return tags


GOOD = {
    "jpeg": saved(noise(31, 20), "JPEG", exif=exif()),
    "progressive": saved(noise(31, 20), "JPEG", progressive=True),
    "cmyk": saved(noise(31, 20).convert("CMYK"), "JPEG"),
    "png": saved(noise(31, 20), "PNG", exif=exif()),
    "palette": saved(noise(31, 20).convert("P"), "PNG"),
    "transparent": saved(noise(31, 20).convert("RGBA"), "PNG"),
    "webp": saved(noise(31, 20), "WEBP", exif=exif()),
    "gif": saved(noise(31, 20), "GIF"),
    "bmp": saved(noise(31, 20), "BMP"),
}
MOVING = {
    kind: saved(noise(31, 20, 1), kind, save_all=True, append_images=[noise(31, 20, 2)])
    for kind in ("GIF", "WEBP", "PNG")
}


def refusal(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(UnreadableImageError) as refused:
        decode_image(data, SIZE, limits)
    return str(refused.value)


@pytest.mark.parametrize("name", GOOD)
def test_bytes_become_what_the_file_becomes_in_training(name: str, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(GOOD[name])
    assert np.array_equal(decode_image(GOOD[name], SIZE, LIMITS), decode(tmp_path / "picture", SIZE))


@pytest.mark.parametrize("kind", MOVING)
def test_animations_are_their_first_frame(kind: str) -> None:
    first = decode_image(MOVING[kind], SIZE, LIMITS).astype(int)
    still = decode_image(saved(noise(31, 20, 1), kind), SIZE, LIMITS).astype(int)
    other = decode_image(saved(noise(31, 20, 2), kind), SIZE, LIMITS).astype(int)
    assert np.abs(first - still).mean() < 0.5 * np.abs(first - other).mean()


def test_an_orientation_is_honoured_whatever_else_stands_in_the_exif() -> None:
    tags = exif()
    tags[0x011A] = 72.0
    upright = noise(31, 20).transpose(Image.Transpose.ROTATE_270)
    odd = saved(noise(31, 20), "PNG", exif=tags.tobytes().replace(b"Maker\0", b"\xff\xfe\xff\0ab"))
    assert np.array_equal(decode_image(odd, SIZE, LIMITS), decode_image(saved(upright, "PNG"), SIZE, LIMITS))


def test_large_files_are_refused() -> None:
    assert refusal(GOOD["png"] + bytes(200_000)) == "the file has more than 200,000 bytes"


def test_pixels_are_counted_by_the_header(tmp_path: Path) -> None:
    huge_png(tmp_path / "large.png", 1_001)
    assert "1,001 x 1,001 pixels are more than the limit of 1,000,000" in refusal((tmp_path / "large.png").read_bytes())
    huge_png(tmp_path / "huge.png", 60_000)
    assert "more pixels than the limit of 1,000,000" in refusal((tmp_path / "huge.png").read_bytes())
    assert "1,100 x 1,000" in refusal(saved(Image.new("L", (1100, 1000)), "JPEG"))


def gif(screen: int, frame: int) -> bytes:
    """A frame of frame x frame pixels on a screen of screen x screen."""
    head = b"GIF89a" + struct.pack("<HHBBB", screen, screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b"," + struct.pack("<HHHHB", 0, 0, frame, frame, 0) + b"\x02\x02\x4c\x01\x00;"


@pytest.mark.parametrize(("screen", "frame"), [(1, 1_001), (1_001, 1), (1, 20_000), (60_000, 60_000)])
def test_frames_count_as_screens_do(screen: int, frame: int) -> None:
    assert "more" in refusal(gif(screen, frame))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_texts_in_images_are_not_unpacked_without_end(kind: bytes) -> None:
    packed = zlib.compress(bytes(100_000_000), 9)
    body = b"name\0\1\0\0\0" + packed if kind == b"iTXt" else b"name\0\0" + packed
    bomb = GOOD["png"][:33] + png_chunk(kind, body) + GOOD["png"][33:]
    assert len(bomb) < 200_000
    try:
        decode_image(bomb, SIZE, LIMITS)
    except UnreadableImageError as refused:
        assert "large" in str(refused)


def test_pixels_beyond_the_headers_size_are_left_packed() -> None:
    more = GOOD["png"][:33] + png_chunk(b"IDAT", zlib.compress(bytes(50_000_000), 9)) + png_chunk(b"IEND", b"")
    assert decode_image(more, SIZE, LIMITS).shape == (SIZE, SIZE, 3)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    whole = GOOD["progressive"]
    last = whole[whole.rindex(b"\xff\xda") : -2]
    assert decode_image(whole[:-2] + last * 5 + whole[-2:], SIZE, LIMITS).shape == (SIZE, SIZE, 3)
    assert "scans" in refusal(whole[:-2] + last * 100 + whole[-2:])


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe", b"%PDF-1.7", b"GIF89a"]
)
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    assert refusal(data)


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "TGA", "EPS", "JPEG2000", "PCX"])
def test_other_formats_are_refused(kind: str) -> None:
    assert refusal(saved(noise(31, 20), kind)) == f"not a picture (known formats: {', '.join(ACCEPTED)})"


@pytest.mark.parametrize("name", GOOD)
def test_cut_anywhere_it_is_read_or_refused(name: str) -> None:
    for end in range(0, len(GOOD[name]), 7):
        read_or_refused(GOOD[name][:end])


def read_or_refused(data: bytes) -> None:
    """Nothing but these two may happen, and the refusal holds nothing of this machine."""
    try:
        pixels = decode_image(data, SIZE, LIMITS)
    except UnreadableImageError as refused:
        assert "0x" not in str(refused) and "/" not in str(refused)
    else:
        assert pixels.shape == (SIZE, SIZE, 3) and pixels.dtype == np.uint8


BYTE = st.integers(0, 255)
EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.one_of(st.sampled_from([0, 1, 2, 5, 127, 128, 255]), BYTE)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=300)
@given(st.sampled_from([*GOOD.values(), *MOVING.values()]), EDITS)
def test_changed_images_are_read_or_refused(whole: bytes, edits: list[tuple[float, int]]) -> None:
    data = bytearray(whole)
    for place, value in edits:
        data[int(place * len(data))] = value
    read_or_refused(bytes(data))


@settings(max_examples=200)
@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBPVP8 "]),
)
def test_any_bytes_are_read_or_refused(data: bytes, start: bytes) -> None:
    read_or_refused(start + data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_odd_exif_is_read_or_refused(kind: str) -> None:
    """Every tag's kind and count changed, which is what Pillow itself stumbles over when it rewrites EXIF."""
    tags, rng = exif().tobytes(), random.Random(0)
    for _ in range(300):
        changed = bytearray(tags)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(14, len(tags))] = rng.choice((0, 1, 2, 3, 4, 5, 7, 10, 12, 127, 255))
        read_or_refused(saved(Image.new("RGB", (3, 2)), kind, exif=bytes(changed)))
