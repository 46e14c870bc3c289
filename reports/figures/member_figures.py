"""Member and stack figures: scores, correlations, weights, leave-one-out costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.architectures import ARCHITECTURES
from core.arrays import Floats
from core.data.catalog import Catalog
from core.data.folds import Folds
from core.metrics import all_metrics, group_standard_error, smape, smape_terms
from core.store.oof_store import EXTERNAL, Member
from reports.figures.study_records import Record

_LABEL = 4
IMPORTED = "imported"
"""Architecture of members whose record names none."""


def member_figures(
    members: Sequence[Member], train: Catalog, folds: Folds, stack: Record | None
) -> list[dict[str, Any]]:
    """Each member's scores on the rows that it has a price for: complete ones first, then by SMAPE."""
    labels = short_labels([member.id for member in members])
    stacked = {each["name"]: each for each in stack["members"]} if stack else {}
    found = [
        {
            "id": member.id,
            "label": labels[member.id],
            "architecture": member.record.get("architecture", IMPORTED),
            **scores(train.known_prices, member.oof, folds.groups),
            "fold_smape": by_fold(train.known_prices, member.oof, folds),
            "seconds": member.record.get("seconds"),
            "external": member.record.get("folds") == EXTERNAL,
            "weight": stacked.get(member.id, {}).get("weight"),
            "without": stacked.get(member.id, {}).get("without"),
            "settings": member.record.get("settings", {}),
            "origin": member.record.get("origin", {}),
            "notes": list(member.record.get("notes", ())),
        }
        for member in members
    ]
    return sorted(found, key=lambda each: (each["rows"] < len(train), each["smape"], each["id"]))


def scores(prices: Floats, predicted: Floats, groups: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The four metrics and the SMAPE's standard error over the rows with a price. standard_error is None for one group."""
    known = np.isfinite(predicted)
    error = group_standard_error(smape_terms(prices[known], predicted[known]), groups[known])
    return {
        **all_metrics(prices[known], predicted[known]),
        "standard_error": error if math.isfinite(error) else None,
        "rows": int(known.sum()),
    }


def by_fold(prices: Floats, predicted: Floats, folds: Folds) -> list[float | None]:
    """The SMAPE in each fold over its rows with a price; None where there is none."""
    known = np.isfinite(predicted)
    inside = [known & (folds.assignment == fold) for fold in range(folds.k)]
    return [smape(prices[rows], predicted[rows]) if rows.any() else None for rows in inside]


def short_labels(ids: Sequence[str]) -> dict[str, str]:
    """`boosted-4408` for `boosted-4408777ea096`: as many characters of the hash, four at least, as make all labels unique.

    Members made outside have names instead of hashes, which stay whole.
    """
    longest = max((len(name) for name in ids), default=0)
    for length in range(_LABEL, max(longest, _LABEL) + 1):
        labels = {
            name: name[: name.rfind("-") + 1 + length] if name.partition("-")[0] in ARCHITECTURES else name
            for name in ids
        }
        if len(set(labels.values())) == len(ids):
            return labels
    raise ValueError(f"member ids are not different from each other: {sorted(ids)}")


def error_correlation(members: Sequence[Member], order: Sequence[str], prices: Floats) -> list[list[float | None]]:
    """(m, m) correlation of `ln predicted - ln true` in that order of members, each pair over the rows that both have prices of.

    None where it is undefined: fewer than three such rows, or errors that are all equal.
    """
    by_id = {member.id: member.oof for member in members}
    errors = np.log(np.stack([by_id[name] for name in order])) - np.log(prices)
    return [[_correlation(one, other) for other in errors] for one in errors]


def _correlation(one: Floats, other: Floats) -> float | None:
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < 3:
        return None
    left, right = (each[known] - each[known].mean() for each in (one, other))
    spreads = np.sqrt(np.square(left).sum()), np.sqrt(np.square(right).sum())
    # An error that is the same on every row has a spread of rounding size only, and correlates with nothing.
    if min(spreads) <= 1e-9 * math.sqrt(known.sum()):
        return None
    return float(np.clip(left @ right / (spreads[0] * spreads[1]), -1, 1))


def stack_figures(stack: Record | None, members: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Scores of the stack, and complete members it has not seen; None without a stack."""
    if stack is None:
        return None
    inside = {each["name"] for each in stack["members"]}
    known = inside | set(stack.get("left_out", ()))
    return {
        "choice": stack["choice"],
        "nested": stack["nested"],
        "in_sample": stack["in_sample"],
        "optimism": stack["optimism"],
        **({"test": stack["test"]} if "test" in stack else {}),
        "candidates": stack["candidates"],
        "members": len(inside),
        "left_out": list(stack.get("left_out", ())),
        "missing": sorted(member["id"] for member in members if member["id"] not in known),
        "notes": stack["notes"],
    }
