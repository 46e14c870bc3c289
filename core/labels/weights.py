"""Which training rows a model should believe less: those far from what the other rows say they should cost."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from core.classical.linear import fit_ridge
from core.classical.tfidf_inputs import learn_inputs
from core.data.catalog import Catalog
from core.data.folds import inner_folds
from core.metrics import robust_deviation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Suspects = Literal["keep", "downweight", "drop"]

_FOLDS = 3
_ALPHA = 1.0
_DOUBT = 2.5
FAR = 4.0
LEAST_SCALE = 0.1
"""Where most prices are told nearly exactly, the others are not therefore wrong."""
FACTOR = float(np.log(2))


def cross_fitted(matrix: sp.csr_matrix, log_prices: Floats, groups: Ints, seed: int) -> Floats:
    """(n,) log prices by ridge regressions on the rows of other products, (n, d): what the others say that a row should cost."""
    folds = inner_folds(groups, _FOLDS, seed)
    expected = np.empty(len(log_prices))
    for fold in np.unique(folds):
        inside = folds == fold
        expected[inside] = fit_ridge(matrix[~inside], log_prices[~inside], _ALPHA).predict(matrix[inside])
    return expected


def robust_z(residuals: Floats) -> Floats:
    """(n,) distances of log prices (n,) from their median, in robust standard deviations of LEAST_SCALE at least."""
    centred = residuals - np.median(residuals)
    return np.asarray(centred / max(robust_deviation(residuals), LEAST_SCALE))


def row_weights(matrix: sp.csr_matrix, log_prices: Floats, groups: Ints, suspects: Suspects, seed: int) -> Floats:
    """(n,) weights 0 to 1, from these rows alone: matrix (n, d) of their texts, log prices, groups of one product.

    `downweight`: (2.5 / z)^2 beyond z = 2.5, z being a row's distance from the others' expectation in robust standard deviations.
    `drop`: 0 beyond z = 4 and a factor of 2. `keep`: 1.
    """
    if suspects == "keep":
        return np.ones(len(log_prices))
    residuals = log_prices - cross_fitted(matrix, log_prices, groups, seed)
    z = np.abs(robust_z(residuals))
    if suspects == "downweight":
        return np.asarray(np.square(np.minimum(1.0, _DOUBT / np.maximum(z, 1e-9))))
    return np.asarray(1.0 - ((z > FAR) & (np.abs(residuals) > FACTOR)))


def without_suspects(train: Catalog, max_terms: int, number_weight: float, seed: int) -> Catalog:
    """The training rows that `drop` keeps, by the inputs of the linear models (`core.classical.tfidf_inputs`)."""
    matrix = learn_inputs(train, max_terms, number_weight).matrix(train)
    weights = row_weights(matrix, np.log(train.known_prices), train.product_groups, "drop", seed)
    return train.take(weights > 0)
