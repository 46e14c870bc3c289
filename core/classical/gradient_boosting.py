"""LightGBM training on log prices: objectives (L1, L2, Huber, SMAPE), rounds chosen by inner group folds, quantiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightgbm as lgb
import numpy as np
from lightgbm.basic import _LIB
from numpy.typing import NDArray

from core.arrays import Floats
from core.hardware import FreeCores
from core.metrics import smape_of_logs, smoothed_curvature
from core.protocols.architecture import LEVELS

_LEAST_CURVATURE = 0.1
_SMOOTHING = 0.1


def smoothed_smape_objective(predicted: Floats, data: lgb.Dataset) -> tuple[Floats, Floats]:
    """Gradient and curvature bound of the SMAPE with a smoothed kink (`core.metrics.smoothed_curvature`), as LightGBM asks.

    The curvature is never less than 0.1, so that no leaf runs away.
    """
    difference = predicted - np.asarray(data.get_label(), dtype=np.float64)
    curvature = smoothed_curvature(difference, _SMOOTHING)
    return curvature * difference, np.maximum(curvature, _LEAST_CURVATURE)


OBJECTIVES: dict[str, Any] = {"l2": "l2", "l1": "l1", "huber": "huber", "smape": smoothed_smape_objective}


def smape_metric(predicted: Floats, data: lgb.Dataset) -> tuple[str, float, bool]:
    """The SMAPE of predicted log prices, as LightGBM asks for a metric: (name, percent, whether higher is better)."""
    return "smape", smape_of_logs(predicted - np.asarray(data.get_label(), dtype=np.float64)), False


def choose_rounds(
    features: Floats,
    target: Floats,
    folds: NDArray[np.int64],
    params: dict[str, Any],
    rounds: int,
    tick: Callable[[], None],
) -> int:
    """The number of rounds, up to `rounds`, with the lowest mean SMAPE over these inner folds (n,) held out in turn."""
    curve = np.zeros(rounds)
    for fold in np.unique(folds):
        inside = folds == fold
        record: dict[str, Any] = {}
        held = _dataset(features[inside], target[inside], params)
        train = _dataset(features[~inside], target[~inside], params)
        with on_free_cores(params["num_threads"]) as adapting:
            callbacks = [lgb.record_evaluation(record), _ticking(tick), *adapting]
            lgb.train(params, train, rounds, valid_sets=[held], feval=smape_metric, callbacks=callbacks)
        curve += np.array(record["valid_0"]["smape"]) * inside.sum()
    return int(np.argmin(curve)) + 1


def boost(
    features: Floats,
    target: Floats,
    names: Sequence[str],
    params: dict[str, Any],
    rounds: int,
    tick: Callable[[], None],
) -> lgb.Booster:
    """Trees that map features (n, f) to targets (n,). `tick` is called after each round and may raise."""
    data = _dataset(features, target, params, names)
    return _train(params, data, rounds, tick)


def boost_quantiles(
    features: Floats,
    target: Floats,
    names: Sequence[str],
    params: dict[str, Any],
    rounds: int,
    tick: Callable[[], None],
) -> list[lgb.Booster]:
    """One booster per level of `core.protocols.architecture.LEVELS`, on one binned table, by the pinball loss
    (Koenker and Bassett 1978)."""
    data = _dataset(features, target, params, names)
    levels = [params | {"objective": "quantile", "alpha": level} for level in LEVELS]
    return [_train(each, data, rounds, tick) for each in levels]


def _train(params: dict[str, Any], data: lgb.Dataset, rounds: int, tick: Callable[[], None]) -> lgb.Booster:
    with on_free_cores(params["num_threads"]) as adapting:
        return lgb.train(params, data, rounds, callbacks=[_ticking(tick), *adapting])


def _dataset(
    features: Floats, target: Floats, params: dict[str, Any], names: Sequence[str] | None = None
) -> lgb.Dataset:
    columns = "auto" if names is None else list(names)
    return lgb.Dataset(features, target, feature_name=columns, params=params, free_raw_data=True)


def _ticking(tick: Callable[[], None]) -> Callable[[Any], None]:
    def after_round(environment: Any) -> None:
        tick()

    return after_round


_free_cores = FreeCores()


@contextmanager
def on_free_cores(threads: int) -> Iterator[list[Callable[[Any], None]]]:
    """Callbacks for the one `lgb.train` of the block: at most `threads`, and no more than cores that others leave free.

    Beside one busy core of two, two threads take four times as long as alone and one thread twice as long. Threads that a booster
    begins with are never exceeded, because its buffers are as many; later rounds may have fewer. LightGBM's trees are the same
    on any number of threads where `deterministic` is set; changing `num_threads` itself would draw other bags.
    """
    most = _limit_threads(threads)

    def before_next_round(_: Any) -> None:
        _limit_threads(most)

    try:
        yield [before_next_round] if most > 1 else []
    finally:
        _LIB.LGBM_SetMaxThreads(-1)


def _limit_threads(most: int) -> int:
    """Sets and returns how many threads LightGBM may use from here on. A quarter of a core counts as noise."""
    threads = max(1, int(min(most, _free_cores.count() + 0.25)))
    _LIB.LGBM_SetMaxThreads(threads)
    return threads
