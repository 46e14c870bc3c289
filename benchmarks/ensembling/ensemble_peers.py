"""Baseline ensembling methods beside our solver: functions (oof (n, m), prices (n,), test (t, m)) -> (t,) prices.

    python benchmarks/ensembling/ensemble_peers.py METHOD FOLDER

Reads oof.npy, prices.npy and test.npy in FOLDER, writes METHOD.npy there and prints, as its last line, the seconds of fitting and
predicting; imports and reading come before. ensembling.py starts one such process per measurement, perhaps with another
interpreter: beside NumPy a method needs only what it imports.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.arrays import Floats

Fit = Callable[[Floats, Floats, Floats], Floats]
Space = Literal["log", "price"]

ROUNDS = 100
"""Members that greedy selection takes, with replacement."""


def smape(true: Floats, predicted: Floats) -> float:
    """As people write it for positive prices."""
    return float(200.0 * np.mean(np.abs(predicted - true) / (predicted + true)))


def greedy(oof: Floats, prices: Floats, test: Floats, space: Space) -> Floats:
    """Greedy selection with replacement from an empty ensemble; the best ensemble on the way is the result.

    Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004, in plain NumPy.
    """
    members = np.ascontiguousarray(np.log(oof.T) if space == "log" else oof.T)
    total, taken, path = np.zeros(len(prices)), list[int](), list[float]()
    for count in range(1, ROUNDS + 1):
        means = ((total + member) / count for member in members)
        scores = [smape(prices, np.exp(mean) if space == "log" else mean) for mean in means]
        best = int(np.argmin(scores))
        total += members[best]
        taken.append(best)
        path.append(scores[best])
    return _average(taken, path, test, space)


def greedy_in_buffers(oof: Floats, prices: Floats, test: Floats, space: Space) -> Floats:
    """The same without a new array for each operation: a quarter of the time, since the allocator gets and returns no pages."""
    members = np.ascontiguousarray(np.log(oof.T) if space == "log" else oof.T)
    total, taken, path = np.zeros(len(prices)), list[int](), list[float]()
    mean, gap, scores = np.empty_like(prices), np.empty_like(prices), np.empty(len(members))
    for count in range(1, ROUNDS + 1):
        for place, member in enumerate(members):
            np.add(total, member, out=mean)
            mean /= count
            if space == "log":
                np.exp(mean, out=mean)
            np.subtract(mean, prices, out=gap)
            np.abs(gap, out=gap)
            mean += prices
            gap /= mean
            scores[place] = gap.mean()
        best = int(scores.argmin())
        total += members[best]
        taken.append(best)
        path.append(float(scores[best]))
    return _average(taken, path, test, space)


def _average(taken: list[int], path: list[float], test: Floats, space: Space) -> Floats:
    taken = taken[: int(np.argmin(path)) + 1]
    weights = np.bincount(taken, minlength=test.shape[1]) / len(taken)
    return np.exp(np.log(test) @ weights) if space == "log" else test @ weights


def slsqp(oof: Floats, prices: Floats, test: Floats) -> Floats:
    """SciPy's SLSQP from equal weights, gradients by differences, with its default tolerances."""
    from scipy.optimize import minimize

    count = oof.shape[1]
    found = minimize(
        lambda weights: smape(prices, oof @ weights), np.full(count, 1 / count), method="SLSQP",
        bounds=[(0.0, 1.0)] * count, constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1.0},
    )  # fmt: skip
    weights = np.clip(found.x, 0.0, None)
    return test @ (weights / weights.sum())


def ridge(oof: Floats, prices: Floats, test: Floats) -> Floats:
    """The final estimator of scikit-learn's StackingRegressor, with a longer list of alphas, on logarithms."""
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=np.logspace(-3, 3, 13)).fit(np.log(oof), np.log(prices))
    return np.exp(model.predict(np.log(test)))


def climb_hill(oof: Floats, prices: Floats, test: Floats) -> Floats:
    """PyPI's hillclimbers with its default precision."""
    import hillclimbers
    import pandas as pd

    return hillclimbers.climb_hill(
        train=pd.DataFrame({"price": prices}), oof_pred_df=_named(pd, oof), test_pred_df=_named(pd, test),
        target="price", objective="minimize", eval_metric=hillclimbers.partial(smape), plot_hill=False,
    )  # fmt: skip


def hill_climbing(oof: Floats, prices: Floats, test: Floats) -> Floats:
    """PyPI's hill-climbing with its default precision, in one process.

    Its default, a new pool of processes for each member in each round, takes twice as long.
    """
    import pandas as pd
    from hill_climbing import Climber

    climber = Climber(objective="minimize", eval_metric=smape, n_jobs=1, verbose=False)
    climber.fit(_named(pd, oof), prices)
    return climber.predict(_named(pd, test))


def autogluon(oof: Floats, prices: Floats, test: Floats) -> Floats:
    """AutoGluon's EnsembleSelection with as many rounds as `greedy`."""
    from autogluon.core.metrics import make_scorer
    from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection

    metric = make_scorer("smape", smape, optimum=0, greater_is_better=False)
    selection = EnsembleSelection(ensemble_size=ROUNDS, problem_type="regression", metric=metric)
    selection.fit(list(np.ascontiguousarray(oof.T)), prices)
    return selection.predict(list(np.ascontiguousarray(test.T)))


def simplex(oof: Floats, prices: Floats, test: Floats, space: Space) -> Floats:
    """Ours, on one thread: that is what it gets within a stack."""
    from threadpoolctl import threadpool_limits

    from ensemble.matrix.level_one import Rows
    from ensemble.methods.simplex import fit_simplex

    with threadpool_limits(limits=1):
        return fit_simplex(oof, prices, space).predict(Rows(test, test[:, :0]))


def _named(pandas: Any, members: Floats) -> Any:
    return pandas.DataFrame(members, columns=[f"member {place}" for place in range(members.shape[1])])


@dataclass(frozen=True)
class Method:
    """space: in which it averages. imports: modules that are loaded before the clock starts. foreign: of --peers-python."""

    fit: Fit
    space: Space
    imports: tuple[str, ...] = ()
    ours: bool = False
    foreign: bool = False


METHODS = {
    "greedy-price": Method(partial(greedy, space="price"), "price"),
    "greedy-log": Method(partial(greedy, space="log"), "log"),
    "greedy-price-buffers": Method(partial(greedy_in_buffers, space="price"), "price"),
    "greedy-log-buffers": Method(partial(greedy_in_buffers, space="log"), "log"),
    "slsqp": Method(slsqp, "price", ("scipy.optimize",)),
    "ridge-log": Method(ridge, "log", ("sklearn.linear_model",)),
    "hillclimbers": Method(climb_hill, "price", ("pandas", "hillclimbers"), foreign=True),
    "hill-climbing": Method(hill_climbing, "price", ("pandas", "hill_climbing"), foreign=True),
    "autogluon": Method(
        autogluon, "price",
        ("autogluon.core.metrics", "autogluon.core.models.greedy_ensemble.ensemble_selection"), foreign=True,
    ),
    "simplex-price": Method(partial(simplex, space="price"), "price", ("scipy.optimize", "ensemble.methods.simplex"), ours=True),
    "simplex-log": Method(partial(simplex, space="log"), "log", ("scipy.optimize", "ensemble.methods.simplex"), ours=True),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    method, folder = METHODS[arguments.method], arguments.folder
    for name in method.imports:
        import_module(name)
    data = [np.load(folder / f"{name}.npy") for name in ("oof", "prices", "test")]
    start = time.perf_counter()
    predicted = method.fit(*data)
    seconds = time.perf_counter() - start
    np.save(folder / f"{arguments.method}.npy", predicted)
    print(f"\n{seconds}")


if __name__ == "__main__":
    main()
