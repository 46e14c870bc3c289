"""Ridge and Huber regression of log prices on a sparse matrix; the penalty is chosen on inner group folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from core.arrays import Floats
from core.metrics import MAD_TO_DEVIATION, smape

_TOLERANCE, _MOST_STEPS = 1e-3, 300
ALPHAS = (10.0, 3.0, 1.0, 0.3, 0.1)


@dataclass(frozen=True)
class LinearModel:
    """log price = inputs @ coefficients + intercept."""

    coefficients: Floats
    intercept: float

    def predict(self, inputs: sp.csr_matrix | Floats) -> Floats:
        """Log prices (n,)."""
        return np.asarray(inputs @ self.coefficients, dtype=np.float64) + self.intercept


def fit_ridge(inputs: sp.csr_matrix, log_prices: Floats, alpha: float, weights: Floats | None = None) -> LinearModel:
    """Minimises sum v (X w + b - y)^2 + alpha |w|^2 by conjugate gradients, which need no n x n or d x d matrix.

    weights: v (n,), 1 if not given.
    """
    ridge = Ridge(alpha=alpha, solver="sparse_cg", tol=_TOLERANCE, max_iter=_MOST_STEPS)
    ridge.fit(inputs.astype(np.float64), log_prices, sample_weight=weights)
    return LinearModel(np.asarray(ridge.coef_, dtype=np.float64), float(ridge.intercept_))


def fit_dense_ridge(inputs: Floats, log_prices: Floats, alpha: float) -> LinearModel:
    """The same for dense inputs (n, d) of few columns, by their d x d matrix."""
    ridge = Ridge(alpha=alpha, solver="cholesky").fit(inputs, log_prices)
    return LinearModel(np.asarray(ridge.coef_, dtype=np.float64), float(ridge.intercept_))


_HUBER_ROUNDS, _HUBER_WIDTH = 4, 1.345


def fit_huber(inputs: sp.csr_matrix, log_prices: Floats, alpha: float, weights: Floats | None = None) -> LinearModel:
    """The same with Huber's loss instead of squares, by iteratively reweighted ridges (Huber 1981, section 7.8).

    Rows whose residual is beyond 1.345 robust standard deviations (1.4826 times the median absolute residual) count less.
    """
    given = np.ones(len(log_prices)) if weights is None else weights
    fitted = fit_ridge(inputs, log_prices, alpha, given)
    for _ in range(_HUBER_ROUNDS):
        residual = np.abs(log_prices - fitted.predict(inputs))
        width = max(_HUBER_WIDTH * MAD_TO_DEVIATION * float(np.median(residual)), 1e-6)
        fitted = fit_ridge(inputs, log_prices, alpha, given * width / np.maximum(residual, width))
    return fitted


def choose_alpha(
    inputs: sp.csr_matrix,
    log_prices: Floats,
    folds: NDArray[np.int64],
    tick: Callable[[], None],
    weights: Floats | None = None,
) -> float:
    """The penalty of ALPHAS with the lowest SMAPE on rows that the fit has not seen, over these inner folds (n,).

    Goes from the strongest down and stops once it gets worse: weak penalties take the most time and overfit. weights: (n,) of the
    rows in the fits; the SMAPE counts them alike.
    """
    bounds = log_prices.min() - 1.0, log_prices.max() + 1.0
    best, lowest = ALPHAS[0], np.inf
    for alpha in ALPHAS:
        predicted = np.empty(len(log_prices))
        for fold in np.unique(folds):
            tick()
            inside = folds == fold
            known = None if weights is None else weights[~inside]
            fitted = fit_ridge(inputs[~inside], log_prices[~inside], alpha, known)
            predicted[inside] = fitted.predict(inputs[inside])
        score = smape(np.exp(log_prices), np.exp(np.clip(predicted, *bounds)))
        if score >= lowest:
            break
        best, lowest = alpha, score
    return best
