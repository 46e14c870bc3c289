"""Data quality figures: duplicates, conflicting labels, label noise, members too good to be true."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.atomic_files import atomic_path
from core.data.catalog import ID, PRICE, TEXT, Catalog
from core.data.folds import Folds
from core.data.near_duplicates import normalised
from core.quality.label_noise import LabelNoise, SuspectLabel, digits, find_against_members, worst_first
from reports.figures.report_inputs import ReportInputs
from reports.figures.top_residuals import shortened

FILE = "doubtful_rows.csv"
MUCH = 5.0
"""Times too dear or too cheap from which one finding is enough to suggest a row's removal."""
TOO_GOOD = 0.7
"""Share of the median SMAPE of the other members of its kind below which a member is looked at."""
OTHERS = 2
ALL_KINDS = "all"
"""Kind of the members compared where a member's own kind has too few."""
SHOWN = 20
_LISTED = ("sample_id", "kind", "price", "low", "high", "reason")


def all_findings(inputs: ReportInputs) -> list[SuspectLabel]:
    """Label noise found before training, and by all members' out-of-fold prices."""
    labels = inputs.labels or ()
    if not inputs.members:
        return worst_first(labels)
    train, oof = inputs.train, np.column_stack([member.oof for member in inputs.members])
    others = [finding for finding in labels if finding.kind != LabelNoise.CONSENSUS]
    return worst_first([*others, *find_against_members(train.ids, train.known_prices, oof)])


def duplicates(train: Catalog, test: Catalog, folds: Folds) -> dict[str, Any]:
    """Rows whose text, but for case and white space, stands elsewhere too; and groups of nearly equal rows.

    train, test: rows that are not the first of their text. both: test rows whose text is in train. near: rows in groups of more
    than one product row beyond those. sizes: [rows in a group, groups of that size].
    """
    inside, outside = ([normalised(text) for text in catalog.texts] for catalog in (train, test))
    known, sizes = set(inside), np.unique(folds.groups, return_counts=True)[1]
    repeated = len(inside) - len(known)
    return {
        "train": repeated,
        "test": len(outside) - len(set(outside)),
        "both": sum(text in known for text in outside),
        "near": max(0, int((sizes - 1).sum()) - repeated),
        "sizes": [[int(size), int(count)] for size, count in zip(*np.unique(sizes, return_counts=True), strict=True)],
    }


def conflicts(findings: Sequence[SuspectLabel], train: Catalog) -> list[dict[str, Any]]:
    """The same product at prices more than twice apart, the widest first, each pair once, with the cheaper one's text."""
    places = {str(name): place for place, name in enumerate(train.ids)}
    pairs: dict[frozenset[str], dict[str, Any]] = {}
    for finding in findings:
        if finding.kind != LabelNoise.CONFLICT or finding.sample_id not in places:
            continue
        for other in finding.others:
            pair = frozenset((finding.sample_id, other))
            if other in places and len(pair) == 2 and pair not in pairs:
                rows = [places[name] for name in sorted(pair, key=lambda name: train.known_prices[places[name]])]
                prices = [float(train.known_prices[row]) for row in rows]
                pairs[pair] = {
                    "ids": [str(train.ids[row]) for row in rows],
                    "prices": prices,
                    "times": prices[1] / prices[0],
                    "text": shortened(train.texts[rows[0]]),
                }
    return sorted(pairs.values(), key=lambda pair: (-pair["times"], pair["ids"]))


def suggested_corrections(findings: Sequence[SuspectLabel]) -> dict[str, list[SuspectLabel]]:
    """Rows suggested for removal, or better for correction: named for two reasons, or far beyond what was expected."""
    by_row = defaultdict[str, list[SuspectLabel]](list)
    for finding in findings:
        by_row[finding.sample_id].append(finding)
    return {
        row: own
        for row, own in by_row.items()
        if len({finding.kind for finding in own}) > 1 or max(finding.times for finding in own) >= MUCH
    }


def write_suggested(path: Path, rows: dict[str, list[SuspectLabel]], train: Catalog) -> None:
    """A CSV of the suggested rows, the worst first, whole or not at all. Ids stand as they are in the catalog."""
    texts = dict(zip(map(str, train.ids), train.texts, strict=True))
    table = [
        (
            row,
            own[0].price,
            digits(own[0].low),
            digits(own[0].high),
            _inert("; ".join(finding.reason for finding in own)),
            _inert(shortened(texts.get(row, ""))),
        )
        for row, own in rows.items()
    ]
    with atomic_path(path) as temporary:
        columns = [ID, PRICE, "expected_low", "expected_high", "reasons", TEXT]
        pd.DataFrame(table, columns=columns).to_csv(temporary, index=False)


def _inert(text: str) -> str:
    """The text behind a quotation mark where a spreadsheet would take it for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def label_figures(findings: Sequence[SuspectLabel], train: Catalog, examined: bool) -> dict[str, Any]:
    """Counts by kind, the worst rows, conflicts, and how many rows are suggested for removal.

    examined: whether the catalog's own labels have been looked at.
    """
    pairs, suggested = conflicts(findings, train), suggested_corrections(findings)
    return {
        "examined": examined,
        "kinds": dict(sorted(Counter(finding.kind for finding in findings).items())),
        "rows": len({finding.sample_id for finding in findings}),
        "suggested": len(suggested),
        "worst": [
            {**{key: getattr(finding, key) for key in _LISTED}, "suggested": finding.sample_id in suggested}
            for finding in findings[:SHOWN]
        ],
        "conflicts": pairs[:SHOWN],
        "conflict_count": len(pairs),
    }


def too_good(members: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Members much better than the others of their kind, as one that has seen the prices would be; where a kind has too few,
    than all others. Only members with as many rows as any are compared.
    """
    found = []
    most = max((member["rows"] for member in members), default=0)
    members = [member for member in members if member["rows"] == most]
    for member in members:
        others = [each for each in members if each["id"] != member["id"]]
        kind = [each for each in others if each["architecture"] == member["architecture"]]
        compared = kind if len(kind) >= OTHERS else others
        if len(compared) < OTHERS:
            continue
        usual = float(np.median([each["smape"] for each in compared]))
        if member["smape"] < TOO_GOOD * usual:
            of = member["architecture"] if compared is kind else ALL_KINDS
            found.append({"id": member["id"], "smape": member["smape"], "usual": usual, "of": of})
    return found
