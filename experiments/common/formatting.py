"""How settings, metrics and times are written for people, without anything that takes time to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def describe(searched: Mapping[str, Any] | None) -> str:
    """`learning_rate=2e-05 dropout=0.4`, for people."""
    return " ".join(f"{key}={value}" for key, value in (searched or {}).items())


def metrics_text(metrics: Mapping[str, float]) -> str:
    return f"SMAPE {metrics['smape']:.2f}  MAE {metrics['mae']:.2f}  RMSE {metrics['rmse']:.2f}  R2 {metrics['r2']:.3f}"


def duration(seconds: float) -> str:
    """`95 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plain_table(*columns: str, left: int) -> Table:
    """A table whose first `left` columns, and the one of configs, are words and whose others are numbers."""
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < left or column == "best config" else "right")
    return table
