"""`PriceRegressor`: scikit-learn's conventions over a sweep, a stack and a bundle, for frames of any columns."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from pricestack import PriceRegressor
from tests.errors import refused

SMALL: dict[str, Any] = {
    "minutes": None,
    "architectures": ["boosted"],
    "options": {
        "trials": 1,
        "members": 1,
        "settings": ["max_rounds=60", "learning_rate=0.2", "bags=1", "max_terms=200", "svd_components=4"],
    },
}


def shop(count: int = 90) -> pd.DataFrame:
    """Prices follow the size and the brand, each in a column of its own."""
    rng = np.random.default_rng(0)
    size, brand = rng.integers(1, 30, count), rng.integers(3, size=count)
    names = [f"{word} jar {row}" for row, word in enumerate(rng.choice(["oak", "elm", "fir"], count))]
    prices = np.round(2.0 * size * 1.5**brand, 2)
    table = pd.DataFrame({"title": names, "brand": np.array(["acme", "best", "core"])[brand], "size": size})
    return table.assign(price=prices)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> PriceRegressor:
    table = shop()
    model = PriceRegressor(workspace=tmp_path_factory.mktemp("fit") / "runs", **SMALL)
    return model.fit(table.drop(columns="price"), table["price"])


@pytest.mark.e2e
def test_a_frame_is_priced_by_its_columns(fitted: PriceRegressor, capsys: pytest.CaptureFixture[str]) -> None:
    table = shop()
    prices = fitted.predict(table.drop(columns="price"))
    ends = fitted.predict_interval(table)
    assert prices.shape == (90,) and np.isfinite(prices).all() and (prices > 0).all()
    assert (ends[:, 0] <= prices).all() and (prices <= ends[:, 1]).all()
    assert fitted.score(table.drop(columns="price"), table["price"]) > 0.5
    assert fitted.nested_smape_ < 60 and len(fitted.members_) == 1
    assert list(fitted.feature_names_in_) == ["title", "brand", "size"] and fitted.n_features_in_ == 3
    assert capsys.readouterr().out == ""


@pytest.mark.e2e
def test_it_is_cloned_pickled_and_refused_as_estimators_are(fitted: PriceRegressor) -> None:
    table = shop().drop(columns="price")
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(table[:5]), fitted.predict(table[:5]))
    assert clone(fitted).get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        clone(fitted).predict(table)
    with refused("frame-lost-column"):
        fitted.predict(table.drop(columns="brand"))


@pytest.mark.e2e
def test_the_same_rows_in_the_same_workspace_train_nothing_again(fitted: PriceRegressor) -> None:
    table, members = shop(), Path(fitted.workspace_) / "members"
    before = {path: path.stat().st_mtime_ns for path in members.rglob("*.json")}
    again = clone(fitted).fit(table.drop(columns="price"), table["price"])
    assert {path: path.stat().st_mtime_ns for path in members.rglob("*.json")} == before
    assert again.nested_smape_ == fitted.nested_smape_


@pytest.mark.e2e
def test_an_array_of_numbers_is_enough() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(80, 3))
    prices = np.exp(numbers[:, 0] + 0.5 * numbers[:, 1])
    model = PriceRegressor(**SMALL).fit(numbers, prices)
    assert model.score(numbers, prices) > 0.3
    home = model.workspace_
    assert home.exists()
    del model
    assert not home.exists()


@pytest.mark.parametrize(
    ("asked", "prices", "code"),
    [
        ({}, [1.0] * 89, "frame-other-length"),
        ({}, [1.0] * 88 + [0.0, np.nan], "frame-bad-price"),
        ({"text": "titel"}, [1.0] * 90, "frame-unknown-column"),
        ({"ignore": ["brnd"]}, [1.0] * 90, "frame-unknown-column"),
        ({"image": "photo"}, [1.0] * 90, "frame-unknown-column"),
    ],
)
def test_what_cannot_be_fitted_is_said_before_anything_runs(
    asked: dict[str, Any], prices: list[float], code: str
) -> None:
    with refused(code):
        PriceRegressor(**{**SMALL, **asked}).fit(shop().drop(columns="price"), prices)
