"""All numbers of a report: what `report.json` holds and what the page and its pictures are drawn from."""

from __future__ import annotations

from typing import Any

from core.metrics import METRICS, constant_floor
from reports.data import data_figures
from reports.material import Floats, Material
from reports.models import error_correlation, member_figures, stack_figures, sweep_figures
from reports.rows import row_figures
from reports.verdict import verdict

FORMAT = 1


def make_content(material: Material) -> dict[str, Any]:
    """Plain values only, no NaN, the same for the same workspace. Sections without material are None or empty."""
    train, folds = material.train, material.folds
    price, floor = constant_floor(train.known_prices)
    members = member_figures(material.members, train, folds, material.stack)
    order = [member["id"] for member in members]
    content: dict[str, Any] = {
        "format": FORMAT,
        "workspace": str(material.folder),
        "catalog": {"fingerprint": material.facts.catalog, "train": material.facts.train, "test": material.facts.test},
        "submission": material.submission,
        "floor": {"price": price, "smape": floor},
        "sweep": sweep_figures(material.trials),
        "members": members,
        "correlation": error_correlation(material.members, order, train.known_prices) if order else [],
        "stack": stack_figures(material.stack, members),
        "data": data_figures(train, material.test, folds, material.facts),
        "notes": list(material.notes),
    }
    content["honest"] = _honest(content)
    judged = _judged(material, members)
    content["rows"] = None
    if judged is not None:
        name, prices = judged
        content["rows"] = {"judged": name, **row_figures(train, folds, prices, _ordered(material, order))}
    content["verdict"] = verdict(content, content["workspace"])
    return content


def _honest(content: dict[str, Any]) -> dict[str, Any] | None:
    """The best figure that has not seen what it is judged on: the stack's nested one, else the best member's."""
    if content["stack"]:
        return {"kind": "stack", "name": content["stack"]["choice"]["name"], **content["stack"]["nested"]}
    if not content["members"]:
        return None
    best = content["members"][0]
    figures = {name: best[name] for name in (*METRICS, "standard_error")}
    return {"kind": "member", "name": best["label"], **figures}


def _judged(material: Material, members: list[dict[str, Any]]) -> tuple[str, Floats] | None:
    """Whose prices the single rows are judged by, and those prices (n,)."""
    if material.stack_oof is not None:
        return "the stack, nested", material.stack_oof
    if not members:
        return None
    by_id = {member.id: member.oof for member in material.members}
    return f"the best member, {members[0]['label']}", by_id[members[0]["id"]]


def _ordered(material: Material, order: list[str]) -> list[Any]:
    by_id = {member.id: member for member in material.members}
    return [by_id[name] for name in order]
