import csv
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from core.demo import DemoPaths, demo_paths, make_demo
from core.demo.generate import SEALS, draw
from core.demo.products import HIGHEST, LOWEST, TIERS, Product, Shop, describe
from core.demo.shop_words import KINDS
from core.metrics import smape
from tests.errors import refused

ROWS = 400


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoPaths:
    return make_demo(tmp_path_factory.mktemp("made") / "demo", ROWS)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_have_the_native_columns_and_a_fifth_of_the_rows_is_the_test(demo: DemoPaths) -> None:
    train, test, prices = read(demo.train), read(demo.test), read(demo.test_prices)
    assert list(train[0]) == ["sample_id", "catalog_content", "image_link", "price"]
    assert list(test[0]) == ["sample_id", "catalog_content", "image_link"]
    assert (len(train), len(test)) == (ROWS * 4 // 5, ROWS // 5)
    assert [row["sample_id"] for row in prices] == [row["sample_id"] for row in test]
    ids = [row["sample_id"] for row in train + test]
    assert len(set(ids)) == ROWS


def test_texts_are_in_the_native_format_with_gaps(demo: DemoPaths) -> None:
    texts = [row["catalog_content"] for row in read(demo.train)]
    lines = re.compile(r"(Item Name|Bullet Point \d|Product Description|Value|Unit): ?")
    assert all(text.startswith("Item Name: ") for text in texts)
    assert all(lines.match(line) for text in texts for line in text.splitlines())
    for part in ("Bullet Point 1:", "Product Description:", "Value:", "Unit:", "<p>", "&amp;"):
        assert 0 < sum(part in text for text in texts) < len(texts), part
    lengths = [len(text) for text in texts]
    assert min(lengths) < 100 < 1500 < max(lengths)


def test_pictures_are_shared_missing_and_readable(demo: DemoPaths) -> None:
    rows = read(demo.train) + read(demo.test)
    names = [row["image_link"].rsplit("/", 1)[-1] for row in rows]
    files = {path.name for path in demo.images.iterdir()}
    linked = [name for name in names if name]
    assert 0.9 * ROWS < len(linked) < ROWS
    assert 0.85 * len(linked) < sum(name in files for name in linked) < len(linked)
    assert len(set(linked)) < len(linked)
    assert {Path(name).suffix for name in files} == {".jpg", ".png"}
    for name in sorted(files)[:40]:
        with Image.open(demo.images / name) as image:
            image.load()
            assert max(image.size) <= 224


def test_the_same_product_stands_in_train_and_test(demo: DemoPaths) -> None:
    train = {row["image_link"] for row in read(demo.train)} - {""}
    test = {row["image_link"] for row in read(demo.test)} - {""}
    assert len(train & test) >= 5


def test_prices_are_log_normal_within_bounds() -> None:
    shop = Shop(4000, seed=3)
    prices = np.array([shop.next_row()[2] for _ in range(4000)])
    assert LOWEST <= prices.min() < 1.5 and 1000 < prices.max() <= HIGHEST
    logs = np.log(prices)
    skew = np.mean(((logs - logs.mean()) / logs.std()) ** 3)
    assert abs(skew) < 0.6
    assert 10 < np.median(prices) < 40


def test_the_text_lacks_what_only_the_image_shows() -> None:
    shop = Shop(2000, seed=0)
    for _ in range(100):
        product, _, price = shop.next_row()
        plain = replace(product, tier=0, fill=-1.0)
        assert describe(product, Random(1)) == describe(plain, Random(1))
        level = shop.levels[product.brand]
        assert plain.price(level) <= price


def test_the_hidden_part_of_the_price_is_worth_several_points_of_smape() -> None:
    shop = Shop(2000, seed=0)
    rows = [shop.next_row() for _ in range(2000)]
    prices = np.array([price for _, _, price in rows])
    hidden = np.array([product.hidden for product, _, _ in rows])
    surprise = np.array([product.surprise for product, _, _ in rows])
    text_at_best = smape(prices, prices * np.exp(-hidden - surprise))
    both_at_best = smape(prices, prices * np.exp(-surprise))
    assert 25 < text_at_best < 32
    assert 12 < both_at_best < 18


def test_colour_and_height_measured_in_the_pictures_tell_tier_and_fill(tmp_path: Path) -> None:
    shop = Shop(2000, seed=1)
    products: dict[int, Product] = {}
    while len(products) < 150:
        product = shop.next_row()[0]
        products[product.image] = product
    pixels = []
    for product in products.values():
        draw(product, tmp_path / "one.png", seed=1)
        with Image.open(tmp_path / "one.png") as image:
            square = np.full((160, 160, 3), 255, np.uint8)
            square[: image.height, : image.width] = np.asarray(image)
        pixels.append(square)
    array = np.stack(pixels).astype(np.float64)
    bright = array.max(axis=3) - array.min(axis=3) > 80
    hidden = np.array([product.tier for product in products.values()])
    seals = zip(array, bright, strict=True)
    mean = np.stack([one[mask].mean(axis=0) if mask.any() else np.array(SEALS[0]) for one, mask in seals])
    nearest = np.argmin(((mean[:, None] - np.array(SEALS)[None]) ** 2).sum(axis=2), axis=1)
    assert np.mean(nearest == hidden) > 0.9
    assert set(hidden) == set(range(TIERS))
    dark = (array.mean(axis=3) < 200)[:, :, 60:].any(axis=2).sum(axis=1)
    fill = np.array([product.fill for product in products.values()])
    assert np.corrcoef(dark, fill)[0, 1] > 0.8


def test_text_can_be_learnt_from_and_leaves_room_for_the_picture() -> None:
    shop = Shop(2000, seed=0)
    rows = [shop.next_row() for _ in range(2000)]
    texts = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit_transform(
        [text for _, text, _ in rows]
    )
    prices = np.array([price for _, _, price in rows])
    hidden = np.array([product.hidden for product, _, _ in rows])
    logs, learn, judge = np.log(prices), slice(0, 1600), slice(1600, 2000)

    def score(target: np.ndarray, known: np.ndarray) -> float:
        model = Ridge(alpha=0.3).fit(texts[learn], target[learn])
        return smape(prices[judge], np.exp(model.predict(texts[judge]) + known[judge]))

    text = score(logs, np.zeros_like(logs))
    assert text < 65
    assert score(logs - hidden, hidden) < text - 5


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = make_demo(tmp_path / "a", 200, seed=5)
    again = make_demo(tmp_path / "b", 200, seed=5)
    other = make_demo(tmp_path / "c", 200, seed=6)
    assert contents(first.train.parent) == contents(again.train.parent)
    assert first.train.read_bytes() != other.train.read_bytes()


def test_a_second_call_reuses_what_is_there(tmp_path: Path) -> None:
    paths = make_demo(tmp_path / "demo", 200)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    calls: list[int] = []
    assert make_demo(tmp_path / "demo", 200, progress=lambda done, rows: calls.append(done)) == paths
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert calls == []


def test_progress_and_the_limit_on_pictures(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    few = make_demo(tmp_path / "few", 200, progress=lambda done, rows: calls.append((done, rows)), images=7)
    none = make_demo(tmp_path / "none", 200, images=0)
    assert calls == [(row, 200) for row in range(1, 201)]
    assert len(list(few.images.iterdir())) == 7
    assert list(none.images.iterdir()) == []
    assert few.train.read_bytes() == none.train.read_bytes()


@pytest.mark.parametrize("rows", [0, 199, 200_001])
def test_numbers_of_rows_outside_the_range_are_refused(tmp_path: Path, rows: int) -> None:
    with refused("demo-row-count"):
        make_demo(tmp_path / "demo", rows)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with refused("demo-folder-taken"):
        make_demo(mine, 200)
    made = make_demo(tmp_path / "demo", 200)
    with refused("demo-other-settings") as caught:
        make_demo(tmp_path / "demo", 200, seed=1)
    assert "(seed 0)" in caught.value.what
    made.test.unlink()
    with refused("demo-files-lost") as caught:
        make_demo(tmp_path / "demo", 200)
    assert "test.csv" in caught.value.what
    (tmp_path / "file").write_text("x")
    with refused("demo-unwritable"):
        make_demo(tmp_path / "file" / "demo", 200)
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "file", "mine"]


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, rows: int) -> None:
        if done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path / "demo", 200, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_may_make_the_same_catalog_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2) as pool:
        made = list(pool.map(make_demo, [tmp_path / "demo"] * 2, [300] * 2))
    assert made == [demo_paths(tmp_path / "demo")] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert len(read(made[0].train)) == 240


def test_the_command(typed: Callable[..., str], tmp_path: Path) -> None:
    command = ("core.demo.__main__", "--no-images", "--out", tmp_path / "shop")
    assert str(tmp_path / "shop" / "train.csv") in typed(*command)
    assert len(read(tmp_path / "shop" / "train.csv")) == 1600
    assert "[demo-other-settings]" in typed(*command, "--seed", 1, code=2)


def test_every_kind_can_be_sold() -> None:
    assert all(kind.typical > 0 and kind.base > 0 and kind.flavours for kind in KINDS)
