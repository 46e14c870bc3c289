"""Number fields on one scale: splines are a partition of one, straight lines stay straight, what is missing is zero."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from core.fields import NUMBERS
from core.fields.splines import learn_scale

VALUES = st.one_of(st.floats(-1e9, 1e9), st.just(float("nan")))


def table(values: list[float]) -> pd.DataFrame:
    """Only the first number field is ever there."""
    return pd.DataFrame({name: values if name == NUMBERS[0] else [np.nan] * len(values) for name in NUMBERS})


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=2, max_size=40), st.lists(VALUES, min_size=1, max_size=10))
def test_splines_are_a_partition_of_one_where_a_number_is(learnt: list[float], asked: list[float]) -> None:
    scale = learn_scale(table(learnt))
    bent, plain = scale.bent(table(asked)), scale.apply(table(asked))
    assert np.isfinite(bent).all() and np.isfinite(plain).all()
    if scale.fields:
        known = ~np.isnan(asked)
        np.testing.assert_allclose(bent.sum(axis=1), known.astype(float), atol=1e-9)
        assert (bent >= 0).all() and (np.count_nonzero(bent, axis=1) <= 2).all()
        np.testing.assert_array_equal(plain[:, 1], (~known).astype(float))


def test_a_straight_line_is_a_combination_of_the_splines() -> None:
    values = list(np.random.default_rng(0).lognormal(3, 1, 200))
    scale = learn_scale(table(values))
    bent, plain = scale.bent(table(values)), scale.apply(table(values))[:, 0]
    knots = np.nan_to_num(scale.knots[0])
    np.testing.assert_allclose(bent @ knots, plain, atol=1e-9)


def test_fields_of_one_value_or_none() -> None:
    assert learn_scale(table([np.nan, np.nan, 3.0])).fields == []
    scale = learn_scale(table([5.0, 5.0, np.nan]))
    np.testing.assert_array_equal(scale.bent(table([5.0, 7.0, np.nan]))[:, 0], [1.0, 1.0, 0.0])
