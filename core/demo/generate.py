"""Demo catalog writer: CSV files in the native format and drawn product images."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image, ImageDraw

from core.atomic_files import read_json, write_json
from core.data.catalog import ID, LINK, PRICE, TEXT
from core.demo.products import Product, Shop
from core.errors import UserError

FEWEST, MOST = 2_000, 200_000
_FEWEST_FOR_TESTS = 200
_VERSION = 1
"""Raised when the same settings make other rows or images."""

_MARKER = "demo.json"
_TEST_SHARE = 5  # one row in five
_NO_LINK, _NO_FILE = 0.05, 0.04
_HOST = "https://images.example.com/I/"


@dataclass(frozen=True)
class DemoPaths:
    """Files of a demo catalog. test_prices: `sample_id,price` of the test rows, for measuring only."""

    train: Path
    test: Path
    images: Path
    test_prices: Path


def demo_paths(folder: Path) -> DemoPaths:
    """Paths of the demo catalog in this folder."""
    return DemoPaths(folder / "train.csv", folder / "test.csv", folder / "images", folder / "test_prices.csv")


def make_demo(
    folder: Path,
    rows: int = FEWEST,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    images: int | None = None,
) -> DemoPaths:
    """Makes (or finds already made with the same settings) a demo catalog of `rows` products, a fifth of them for the test.

    rows: 2,000 to 200,000 (tests may go down to 200). images: draw at most so many; None draws all. progress: called with
    (rows done, rows). The same settings give the same bytes on the same versions of Python and Pillow. The folder appears
    complete or not at all, also when two processes make it at once.

    Raises UserError for a number of rows outside the range, and for a folder that holds something else or cannot be written.
    """
    if not _FEWEST_FOR_TESTS <= rows <= MOST:
        raise UserError(
            f"a demo catalog cannot have {rows:,} rows",
            code="demo-row-count",
            hint=f"choose --rows from {FEWEST:,} to {MOST:,}",
        )
    settings = {"version": _VERSION, "rows": rows, "seed": seed, "pictures": images}
    try:
        if not _is_made(folder, settings):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
                workshop = Path(temporary, "demo")
                _write(demo_paths(workshop), rows, seed, progress, images)
                write_json(workshop / _MARKER, settings)
                _put_in_place(workshop, folder, settings)
    except OSError as error:
        raise UserError(
            f"the demo catalog cannot be written to {folder}: {error.strerror}",
            code="demo-unwritable",
            hint="free some space or make the folder writable, or choose another one",
        ) from None
    return demo_paths(folder)


def _is_made(folder: Path, settings: dict[str, Any]) -> bool:
    """False for a folder that is not there or empty. Raises UserError for one that holds anything but this catalog."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    hint = "choose another folder, or delete this one if nothing in it is needed"
    if not (folder / _MARKER).is_file():
        raise UserError(f"{folder} is there already and is not a demo catalog", code="demo-folder-taken", hint=hint)
    made = read_json(folder / _MARKER)
    if made != settings:
        different = ", ".join(f"{name} {made.get(name)}" for name in settings if made.get(name) != settings[name])
        raise UserError(
            f"{folder} holds a demo catalog with other settings ({different})", code="demo-other-settings", hint=hint
        )
    paths = demo_paths(folder)
    absent = [path.name for path in (paths.train, paths.test, paths.images, paths.test_prices) if not path.exists()]
    if absent:
        raise UserError(f"the demo catalog in {folder} has lost {', '.join(absent)}", code="demo-files-lost", hint=hint)
    return True


def _put_in_place(workshop: Path, folder: Path, settings: dict[str, Any]) -> None:
    try:
        workshop.replace(folder)
    except OSError:
        if not _is_made(folder, settings):  # else another process was faster with the same catalog
            raise


def _write(
    paths: DemoPaths, rows: int, seed: int, progress: Callable[[int, int], None] | None, images: int | None
) -> None:
    shop, random = Shop(rows, seed), Random(f"pricestack demo rows {seed}")
    ids = random.sample(range(1, 10 * rows), rows)
    test_rows = set(random.sample(range(rows), rows // _TEST_SHARE))
    paths.images.mkdir(parents=True)
    drawn = 0
    with ExitStack() as files:
        train, test, prices = (_table(files, path) for path in (paths.train, paths.test, paths.test_prices))
        train([ID, TEXT, LINK, PRICE])
        test([ID, TEXT, LINK])
        prices([ID, PRICE])
        for row, number in enumerate(ids):
            product, text, price = shop.next_row()
            name = file_name(product, seed)
            link = "" if random.random() < _NO_LINK else _HOST + name
            if row in test_rows:
                test([number, text, link])
                prices([number, price])
            else:
                train([number, text, link, price])
            path = paths.images / name
            photographed = Random(f"{seed} photographed {product.image}").random() >= _NO_FILE
            if (images is None or drawn < images) and photographed and not path.exists():
                draw(product, path, seed)
                drawn += 1
            if progress is not None:
                progress(row + 1, rows)


def _table(files: ExitStack, path: Path) -> Callable[[list[Any]], Any]:
    file = files.enter_context(path.open("w", encoding="utf-8", newline=""))
    return csv.writer(file, lineterminator="\n").writerow


SIDE = 160
SEALS = ((142, 142, 142), (40, 130, 220), (30, 160, 70), (225, 160, 0))
"""Tiers 0..3: grey, blue, green, gold."""

_SMALLEST, _LARGEST = 0.28, 0.88
_SLIMNESS = {"box": 0.8, "pouch": 0.7, "can": 0.6, "bottle": 0.42}


def file_name(product: Product, seed: int) -> str:
    """File name in the native format's style; every seventh image is a PNG."""
    code = Random(f"{seed} picture {product.image}").getrandbits(44)
    return f"{code:011x}{'.png' if product.image % 7 == 0 else '.jpg'}"


def draw(product: Product, path: Path, seed: int) -> None:
    """Draws the product and writes it as JPEG or PNG, 160 pixels wide or high at most. The same product, the same image.

    The pack's height, 28% to 88% of the image, shows `fill`; the seal beside it, a quarter of the image wide, has the
    tier's colour and number of bars. Place, ground, brand colour and aspect vary and mean nothing.
    """
    random = Random(f"{seed} drawing {product.image}")
    width, height = random.choice(((SIDE, SIDE), (SIDE, SIDE), (SIDE, 136), (136, SIDE)))
    light = random.randrange(225, 256)
    image = Image.new("RGB", (width, height), (light, light, random.randrange(225, 256)))
    canvas = ImageDraw.Draw(image)
    _draw_pack(canvas, product, (width, height), random)
    _draw_seal(canvas, product.tier, (width, height), random)
    if path.suffix == ".png":
        image.save(path, compress_level=1)
    else:
        image.save(path, quality=85)


def _draw_pack(canvas: ImageDraw.ImageDraw, product: Product, size: tuple[int, int], random: Random) -> None:
    share = _SMALLEST + (_LARGEST - _SMALLEST) * (product.fill + 1) / 2
    tall = share * min(size)
    wide = tall * _SLIMNESS[product.kind.shape]
    left = size[0] * 0.58 - wide / 2 + random.uniform(-6, 6)
    bottom = size[1] * 0.96 - random.uniform(0, 4)
    body = _pastel(Random(product.brand))
    box = (left, bottom - tall, left + wide, bottom)
    if product.kind.shape == "bottle":
        neck = wide * 0.3
        canvas.rectangle((left + neck, box[1], box[2] - neck, bottom), fill=body)
        canvas.rounded_rectangle((left, box[1] + tall * 0.25, box[2], bottom), radius=wide * 0.2, fill=body)
    elif product.kind.shape == "box":
        canvas.rectangle(box, fill=body)
    else:
        canvas.rounded_rectangle(box, radius=wide * 0.15, fill=body)
    label = (left + wide * 0.15, bottom - tall * 0.5, left + wide * 0.85, bottom - tall * 0.2)
    canvas.rectangle(label, fill=_pastel(Random(f"{product.kind.names[0]} {product.flavour}")))


def _draw_seal(canvas: ImageDraw.ImageDraw, tier: int, size: tuple[int, int], random: Random) -> None:
    across = 0.25 * min(size)
    left, top = random.uniform(0.04, 0.1) * size[0], random.uniform(0.06, 0.3) * size[1]
    canvas.ellipse((left, top, left + across, top + across), fill=SEALS[tier])
    for bar in range(tier + 1):
        y = top + across * (0.28 + 0.14 * bar)
        canvas.rectangle((left + across * 0.3, y, left + across * 0.7, y + across * 0.05), fill="white")


def _pastel(random: Random) -> tuple[int, int, int]:
    """A dull, middling colour: only the seal is bright."""
    grey = random.randrange(95, 150)
    red, green, blue = (grey + random.randrange(-22, 23) for _ in range(3))
    return red, green, blue
