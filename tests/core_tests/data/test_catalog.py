from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.data.catalog import Catalog, load_catalog


def catalog(prices: list[float] | None = None) -> Catalog:
    ids, texts = np.array(["01", "NA", ""], dtype=object), np.array(["a", "b\nc", "☃"], dtype=object)
    links = np.array(["http://h/a/b.jpg?x=1", "", "pic.png"], dtype=object)
    return Catalog(ids, texts, links, None if prices is None else np.array(prices))


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        catalog([1.0, 2.0])


def test_take_keeps_every_column_aligned() -> None:
    taken = catalog([1.0, 2.0, 3.0]).with_groups(np.array([7, 8, 9])).take(np.array([2, 0]))
    assert taken.ids.tolist() == ["", "01"]
    assert taken.known_prices.tolist() == [3.0, 1.0]
    assert taken.product_groups.tolist() == [9, 7]


def test_rows_without_prices_say_so() -> None:
    with pytest.raises(ValueError, match="no prices"):
        _ = catalog([1.0, 2.0, 3.0]).without_prices().known_prices


def test_picture_names_are_the_links_last_part() -> None:
    assert catalog().image_names.tolist() == ["b.jpg", "", "pic.png"]


@pytest.mark.parametrize("prices", [None, [1.0, 0.1, 1e7]])
def test_saved_and_loaded_is_the_same_catalog(tmp_path: Path, prices: list[float] | None) -> None:
    saved = catalog(prices)
    saved.save(tmp_path / "c.parquet")
    loaded = load_catalog(tmp_path / "c.parquet")
    assert loaded.ids.tolist() == saved.ids.tolist()
    assert loaded.fingerprint == saved.fingerprint


def test_the_fingerprint_changes_with_any_column_and_the_order() -> None:
    base = catalog([1.0, 2.0, 3.0])
    others = [
        Catalog(base.texts, base.texts, base.links, base.prices),
        Catalog(base.ids, base.ids, base.links, base.prices),
        Catalog(base.ids, base.texts, base.ids, base.prices),
        catalog([1.0, 2.0, 3.5]),
        base.take(np.array([1, 0, 2])),
        base.without_prices(),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1


def test_what_is_derived_is_made_once_only_of_a_catalog_that_remembers() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    plain = Catalog(*(np.array(["a", "b"], dtype=object) for _ in range(3)))
    assert [plain.derived("x", make), plain.derived("x", make)] == [1, 2]
    rows = plain.with_memory()
    assert [rows.derived("x", make), rows.without_prices().derived("x", make), rows.derived("y", make)] == [3, 3, 4]
    assert rows.take(np.array([0])).derived("x", make) == 5 and rows.fingerprint == plain.fingerprint
