"""DataFrame to table: pandas, Polars or Arrow columns, or a NumPy array, as the strings that readers of files give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from core.data.row_source import cell_text
from core.data.table_reader import MAX_COLUMNS, Table
from core.errors import UserError


def frame_table(rows: Any, name: str = "X") -> Table:
    """The columns of a frame (or of an array (n, f), called x0, x1, ...) as strings. name: of the frame, in messages.

    Raises UserError for what is no table of rows, and for a name that two columns have.
    """
    columns = _array_columns(rows, name) if isinstance(rows, np.ndarray | list) else _frame_columns(rows, name)
    lengths = {len(cells) for cells in columns.values()}
    if not columns or lengths == {0} or len(columns) > MAX_COLUMNS:
        raise UserError(
            f"{name} has {max(lengths, default=0)} rows and {len(columns):,} columns",
            code="frame-empty",
            hint=f"give at least one row and one column, and at most {MAX_COLUMNS:,} columns",
        )
    return Table(Path(name), columns, list(range(1, lengths.pop() + 1)), counted="")


def _array_columns(rows: Any, name: str) -> dict[str, list[str]]:
    array = np.asarray(rows, dtype=object)
    if array.ndim != 2:
        raise UserError(
            f"{name} has {array.ndim} dimensions",
            code="frame-not-two-dimensional",
            hint="give one row per product: X (n, f)",
        )
    return {f"x{place}": [cell_text(value) for value in column] for place, column in enumerate(array.T)}


def _frame_columns(rows: Any, name: str) -> dict[str, list[str]]:
    import narwhals as nw

    try:
        frame = nw.from_native(rows, eager_only=True)
    except nw.exceptions.DuplicateError as error:
        raise UserError(
            f"{name} has a column twice: {str(error).splitlines()[-1].strip(' -')}",
            code="frame-doubled-column",
            hint="rename one of them",
        ) from None
    except TypeError:
        raise UserError(
            f"{name} is a {type(rows).__name__}",
            code="frame-unknown-kind",
            hint="give a DataFrame of pandas or Polars, an Arrow table, or a NumPy array (n, f)",
        ) from None
    names = [str(column) for column in frame.columns]
    if len(set(names)) < len(names):  # 1 and "1"
        raise UserError(f"{name} has a column twice as text", code="frame-doubled-text", hint="rename one of them")
    columns = zip(names, frame.iter_columns(), strict=True)
    return {column: [cell_text(value) for value in _values(series)] for column, series in columns}


def _values(series: Any) -> list[Any]:
    """Python values with None for each kind of missing one; columns of mixed types as they are."""
    import pyarrow as pa

    try:
        values: list[Any] = series.to_arrow().to_pylist()
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        values = [None if gone else value for value, gone in zip(series.to_list(), series.is_null(), strict=True)]
    return values
