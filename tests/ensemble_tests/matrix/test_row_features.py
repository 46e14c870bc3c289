from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.fields import NUMBERS
from core.store.workspace import Workspace
from ensemble.matrix.row_features import LENGTH, WORDS, codes, frequent, from_columns, of_catalog


def test_words_are_numbered_by_frequency_in_the_training_rows() -> None:
    train = ["b"] * 6 + ["a"] * 6 + ["c"] * 9 + ["rare"] * 4 + [""] * 20
    known = frequent(train)
    assert known == ("c", "a", "b")
    found = codes(["c", "a", "b", "rare", "", "new"], known)
    assert found == pytest.approx([0, 1, 2, np.nan, np.nan, np.nan], nan_ok=True)


def test_numbers_beyond_32_bits_are_unknown_and_constant_columns_left_out() -> None:
    columns = {
        "kept": (np.array([1.0, 2.0, np.inf]), np.array([1e300, 5.0])),
        "constant": (np.array([1.0, 1.0, np.nan]), np.array([1.0, 2.0])),
        "empty": (np.full(3, np.nan), np.array([1.0, 2.0])),
    }
    found = from_columns(columns, 3, 2)
    assert found.names == ("kept",)
    assert found.train[:, 0] == pytest.approx([1, 2, np.nan], nan_ok=True)
    assert found.test[:, 0] == pytest.approx([np.nan, 5], nan_ok=True)
    assert from_columns({}, 3, 2).train.shape == (3, 0)


def test_fields_of_a_catalog_mean_the_same_in_training_and_test_rows(toy_workspace: Workspace) -> None:
    train, cache = toy_workspace.train, toy_workspace.cache()
    found, again = (of_catalog(train, train, cache) for _ in range(2))
    assert found.names and set(found.names) <= {*NUMBERS, *WORDS, LENGTH}
    assert np.array_equal(found.train, found.test, equal_nan=True)
    assert np.array_equal(found.train, again.train, equal_nan=True)
    assert found.train[:, found.names.index(LENGTH)].tolist() == [len(text) for text in train.texts]


def test_new_rows_are_read_as_the_test_rows_were(toy_workspace: Workspace) -> None:
    test = toy_workspace.test
    found = of_catalog(toy_workspace.train, test, toy_workspace.cache())
    assert found.reader is not None and found.reader.names == found.names
    chosen = np.array([7, 2, 2])
    again = found.reader.read(replace(test.take(chosen), ids=np.array(["a", "b", "c"], dtype=object)))
    assert np.array_equal(again, found.test[chosen], equal_nan=True)


def test_prices_have_no_say_in_the_fields(toy_workspace: Workspace) -> None:
    train, test = toy_workspace.train, toy_workspace.test
    other = replace(train, prices=train.known_prices[::-1].copy())
    assert train.fingerprint != other.fingerprint  # so that nothing comes from the cache
    before, after = (of_catalog(each, test, toy_workspace.cache()) for each in (train, other))
    assert np.array_equal(before.train, after.train, equal_nan=True)
    assert np.array_equal(before.test, after.test, equal_nan=True)
