"""PriceRegressor: scikit-learn estimator over the whole journey (sweep, stack, bundle), for frames of any columns."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from core.arrays import Floats
from core.atomic_files import atomic_path
from core.console import silenced
from core.data.catalog import Catalog
from core.data.column_mapping import ROW_NUMBERS, ColumnMapping, TableColumns
from core.data.column_selection import propose_texts
from core.data.frame_table import frame_table
from core.data.reading import rows_to_price
from core.data.table_reader import Table
from core.errors import UserError, some, suggestion

if TYPE_CHECKING:
    from serving.bundle.predictor import Prediction, Predictor

_NAMELESS = "product"
"""Text column of a frame that has none: the name of every product."""
_TEST_ROWS = 20
"""Training rows that a sweep prices beside its folds; the bundle is compared on them."""
_FILES = "frames"


class PriceRegressor(RegressorMixin, BaseEstimator):
    """Prices from the rows of a frame: `fit(X, y)`, `predict(X)`, `predict_interval(X)`.

    X: a DataFrame of pandas or Polars, an Arrow table, or an array (n, f), of any columns; y: n prices above 0. Fits as
    `pricestack.sweep`, `stack` and the export do, and prices as the service does.

    minutes: of the whole search; None with `trials` and `members` in `options`. architectures: "all", one or some. text:
    columns that name or describe a product, the name first (found by names and content). image: column of links or file
    names, to pictures in the folder `images`. ignore: columns to leave out. workspace: folder that keeps everything, in which
    a fit that was stopped goes on; without it a temporary one that ends with the estimator. fold_groups: "on" keeps rows of one
    product in one fold, as for new products; "off" as for known ones. random_state: seed. verbose: print what the commands
    print. options: further flags of `experiments.sweep`, with underscores.

    After fit: `workspace_` and `bundle_` (folders), `nested_smape_` (out of fold, 0 to 200), `members_` (names and weights),
    `n_features_in_`, `feature_names_in_`.
    """

    def __init__(
        self,
        *,
        minutes: float | None = 5.0,
        architectures: str | Sequence[str] = "all",
        text: str | Sequence[str] | None = None,
        image: str | None = None,
        images: str | Path | None = None,
        ignore: Sequence[str] = (),
        workspace: str | Path | None = None,
        fold_groups: str = "on",
        random_state: int = 0,
        verbose: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.minutes = minutes
        self.architectures = architectures
        self.text = text
        self.image = image
        self.images = images
        self.ignore = ignore
        self.workspace = workspace
        self.fold_groups = fold_groups
        self.random_state = random_state
        self.verbose = verbose
        self.options = options

    def fit(self, X: Any, y: Any) -> Self:
        """Searches, trains, stacks and exports.

        Raises UserError for what the caller can mend, KeyboardInterrupt where it was stopped. The next `fit` of the same rows in
        the same `workspace` goes on where a stopped one ended.
        """
        table = frame_table(X)
        prices = _checked_prices(y, len(table))
        names = np.array(list(table.columns), dtype=object)
        texts, nameless = self._texts(table)
        price = next(
            name for name in ("price", "y", *(f"y{n}" for n in range(len(table.columns)))) if name not in table.columns
        )
        mapping = ColumnMapping(ROW_NUMBERS, texts, self.image, price)
        home = self._home()
        files = _write(home, table, prices, mapping)
        self._run(home, files, mapping, "off" if nameless else self.fold_groups)
        self.n_features_in_, self.feature_names_in_ = len(names), names
        return self

    def predict(self, X: Any) -> Floats:
        """Prices (n,), finite and above 0."""
        return np.asarray(self._answer(X).prices)

    def predict_interval(self, X: Any) -> Floats:
        """(n, 2): ends of the interval that holds the price of 80% of products."""
        answer = self._answer(X)
        return np.column_stack([answer.low, answer.high])

    def _answer(self, X: Any) -> Prediction:
        check_is_fitted(self, "bundle_")
        predictor = _predictor(self.bundle_)
        return predictor.predict(self._catalog(X, predictor.facts.table_columns))

    def _catalog(self, X: Any, columns: TableColumns) -> Catalog:
        table = frame_table(X)
        if missing := [name for name in self.feature_names_in_ if name not in table.columns]:
            raise UserError(
                f"X has no column {some(missing)}", code="frame-lost-column", hint=suggestion(missing[0], table.columns)
            )
        table.columns.setdefault(_NAMELESS, [_NAMELESS] * len(table))
        return rows_to_price(table, columns, None if self.images is None else Path(self.images))[0]

    def _texts(self, table: Table) -> tuple[tuple[str, ...], bool]:
        """The text columns, and whether the frame has none, so that one is added."""
        asked = (self.text,) if isinstance(self.text, str) else tuple(self.text or ())
        for name in (*asked, *self.ignore, *([self.image] if self.image else [])):
            if name not in table.columns:
                raise UserError(
                    f"X has no column {name!r}", code="frame-unknown-column", hint=suggestion(name, table.columns)
                )
        if texts := asked or propose_texts(table):
            return texts, False
        table.columns.setdefault(_NAMELESS, [_NAMELESS] * len(table))
        return (_NAMELESS,), True

    def _home(self) -> Path:
        if self.workspace is not None:
            return Path(self.workspace)
        folder = Path(tempfile.mkdtemp(prefix="pricestack-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _run(self, home: Path, files: tuple[Path, Path], mapping: ColumnMapping, fold_groups: str) -> None:
        import pricestack
        from core.store.workspace import Workspace
        from serving.bundle.builder import export
        from serving.bundle.export_formats import NetworkFormatConfig

        options = {"fold_groups": fold_groups, "ignore": ",".join(self.ignore) or None, **(self.options or {})}
        with nullcontext() if self.verbose else silenced():
            finished = pricestack.sweep(
                self.architectures,
                train=files[0],
                test=files[1],
                images=None if self.images is None else Path(self.images),
                columns=mapping.flag,
                workspace=home,
                minutes=self.minutes,
                seed=self.random_state,
                quiet=not self.verbose,
                **options,
            )
            if not finished:
                raise KeyboardInterrupt
            result = pricestack.stack(home)
            network_format = NetworkFormatConfig().export_name
            bundle, _ = export(Workspace(home), home / "bundles", "prices", network_format, lambda done, of: None)
        self.workspace_, self.bundle_ = home, bundle.folder
        self.nested_smape_ = float(result.record["nested"]["smape"])
        self.members_ = {each["name"]: float(each["weight"]) for each in result.record["members"]}


@lru_cache(maxsize=4)
def _predictor(bundle: Path) -> Predictor:
    """The bundle's predictor, loaded once; not an attribute, so that an estimator stays small where it is pickled."""
    import pricestack

    return pricestack.load_bundle(bundle)


def _checked_prices(y: Any, rows: int) -> Floats:
    """The prices (n,). Raises UserError for other lengths, and for values that are no price, with their rows."""
    prices = np.asarray(y, dtype=np.float64).reshape(-1)
    if len(prices) != rows:
        raise UserError(
            f"X has {rows:,} rows, y {len(prices):,}", code="frame-other-length", hint="give one price per row"
        )
    bad = np.flatnonzero(~(np.isfinite(prices) & (prices > 0)))
    if len(bad):
        shown = some([f"row {row}: {prices[row]}" for row in bad], 10)
        raise UserError(
            f"y has {len(bad):,} values that are no price: {shown}", code="frame-bad-price", hint="leave those rows out"
        )
    return prices


def _write(home: Path, table: Table, prices: Floats, mapping: ColumnMapping) -> tuple[Path, Path]:
    """The rows as the files that a sweep reads."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = pa.table(table.columns)
    some_rows = np.unique(np.linspace(0, len(table) - 1, _TEST_ROWS).astype(np.int64))
    frames = {"train": rows.append_column(mapping.price, pa.array(prices)), "test": rows.take(pa.array(some_rows))}
    for role, frame in frames.items():
        with atomic_path(home / _FILES / f"{role}.parquet") as temporary:
            parquet.write_table(frame, temporary)
    return home / _FILES / "train.parquet", home / _FILES / "test.parquet"
