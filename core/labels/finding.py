"""What was found: rows whose price looks wrong, and why, as sentences and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from core.atomic_files import atomic_path
from core.data.catalog import ID, PRICE
from core.errors import UserError

FILE = "labels.csv"
_COLUMNS = (ID, "kind", PRICE, "expected_low", "expected_high", "reason", "other_rows")
CONFLICT, OUTLIER, CONSENSUS = "conflict", "outlier", "members"
KINDS = {
    CONFLICT: "conflict with the same product",
    OUTLIER: "far from similar rows",
    CONSENSUS: "far from all members",
}


@dataclass(frozen=True)
class Finding:
    """A training row whose price lies outside of what the other rows make of it, `low` to `high` (currency units).

    kind: `conflict` with rows of the same product, `outlier` among similar rows, or far from all `members`. others: ids of the
    rows behind the range.
    """

    sample_id: str
    kind: str
    price: float
    low: float
    high: float
    reason: str
    others: tuple[str, ...] = ()

    @property
    def times(self) -> float:
        """How many times too high (above 1) or too low the price is, by the nearer end of the range; at least 1."""
        return max(self.price / self.high, self.low / self.price, 1.0)

    @property
    def sentence(self) -> str:
        return f"{self.sample_id} costs {self.price:g}, expected {self.low:.4g} to {self.high:.4g}: {self.reason}"


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda each: (-each.times, each.sample_id, each.kind))


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    """A CSV with one line for each finding, the worst first; whole or not at all."""
    rows = [
        (
            each.sample_id,
            each.kind,
            each.price,
            digits(each.low),
            digits(each.high),
            each.reason,
            "; ".join(each.others),
        )
        for each in findings
    ]
    with atomic_path(path) as temporary:
        pd.DataFrame(rows, columns=list(_COLUMNS)).to_csv(temporary, index=False)


def digits(price: float) -> float:
    """Six digits that count: of a price, however low, none becomes 0."""
    return float(f"{price:.6g}")


def read_findings(path: Path) -> list[Finding]:
    """Reads back what `write_findings` wrote. Raises UserError for another table."""
    frame = pd.read_csv(path, dtype={ID: str, "other_rows": str}, keep_default_na=False)
    if missing := set(_COLUMNS) - set(frame.columns):
        raise UserError(
            f"{path} lacks the columns {', '.join(sorted(missing))}", cure="make it again: python -m core.labels"
        )
    rows = zip(*(frame[name] for name in _COLUMNS), strict=True)
    return [
        Finding(key, kind, float(price), float(low), float(high), reason, tuple(filter(None, others.split("; "))))
        for key, kind, price, low, high, reason, others in rows
    ]


def summary(findings: Sequence[Finding], path: Path, worst: int = 3) -> list[str]:
    """Lines for people: how many of which kind, and the worst few. Empty for no finding."""
    if not findings:
        return []
    counts = {kind: sum(each.kind == kind for each in findings) for kind in KINDS}
    parts = ", ".join(f"{count} {KINDS[kind]}" for kind, count in counts.items() if count)
    rows = len({each.sample_id for each in findings})
    lines = [f"labels: {rows:,} training rows have a price that looks wrong ({parts}); all are in {path}"]
    return lines + [f"  {each.sentence}" for each in findings[:worst]]
