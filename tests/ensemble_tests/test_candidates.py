from __future__ import annotations

import numpy as np
import pytest

from core.metrics import smape
from ensemble.blend import Blend
from ensemble.candidates import BOOSTER, MEAN, SIMPLEX_LOG, SIMPLEX_PRICE, SINGLE, describe, fit_candidates
from tests.ensemble_tests.toys import members

ALL = (SINGLE, MEAN, SIMPLEX_LOG, SIMPLEX_PRICE, BOOSTER)


def test_only_what_is_named_is_fitted() -> None:
    oof, prices = members(200, 3)
    for name in ALL:
        assert list(fit_candidates(oof, prices, (name,), [0])) == [name]
    assert set(fit_candidates(oof, prices, ALL, [0])) == set(ALL)


def test_each_candidate_is_what_its_name_says() -> None:
    oof, prices = members(200, 3)
    fitted = fit_candidates(oof, prices, ALL, [0])
    best = min(range(3), key=lambda place: smape(prices, oof[:, place]))
    assert np.array_equal(fitted[SINGLE].predict(oof), oof[:, best])
    assert fitted[MEAN].predict(oof) == pytest.approx(np.exp(np.log(oof).mean(axis=1)))
    simplex = {name: fitted[name] for name in (SIMPLEX_LOG, SIMPLEX_PRICE)}
    assert simplex[SIMPLEX_LOG].predict(oof) == pytest.approx(np.exp(np.log(oof) @ simplex[SIMPLEX_LOG].weights))
    assert simplex[SIMPLEX_PRICE].predict(oof) == pytest.approx(oof @ simplex[SIMPLEX_PRICE].weights)
    assert np.array_equal(fitted[BOOSTER].weights, fitted[SIMPLEX_LOG].weights)
    assert all(np.isfinite(each.predict(oof)).all() and (each.predict(oof) > 0).all() for each in fitted.values())


def test_description_names_members_and_trees() -> None:
    oof, prices = members(200, 2)
    assert describe(Blend(np.array([0.25, 0.75]), "price"), ["a", "b"]) == {
        "weights": {"a": 0.25, "b": 0.75},
        "space": "price",
    }
    trees = describe(fit_candidates(oof, prices, (BOOSTER,), [0, 1])[BOOSTER], ["a", "b"])
    assert trees["boosters"] == 2
    assert len(trees["fingerprint"]) == 32
