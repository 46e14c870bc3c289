"""All numbers of a report: what `report.json` holds and what the page and its charts are drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.arrays import Floats
from core.metrics import METRICS, constant_floor, group_bootstrap, smape_terms
from core.quality.label_noise import Finding
from reports.figures.catalog_figures import data_figures
from reports.figures.data_quality import label_figures, too_good
from reports.figures.error_figures import error_figures
from reports.figures.member_figures import error_correlation, member_figures, stack_figures
from reports.figures.overview import verdict
from reports.figures.report_inputs import Material
from reports.figures.sample import read_tables
from reports.figures.sweep_figures import sweep_figures

FORMAT = 2


def make_content(material: Material, findings: Sequence[Finding]) -> dict[str, Any]:
    """Plain values only, no NaN, the same for the same workspace. Sections without material are None or empty.

    findings: prices that look wrong, the worst first.
    """
    train, test, folds = material.train, material.test, material.folds
    price, floor = constant_floor(train.known_prices)
    members = member_figures(material.members, train, folds, material.stack)
    order = [member["id"] for member in members]
    fields = read_tables(train, test)
    content: dict[str, Any] = {
        "format": FORMAT,
        "workspace": str(material.folder),
        "catalog": {"fingerprint": material.facts.catalog, "train": material.facts.train, "test": material.facts.test},
        "submission": material.submitted is not None,
        "floor": {"price": price, "smape": floor},
        "sweep": sweep_figures(material.studies, material.members, material.timings),
        "members": members,
        "correlation": error_correlation(material.members, order, train.known_prices) if order else [],
        "stack": stack_figures(material.stack, members),
        "errors": None,
        "data": data_figures(train, test, folds, material.facts, material.submitted, fields),
        "labels": label_figures(findings, train, material.labels is not None),
        "leaks": {"notes": None if material.leaks is None else list(material.leaks), "too_good": too_good(members)},
        "notes": list(material.notes),
    }
    content["honest"] = _honest(content, material)
    judged = _judged(material, members)
    if judged is not None:
        name, prices = judged
        by_id = {member.id: member for member in material.members}
        figures = error_figures(train, folds, prices, [by_id[name] for name in order], findings, fields)
        content["errors"] = {"judged": name, **figures}
    content["verdict"] = verdict(content, content["workspace"])
    return content


def _honest(content: dict[str, Any], material: Material) -> dict[str, Any] | None:
    """The best figure that has not seen what it is judged on, with the range that 95% of bootstraps over product groups give:
    the stack's nested one, else the best member's.
    """
    if content["stack"]:
        return {"kind": "stack", "name": content["stack"]["choice"]["name"], **content["stack"]["nested"]}
    if not content["members"]:
        return None
    best = content["members"][0]
    oof = next(member.oof for member in material.members if member.id == best["id"])
    known = np.isfinite(oof)
    terms = smape_terms(material.train.known_prices[known], oof[known])
    figures = {name: best[name] for name in (*METRICS, "standard_error")}
    interval = group_bootstrap(terms, material.folds.groups[known], seed=0)
    known_range = list(interval) if math.isfinite(interval[0]) else None  # rows of one product tell nothing of others
    return {"kind": "member", "name": best["label"], **figures, "interval": known_range}


def _judged(material: Material, members: list[dict[str, Any]]) -> tuple[str, Floats] | None:
    """Whose prices the single rows are judged by, and those prices (n,)."""
    if material.stack_oof is not None:
        return "the stack, nested", material.stack_oof
    if not members:
        return None
    by_id = {member.id: member.oof for member in material.members}
    return f"the best member, {members[0]['label']}", by_id[members[0]["id"]]
