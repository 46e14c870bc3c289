"""Drift is seen where there is some, and not where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.bundle.reference_stats import quantiles, shares
from serving.monitoring.drift import FEWEST, MOST_PSI, STEP, Drift, Row, ks, psi, psi_of_numbers, psi_of_words

ROWS = 3_000
BRANDS = [f"brand {number}" for number in range(400)]


def statistics(generator: np.random.Generator) -> dict[str, object]:
    rows = [a_row(generator) for _ in range(ROWS)]
    return {
        "rows": {"inputs": ROWS, "prices": ROWS},
        "numbers": {
            "length": quantiles([row.length for row in rows]),
            "log_price": quantiles(np.log([row.price for row in rows])),
        },
        "words": {name: shares([getattr(row, name) for row in rows]) for name in ("unit", "brand", "script")},
        "missing_pictures": float(np.mean([row.missing_image for row in rows])),
    }


def a_row(generator: np.random.Generator, *, price: float = 3.0, unit: str | None = None) -> Row:
    """Brands are many and most of them rare, as in real catalogs."""
    place = min(len(BRANDS) - 1, int(generator.pareto(1.0)))
    unit = str(generator.choice(["ounce", "count", ""], p=[0.6, 0.3, 0.1])) if unit is None else unit
    length, missing = int(generator.lognormal(5, 1)), bool(generator.random() < 0.2)
    return Row(length, unit, BRANDS[place], "latin", missing, float(generator.lognormal(price, 1)))


def test_rows_of_its_own_kind_raise_nothing() -> None:
    generator = np.random.default_rng(0)
    drift = Drift(statistics(generator))
    for _ in range(5_000):
        figures = drift.add(a_row(generator))
        assert not [figure for figure in figures or () if figure.drifted]


@pytest.mark.parametrize(
    ("what", "change"), [("price", {"price": 4.5}), ("unit", {"unit": "fluid ounce"})], ids=["prices", "units"]
)
def test_rows_of_another_kind_are_seen_within_a_window(what: str, change: dict[str, object]) -> None:
    generator = np.random.default_rng(1)
    drift = Drift(statistics(generator))
    for _ in range(600):
        drift.add(a_row(generator))
    for _ in range(500):
        figures = drift.add(a_row(generator, **change)) or ()  # type: ignore[arg-type]
        if drifted := {figure.what for figure in figures if figure.drifted}:
            assert drifted == {what}
            return
    pytest.fail("not seen")


def test_brands_that_are_all_rare_are_known_all_the_same() -> None:
    """A hundred brands of 1% each: rows of the catalog's kind do not drift, and a window of other brands does."""
    generator = np.random.default_rng(4)
    words = {"unit": {}, "script": {}, "brand": dict.fromkeys(BRANDS[:100], 0.01)}
    drift = Drift({**statistics(generator), "words": words})

    def add(first: int) -> set[str]:
        row = a_row(generator)
        figures = drift.add(replace(row, brand=BRANDS[first + int(generator.integers(100))])) or ()
        return {figure.what for figure in figures if figure.drifted} & {"brand"}

    assert not any(add(0) for _ in range(5_000))
    assert any(add(100) for _ in range(500))


@pytest.mark.parametrize("brands", [100, 400, 1_500])
def test_brands_that_were_frequent_by_chance_are_no_drift(brands: int) -> None:
    """So many brands, all alike: which of them the catalog has seen five times, or among its most frequent, is chance."""
    generator = np.random.default_rng(brands)
    names = np.array([f"brand {number}" for number in range(brands)], dtype=object)
    for _ in range(20):
        known = shares(generator.choice(names, 2_000))
        for size in (FEWEST, 500) * 5:
            distance = psi_of_words(known, generator.choice(names, size).tolist(), 2_000)
            assert distance.value < max(MOST_PSI, distance.chance)


def test_a_bin_that_one_window_does_not_hit_is_no_drift() -> None:
    """Of a twentieth of the rows, one window of a hundred in 170 has none."""
    assert psi(np.array([0.05, 0.95]), np.array([0.0, 100.0]), ROWS).value < MOST_PSI
    assert psi(np.array([0.1, 0.9]), np.array([0.0, 500.0]), ROWS).value > MOST_PSI


def test_few_rows_make_no_figure() -> None:
    generator = np.random.default_rng(2)
    drift = Drift(statistics(generator))
    figures_of_rows = [drift.add(a_row(generator)) for _ in range(FEWEST + STEP)]
    assert [place + 1 for place, figures in enumerate(figures_of_rows) if figures is not None] == [
        FEWEST,
        FEWEST + STEP,
    ]


floats = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


@given(floats, floats)
@settings(max_examples=200)
def test_distances_are_finite_and_never_negative(known: list[float], values: list[float]) -> None:
    for distance in (each(quantiles(known), np.array(values), 10) for each in (psi_of_numbers, ks)):
        assert np.isfinite(distance.value) and distance.value >= 0
        assert distance.chance > 0


@given(st.lists(st.integers(0, 5), min_size=5, max_size=80))
def test_a_sample_is_not_far_from_itself(values: list[int]) -> None:
    array = np.array(values, dtype=np.float64)
    assert ks(quantiles(values), array, len(values)).value <= 1.0 / len(values) + 0.02
    words = [str(value) for value in values]
    assert psi_of_words(shares(words), words, len(words)).value == pytest.approx(0.0, abs=1e-9)


def test_figures_are_those_of_their_formulas() -> None:
    assert psi(np.array([0.5, 0.5]), np.array([30.0, 10.0]), 100).value == pytest.approx(0.5 * np.log(3) / 2)
    spread: NDArray[np.float64] = np.linspace(0, 1, 1001)
    assert ks(quantiles(spread), spread[spread > 0.5], 1000).value == pytest.approx(0.5, abs=0.01)


def test_chance_exceeds_its_bound_rarely() -> None:
    """Of 2,000 windows of nothing but chance none exceeds what one in a million should."""
    generator = np.random.default_rng(3)
    known = quantiles(generator.normal(size=ROWS))
    for _ in range(2_000):
        values = generator.normal(size=200)
        for distance in (psi_of_numbers(known, values, ROWS), ks(known, values, ROWS)):
            assert distance.value < distance.chance
