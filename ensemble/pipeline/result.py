"""Stack result: scores, leave-one-out costs of members, and the files it writes (stack.json, stack_oof.parquet)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.arrays import Floats
from core.atomic_files import atomic_path, write_json
from core.data.catalog import ID, PRICE
from core.data.price_scale import UNSCALED, metrics_in_units, to_units
from core.metrics import (
    all_metrics,
    constant_floor,
    group_bootstrap,
    group_standard_error,
    smape_terms,
    smape_terms_of_logs,
)
from core.store.oof_store import CORE_VERSION
from ensemble.matrix.level_one import fingerprint
from ensemble.matrix.matrix import Matrix
from ensemble.methods.simplex import fit_simplex, refit_without
from ensemble.pipeline.final_pipeline import compare, describe_steps
from ensemble.pipeline.nested_cv import Validation
from ensemble.pipeline.serialization import stack_of
from reports.figures.report_inputs import STACK_FORMAT

MOST_ROWS = 20_000
"""Of more rows so many are looked at, evenly spread."""


@dataclass(frozen=True)
class LeaveOneOut:
    """cost: SMAPE points by which the rest is worse, negative where it is better. error: its standard error, over groups."""

    cost: float
    error: float


def leave_one_out(matrix: Matrix) -> list[LeaveOneOut]:
    """Of each member, in the matrix's order. With one member, or one group, nothing can be left out: an empty list.

    The groups are halved, and each half is evaluated with weights of the other. Without a member the weights are refined from
    where they were, not searched anew: a cost may be a little too high.
    """
    rows = np.linspace(0, len(matrix.ids) - 1, min(len(matrix.ids), MOST_ROWS)).astype(np.intp)
    groups = np.unique(matrix.groups[rows], return_inverse=True)[1]
    members = matrix.oof.shape[1]
    if members < 2 or groups.max() < 1:
        return []
    ratios = matrix.oof[rows] / matrix.prices[rows, None]
    logs = np.log(ratios)
    half = np.random.default_rng(0).permutation(int(groups.max()) + 1)[groups] % 2
    worse = np.empty((len(rows), members))
    for side in (0, 1):
        learn, evaluate = half != side, half == side
        weights = fit_simplex(ratios[learn], np.ones(int(learn.sum())), "log").weights
        whole = smape_terms_of_logs(logs[evaluate] @ weights)
        for place in range(members):
            rest = refit_without(logs[learn], weights, place)
            worse[evaluate, place] = smape_terms_of_logs(logs[evaluate] @ rest) - whole
    return [LeaveOneOut(float(column.mean()), group_standard_error(column, groups)) for column in worse.T]


_LIBRARIES = ("lightgbm", "numpy", "scipy")


@dataclass(frozen=True)
class Paths:
    """Paths of a stack's files. oof: the nested prices of the training rows, which reports read.

    stack: the folder of the fitted stack itself, None where there are no models that it could be served with.
    """

    submission: Path
    record: Path
    timings: Path
    oof: Path
    stack: Path | None = None


@dataclass(frozen=True, eq=False)
class StackResult:
    """record: what `stack.json` holds. test: (t,) the submitted prices. seconds: of reading, choosing and writing."""

    record: dict[str, Any]
    matrix: Matrix
    validation: Validation
    test: NDArray[np.float64]
    paths: Paths
    seconds: dict[str, float]

    @property
    def nested_smape(self) -> float:
        """The SMAPE to expect on rows that nobody has seen."""
        return float(self.record["nested"]["smape"])

    @property
    def standard_error(self) -> float:
        return float(self.record["nested"]["standard_error"])

    @property
    def interval(self) -> tuple[float, float]:
        """95% of bootstrap resamples of the groups have a nested SMAPE in it."""
        low, high = self.record["nested"]["interval"]
        return float(low), float(high)


def make_record(matrix: Matrix, validation: Validation, seed: int) -> dict[str, Any]:
    """Content of `stack.json`: the same inputs give the same bytes, so it holds no times and no paths."""
    floor_price, floor_smape = constant_floor(to_units(matrix.prices, matrix.scale))
    nested, in_sample = _scores(matrix, validation.nested), _scores(matrix, validation.in_sample)
    interval = group_bootstrap(smape_terms(matrix.prices, validation.nested), matrix.groups, seed=seed)
    recipe = validation.conclusion.recipe
    fingerprints, without = matrix.fingerprints, leave_one_out(matrix)
    weights = validation.final.weights
    return {
        "format": STACK_FORMAT,
        "catalog": matrix.catalog,
        "folds": matrix.folds_hash,
        "rows": {"train": len(matrix.ids), "test": len(matrix.test_ids)},
        "seed": seed,
        "features": {
            "names": list(matrix.feature_names),
            "fingerprint": fingerprint(matrix.features, matrix.test_features),
        },
        "floor": {"price": floor_price, "smape": floor_smape},
        "members": [
            {
                "name": name,
                "oof": _scores(matrix, matrix.oof[:, place]),
                "weight": float(weights[place]),
                "fingerprint": fingerprints[name],
                "without": vars(without[place]) if without else None,
            }
            for place, name in enumerate(matrix.names)
        ],
        "left_out": list(matrix.left_out),
        "candidates": [
            {**vars(each), "metrics": _metrics(matrix, validation.candidates[each.name])}
            for each in compare(matrix.prices, validation.candidates, matrix.groups)
        ],
        "choice": {
            "name": recipe.name,
            "by_block": list(validation.fold_choices),
            "not_tried": list(validation.not_tried),
            "rule": "the first (those that average most come first) within one standard error, paired, of the best",
        },
        "combination": validation.final.describe(),
        "steps": describe_steps(recipe, validation.conclusion.steps),
        "nested": {**nested, "interval": list(interval)},
        "in_sample": in_sample,
        "optimism": nested["smape"] - in_sample["smape"],
        "notes": list(matrix.notes),
        "versions": {"core": CORE_VERSION, **{name: version(name) for name in _LIBRARIES}},
        **({} if matrix.scale == UNSCALED else {"scale": matrix.scale}),
    }


def score_of_test(prices: Floats, predicted: Floats) -> dict[str, float]:
    """SMAPE, standard error and number of the test rows whose price (t,) is known, NaN elsewhere."""
    known = np.isfinite(prices)
    terms = smape_terms(prices[known], predicted[known])
    error = float(terms.std(ddof=1) / np.sqrt(len(terms))) if len(terms) > 1 else 0.0
    return {"smape": float(terms.mean()), "standard_error": error, "rows": int(known.sum())}


def write_files(result: StackResult) -> None:
    """Writes everything but the submission, each file whole or not at all."""
    write_json(result.paths.record, result.record)
    timings = {"seconds": _rounded(result.seconds), "members": _rounded(result.matrix.seconds)}
    write_json(result.paths.timings, timings)
    prices = {PRICE: result.matrix.prices, "stack": result.validation.nested}
    columns = {ID: result.matrix.ids, **{name: to_units(each, result.matrix.scale) for name, each in prices.items()}}
    with atomic_path(result.paths.oof) as temporary:
        pd.DataFrame(columns).to_parquet(temporary, index=False)
    if result.paths.stack is not None:
        stack_of(result.matrix, result.validation.final).save(result.paths.stack)


def _scores(matrix: Matrix, predicted: NDArray[np.float64]) -> dict[str, float]:
    error = group_standard_error(smape_terms(matrix.prices, predicted), matrix.groups)
    return {**_metrics(matrix, predicted), "standard_error": error}


def _metrics(matrix: Matrix, predicted: NDArray[np.float64]) -> dict[str, float]:
    return metrics_in_units(all_metrics(matrix.prices, predicted), matrix.scale)


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in seconds.items()}
