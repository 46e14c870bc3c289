"""Pictures and catalogs that the tests of pictures and of their cache share."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from core.data.catalog import Catalog

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
