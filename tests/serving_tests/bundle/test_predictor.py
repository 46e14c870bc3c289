from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.data.catalog import Catalog
from core.protocols.architecture import Prices
from core.store.workspace import Workspace
from serving.bundle.predictor import LEVELS, Distances, Predictor, ServedMember


class Broken:
    """A model that fails, or gives what is no price, for rows whose text has the word."""

    def __init__(self, model: ServedMember, word: str = "", value: float | None = None) -> None:
        self.model, self.word, self.value = model, word, value

    def predict(self, catalog: Catalog) -> Prices:
        hit = np.array([self.word in text for text in catalog.texts])
        if self.value is None and hit.any():
            raise RuntimeError("out of order")
        return np.where(hit, self.value or 0.0, self.model.predict(catalog))


def breaking(predictor: Predictor, places: Sequence[int], word: str = "", value: float | None = None) -> None:
    predictor.members = tuple(
        ServedMember(member.facts, [Broken(member, word, value)]) if place in places else member
        for place, member in enumerate(predictor.members)
    )


@pytest.fixture
def predictor(exported: Path) -> Predictor:
    return Predictor(exported)


def test_chunks_and_company_change_no_price(predictor: Predictor, stacked: Workspace) -> None:
    whole = predictor.predict(stacked.test)
    assert whole.counts == {"stack": 40} and whole.answered.all()
    for rows in (7, 40):
        assert predictor.predict(stacked.test, rows=rows).prices == pytest.approx(whole.prices, rel=1e-9)
    alone = predictor.predict(stacked.test.take(np.array([5])))
    assert (alone.prices[0], alone.low[0]) == pytest.approx((whole.prices[5], whole.low[5]), rel=1e-9)
    assert ((whole.low <= whole.prices) & (whole.prices <= whole.high)).all()


def test_many_threads_get_what_one_gets(predictor: Predictor, stacked: Workspace) -> None:
    parts = [stacked.train.take(np.arange(start, start + 10)).without_prices() for start in range(0, 80, 10)]
    expected = [predictor.predict(part).prices for part in parts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: predictor.predict(part, rows=3).prices, parts))
    assert np.concatenate(found) == pytest.approx(np.concatenate(expected), rel=1e-9)


def test_a_member_that_fails_is_filled_in_and_marked(predictor: Predictor, stacked: Workspace) -> None:
    whole = predictor.predict(stacked.test)
    breaking(predictor, [0], word="saffron")
    answer = predictor.predict(stacked.test, rows=1)
    failed = np.array(["saffron" in text for text in stacked.test.texts])
    assert 0 < failed.sum() < 40
    assert answer.answered[:, 0].tolist() == (~failed).tolist() and answer.answered[:, 1].all()
    assert [LEVELS[level] for level in answer.levels[failed]] == ["members"] * failed.sum()
    assert answer.prices[~failed] == pytest.approx(whole.prices[~failed])
    assert (
        np.median(np.abs(np.log(answer.prices / whole.prices))[failed]) < 0.4
    )  # the other member knows nearly as much


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3.0])
def test_what_is_no_price_counts_as_no_answer(predictor: Predictor, stacked: Workspace, value: float) -> None:
    breaking(predictor, [1], word="Acme", value=value)
    answer = predictor.predict(stacked.test)
    assert answer.answered[:, 1].tolist() == ["Acme" not in text for text in stacked.test.texts]
    assert np.isfinite(answer.prices).all() and (answer.prices > 0).all()


def test_without_an_answer_there_is_the_constant_price(predictor: Predictor, stacked: Workspace) -> None:
    breaking(predictor, [0, 1], word="olive oil")
    answer = predictor.predict(stacked.test, rows=1)
    failed = np.array(["olive oil" in text for text in stacked.test.texts])
    facts = predictor.facts
    assert answer.counts == {"stack": 40 - failed.sum(), "median": failed.sum()}
    assert (answer.prices[failed] == facts.middle).all()
    assert (answer.low[failed] == facts.low).all() and (answer.high[failed] == facts.high).all()


def test_light_members_answer_alone_when_networks_do_not(predictor: Predictor, stacked: Workspace) -> None:
    heavy = predictor.members[0]
    predictor.members = (replace(heavy, facts=replace(heavy.facts, light=False)), predictor.members[1])
    asked = predictor.predict(stacked.test, light=True)
    assert asked.counts == {"light": 40} and not asked.answered[:, 0].any()
    breaking(predictor, [0])
    assert predictor.predict(stacked.test).prices == pytest.approx(asked.prices)
    breaking(predictor, [0, 1])
    assert predictor.predict(stacked.test).counts == {"median": 40}


def test_an_interval_has_its_coverage(predictor: Predictor, stacked: Workspace) -> None:
    assert 0.6 < predictor.facts.coverage < 0.95  # of 150 rows
    answer = predictor.predict(stacked.train.without_prices())
    inside = (answer.low <= stacked.train.known_prices) & (stacked.train.known_prices <= answer.high)
    assert inside.mean() > 0.7


def test_strange_rows_get_a_price(predictor: Predictor) -> None:
    texts = np.array(["", "Ωμέγα 🕰", "x" * 100_000, "\0\n"], dtype=object)
    links = np.array(["", "http://[x/1.jpg", "", "https://a/b.png"], dtype=object)
    answer = predictor.predict(Catalog(texts, texts, links))
    assert np.isfinite(answer.prices).all() and (answer.prices > 0).all()


def test_a_missing_price_is_the_nearest_members_moved_by_their_usual_distance() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(3, 1, 500)
    good = truth + rng.normal(0, 0.1, 500)
    logs = np.column_stack(
        [good, good + 0.3 + rng.normal(0, 0.02, 500), truth + rng.normal(0, 0.8, (500, 3)).T[0], truth]
    )
    found = Distances.measure(np.exp(logs))
    given = np.exp(logs[:4])
    given[0, 0] = given[1, 1] = np.nan
    given[2, :2] = np.nan
    given[3, [0, 1, 3]] = np.nan
    filled = found.fill(given)
    assert np.array_equal(filled[~np.isnan(given)], given[~np.isnan(given)])
    assert np.log(filled[0, 0]) == pytest.approx(logs[0, 1] - 0.3, abs=0.02)
    assert np.log(filled[1, 1]) == pytest.approx(logs[1, 0] + 0.3, abs=0.02)
    assert np.log(filled[2, :2]) == pytest.approx([logs[2, 3], logs[2, 3] + 0.3], abs=0.05)
    assert np.log(filled[3, 3] / given[3, 2]) == pytest.approx(found.offsets[3, 2])


def test_a_row_is_filled_alike_in_any_company() -> None:
    oof = np.exp(np.random.default_rng(1).normal(2, 1, (60, 4)))
    given = oof[:20].copy()
    given[::2, 1] = given[::3, 2] = np.nan
    found = Distances.measure(oof)
    assert np.array_equal(np.vstack([found.fill(row[None]) for row in given]), found.fill(given))
