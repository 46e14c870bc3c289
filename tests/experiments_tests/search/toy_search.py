"""Toy space of nine points, made-up outcomes, and proposals, for tests of studies and of what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from experiments.common.jobs import JobOutcome
from experiments.search.study import Proposal, Study
from search_spaces import Space

SPACE = Space("toy", {"depth": (1, 2, 3), "rate": (0.1, 0.2, 0.4)}, {"depth": 2, "rate": 0.2})


def identify(searched: Mapping[str, Any]) -> str:
    return json.dumps(dict(sorted(searched.items())))


def outcome(smape: float, *, cut: bool = False) -> JobOutcome:
    return JobOutcome({"smape": smape, "mae": 1.0, "rmse": 1.0, "r2": 0.5}, best_epoch=2, seconds=1.5, cut=cut)


def ask(search: Study) -> Proposal:
    """The next proposal, which there must be."""
    proposal = search.ask()
    assert proposal is not None
    return proposal
