"""Selection of learnt fields: those that prices depend on stay; noise, constants and what rules read already are dropped."""

from __future__ import annotations

import numpy as np

from core.data.catalog import Catalog
from core.fields.field_selection import learn_labelled_fields
from core.fields.learnt_fields import NO_FIELDS, learn_fields_of
from core.fields.reader import labelled_of


def houses(count: int = 400) -> Catalog:
    """Prices that follow area, state and pools; a colour, a number and a list that mean nothing; proof is twice the percent."""
    rng = np.random.default_rng(0)
    area, state = rng.integers(40, 400, count), rng.integers(0, 3, count)
    pool, percent = rng.random(count) < 0.5, rng.integers(10, 60, count)
    texts = [
        "\n".join(
            [
                f"Item Name: house {rng.integers(10**6)}, {percent[row]}%",
                f"Land: {area[row]} rods",
                f"State: {['poor', 'fair', 'new'][state[row]]}",
                f"Extras: {'pool, ' if pool[row] else 'roof, '}{rng.choice(['garden', 'cellar'])}",
                f"Door: {rng.choice(['red', 'blue', 'green'])}",
                f"Lot: {rng.integers(1000)}",
                f"Notes: {', '.join(rng.choice(['a', 'b', 'c', 'd'], 2, replace=False))}",
                f"Strength: {2 * percent[row]}",
            ]
        )
        for row in range(count)
    ]
    prices = np.exp(0.01 * area + state + pool + 0.02 * percent + rng.normal(0, 0.2, count))
    ids = np.array([f"id{row}" for row in range(count)], dtype=object)
    return Catalog(ids, np.array(texts, dtype=object), np.full(count, "", dtype=object), prices)


def test_fields_that_prices_depend_on_stay() -> None:
    catalog = houses()
    assert {column.label for column in learn_fields_of(labelled_of(catalog)).columns} == {
        "land", "state", "extras", "door", "lot", "notes", "strength"
    }  # fmt: skip
    kept = {column.label: column for column in learn_labelled_fields(catalog).columns}
    assert kept.keys() == {"land", "state", "extras"}
    assert kept["land"].numbers == ("rods",)
    assert kept["state"].levels == 1
    assert kept["extras"].listed


def test_a_field_without_any_bearing_on_prices_is_no_field() -> None:
    catalog = houses()
    rng = np.random.default_rng(1)
    prices = np.exp(rng.normal(size=len(catalog)))
    shuffled = Catalog(catalog.ids, catalog.texts, catalog.links, prices)
    assert learn_labelled_fields(shuffled) == NO_FIELDS


def test_texts_without_labels_have_no_fields() -> None:
    catalog = houses(30)
    plain = Catalog(catalog.ids, np.full(30, "a plain text", dtype=object), catalog.links, catalog.known_prices)
    assert learn_labelled_fields(plain) == NO_FIELDS
