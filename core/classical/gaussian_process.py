"""Gaussian-process regression of log prices: one length scale per text block and number field, by marginal likelihood.

k(x, x') = s exp(-sum_b u_b (1 - cos_b)) (e^-d + (1 + sqrt(3) d) e^(-sqrt(3) d)) / 2,  d^2 = sum_j v_j (x_j - x'_j)^2

where cos_b is the cosine of two rows' text blocks and x_j a scaled number field: the mean of the Matern kernels of order
1/2 and 3/2 in the numbers (Rasmussen and Williams 2006, sections 4.2 and 5.1, "automatic relevance determination"). A field
or a block that says nothing of prices gets a length scale so long that it no longer counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from core.arrays import Floats
from core.classical.neighbours import Vectors
from core.errors import UserError

Numbers = NDArray[Any]
_FIRST_TEXT, _FIRST_NUMBER, _FIRST_SIGNAL, _FIRST_NOISE = 0.15, 0.01, 2.0, 0.03
_BOUNDS = (-9.0, 4.0)
_SHRINKAGE = 0.1
"""Pull of the logarithms of all settings towards those they start from."""
_STEPS = 50
_JITTER = 1e-10
_LIFTS = (1e-8, 1e-6, 1e-4)
_IMPOSSIBLE = 1e9
_CHUNK = 1_024
_PAIR_ROWS = 64
"""Rows whose pairs are computed together: what belongs to them stays in the processor's cache."""


@dataclass(frozen=True)
class KernelRows:
    """Rows as the kernel compares them. blocks: (n, d_b) each, rows of length 1 (or 0). numbers: (n, f), scaled."""

    blocks: Sequence[Vectors]
    numbers: Floats

    def take(self, rows: NDArray[np.int64] | slice) -> KernelRows:
        return KernelRows([block[rows] for block in self.blocks], self.numbers[rows])

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class KernelShape:
    """The kernel's settings: u (b,), v (f,), s and the noise's variance, prices being standardised."""

    text: Floats
    numbers: Floats
    signal: float
    noise: float

    def kernel(self, unlike: Sequence[Floats], left: Floats, right: Floats) -> Floats:
        """(n, m) of rows with these 1 - cos_b (n, m) and numbers (n, f), (m, f)."""
        left, right = left * np.sqrt(self.numbers), right * np.sqrt(self.numbers)
        squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None] - 2.0 * left @ right.T
        apart = sum((weight * part for weight, part in zip(self.text, unlike, strict=True)), np.zeros(squares.shape))
        return self.signal * _value_and_slope(apart, np.maximum(squares, 0.0))[0]


@dataclass(frozen=True)
class KernelModel:
    """references: (m) rows. shapes and coefficients (m,): one of each per sample of rows that a shape was found on.

    log price = mean + scale * the average of kernel(row, references) @ coefficients.
    """

    references: KernelRows
    shapes: list[KernelShape]
    coefficients: list[Floats]
    mean: float
    scale: float

    def predict(self, rows: KernelRows) -> Floats:
        """(n,) log prices."""
        out = np.empty(len(rows))
        for part in _chunks(len(rows)):
            some = rows.take(part)
            unlike = _unlike(some, self.references)
            answers = [
                shape.kernel(unlike, some.numbers, self.references.numbers) @ weights
                for shape, weights in zip(self.shapes, self.coefficients, strict=True)
            ]
            out[part] = self.mean + self.scale * np.mean(answers, axis=0)
        return out


@dataclass(frozen=True)
class KernelSettings:
    """samples: how many shapes are averaged. sample_rows: rows each is found on. rows: most reference rows."""

    samples: int
    sample_rows: int
    rows: int


def fit_kernel(
    rows: KernelRows,
    log_prices: Floats,
    groups: NDArray[np.int64],
    settings: KernelSettings,
    seed: int,
    tick: Callable[[], None] = lambda: None,
    threads: int = 1,
) -> KernelModel:
    """A model of these rows' log prices (n,). groups: (n,) product numbers. `tick` is called often, by any of `threads`
    threads, and may raise.

    Shapes are found on rows of different products: copies of one would say that prices hardly vary. Where a sample holds a row of
    every product, one shape says it all. With more rows than `settings.rows`, so many of them, drawn by seed, are the references
    of a subset-of-regressors approximation (section 8.3.1).
    """
    rng = np.random.default_rng(seed)
    mean, scale = float(log_prices.mean()), max(float(log_prices.std()), 1e-6)
    target = (log_prices - mean) / scale
    samples: list[NDArray[np.int64]] = []
    for _ in range(settings.samples if len(np.unique(groups)) > settings.sample_rows else 1):
        order = rng.permutation(len(rows))
        apart = order[np.sort(np.unique(groups[order], return_index=True)[1])]
        samples.append(np.sort(apart[: settings.sample_rows]))
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        shapes = list(pool.map(lambda sample: _find_shape(rows.take(sample), target[sample], tick), samples))
    if len(rows) <= settings.rows:
        unlike = _unlike(rows, rows)
        coefficients = [_exact(shape, unlike, rows.numbers, target, tick) for shape in shapes]
        return KernelModel(rows, shapes, coefficients, mean, scale)
    chosen = rows.take(np.sort(rng.choice(len(rows), settings.rows, replace=False)))
    return KernelModel(chosen, shapes, _reduced(shapes, rows, chosen, target, tick), mean, scale)


def _exact(
    shape: KernelShape, unlike: list[Floats], numbers: Floats, target: Floats, tick: Callable[[], None]
) -> Floats:
    tick()
    kernel = shape.kernel(unlike, numbers, numbers)
    kernel[np.diag_indices(len(target))] += shape.noise
    factor = cho_factor(kernel, overwrite_a=True, check_finite=False)
    return np.asarray(cho_solve(factor, target, check_finite=False), dtype=np.float64)


def _reduced(
    shapes: list[KernelShape], rows: KernelRows, chosen: KernelRows, target: Floats, tick: Callable[[], None]
) -> list[Floats]:
    count = len(chosen)
    normals = [np.zeros((count, count)) for _ in shapes]
    sides = [np.zeros(count) for _ in shapes]
    for part in _chunks(len(rows)):
        tick()
        some = rows.take(part)
        unlike = _unlike(some, chosen)
        for shape, normal, side in zip(shapes, normals, sides, strict=True):
            kernel = shape.kernel(unlike, some.numbers, chosen.numbers)
            normal += kernel.T @ kernel
            side += kernel.T @ target[part]
    unlike = _unlike(chosen, chosen)
    return [
        _regressors(shape, shape.kernel(unlike, chosen.numbers, chosen.numbers), normal, side)
        for shape, normal, side in zip(shapes, normals, sides, strict=True)
    ]


def _regressors(shape: KernelShape, own: Floats, normal: Floats, side: Floats) -> Floats:
    """Solves (normal + noise own) c = side through own = L L', which keeps what is nearly singular at bay.

    own is lifted by as little as rounding needs: references that are nearly copies make it nearly singular.
    """
    for lift in _LIFTS:
        try:
            return _through_factor(own + lift * shape.signal * np.eye(len(own)), normal, side, shape.noise)
        except np.linalg.LinAlgError:
            continue
    raise UserError(
        f"the {len(own)} reference rows of a Gaussian process cannot be told apart",
        code="gaussian-process-identical-rows",
        hint="set lexical.model=blend",
    )


def _through_factor(own: Floats, normal: Floats, side: Floats, noise: float) -> Floats:
    lower = np.linalg.cholesky(own)
    half = solve_triangular(lower, normal, lower=True)
    inner = solve_triangular(lower, half.T, lower=True) / noise
    inner[np.diag_indices(len(own))] += 1.0
    solved = cho_solve(cho_factor(inner), solve_triangular(lower, side, lower=True) / noise)
    return np.asarray(solve_triangular(lower, solved, lower=True, trans="T"), dtype=np.float64)


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows `start` to `stop` with all rows before `stop`: m of them, row by row.

    unlike: (b, m) of 1 - cos. squares: (f, m) of (x_j - x'_j)^2. share: (m,) of each pair in sums over all pairs of a symmetric
    matrix, halved: 1 below the diagonal, 1/2 on it, 0 above.
    """

    start: int
    stop: int
    unlike: NDArray[np.float32]
    squares: NDArray[np.float32]
    share: NDArray[np.float32]


def _pairs(rows: KernelRows) -> Iterator[Pairs]:
    """All pairs of rows, with little more than half of them twice."""
    unlike = [part.astype(np.float32) for part in _unlike(rows, rows)]
    numbers = rows.numbers.astype(np.float32)
    for start in range(0, len(rows), _PAIR_ROWS):
        stop = min(start + _PAIR_ROWS, len(rows))
        count = (stop - start) * stop
        part = np.array([each[start:stop, :stop].ravel() for each in unlike], np.float32).reshape(len(unlike), count)
        squares = np.square(numbers[start:stop, None] - numbers[None, :stop]).reshape(count, -1).T
        share = np.tril(np.ones((stop - start, stop), np.float32), start)
        share[np.arange(stop - start), np.arange(start, stop)] = 0.5
        yield Pairs(start, stop, part, np.ascontiguousarray(squares), share.ravel())


def _find_shape(rows: KernelRows, target: Floats, tick: Callable[[], None]) -> KernelShape:
    """The shape of highest marginal likelihood (equation 5.8), by L-BFGS in the logarithms of its settings."""
    blocks, fields = len(rows.blocks), rows.numbers.shape[1]
    first = [*[_FIRST_TEXT] * blocks, *[_FIRST_NUMBER] * fields, _FIRST_SIGNAL, _FIRST_NOISE]
    start, pairs = np.log(np.array(first, dtype=np.float64)), list(_pairs(rows))

    def loss(logs: Floats) -> tuple[float, Floats]:
        tick()
        value, gradient = _loss(logs, blocks, pairs, target)
        return value + 0.5 * _SHRINKAGE * float(np.square(logs - start).sum()), gradient + _SHRINKAGE * (logs - start)

    options = {"maxiter": _STEPS, "maxcor": 20}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[_BOUNDS] * len(start), options=options)
    settings = np.exp(found.x)
    return KernelShape(settings[:blocks], settings[blocks:-2], float(settings[-2]), float(settings[-1]))


def _loss(logs: Floats, blocks: int, pairs: Sequence[Pairs], target: Floats) -> tuple[float, Floats]:
    """Negative log marginal likelihood of targets (n,) and its gradient by the logarithms of the settings.

    logs: of `blocks` text blocks' weights, the number fields' weights, the signal and the noise.
    """
    count, settings = len(target), np.exp(logs)
    text, numbers = settings[:blocks].astype(np.float32), settings[blocks:-2].astype(np.float32)
    signal, noise = settings[-2:]
    kernel = np.zeros((count, count))
    parts = [_value_and_slope(text @ each.unlike, numbers @ each.squares) for each in pairs]
    for each, (value, _) in zip(pairs, parts, strict=True):
        kernel[each.start : each.stop, : each.stop] = (signal * value.astype(np.float64)).reshape(-1, each.stop)
    kernel[np.diag_indices(count)] += noise
    try:
        factor = cho_factor(kernel.T, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:  # noise below what single precision resolves: no place to go
        return _IMPOSSIBLE, np.zeros_like(logs)
    dual = cho_solve(factor, target, check_finite=False)
    value_of = 0.5 * float(target @ dual) + float(np.log(np.diag(factor[0])).sum())
    inverse = dpotri(factor[0], overwrite_c=1)[0].T
    slopes = np.zeros_like(logs)
    for each, (value, by_square) in zip(pairs, parts, strict=True):
        own = slice(each.start, each.stop)
        pull = (inverse[own, : each.stop] - np.outer(dual[own], dual[: each.stop])).ravel().astype(
            np.float32
        ) * each.share
        slopes[:blocks] -= each.unlike @ (pull * value)
        slopes[blocks:-2] += each.squares @ (pull * by_square)
        slopes[-2] += pull @ value
    slopes[:-2] *= signal
    slopes[-1] = 0.5 * (np.diag(inverse).sum() - dual @ dual)
    return value_of, slopes * settings


def _value_and_slope(apart: Numbers, square: Numbers) -> tuple[Numbers, Numbers]:
    """The kernel but for its signal, at sum u (1 - cos) and d^2, and its derivative by d^2. Keeps the arrays' precision."""
    root = np.sqrt(square + square.dtype.type(_JITTER))
    smooth = root * square.dtype.type(3.0**0.5)
    rough_part, smooth_part = np.exp(-apart - root), np.exp(-apart - smooth)
    value = 0.5 * (rough_part + (1 + smooth) * smooth_part)
    return value, -0.25 * rough_part / root - 0.75 * smooth_part


def _unlike(left: KernelRows, right: KernelRows) -> list[Floats]:
    """1 - cos of every pair, (n, m) by block; at least 0, whatever rounding says."""
    found = []
    for one, other in zip(left.blocks, right.blocks, strict=True):
        product = one.astype(np.float64) @ other.T.astype(np.float64)
        likeness = product if isinstance(product, np.ndarray) else product.toarray()
        found.append(np.maximum(1.0 - likeness, 0.0))
    return found


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
