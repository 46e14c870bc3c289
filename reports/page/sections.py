"""Registry of the report's sections: anchor, title, figures, charts and template of each, in the order of the page.

A section is a file with a `Section` in it and a line in SECTIONS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.arrays import Floats
from core.quality.label_noise import SuspectLabel
from reports.charts.catalog_charts import data_charts
from reports.charts.chart_base import Chart
from reports.charts.error_charts import error_charts
from reports.charts.member_charts import member_charts
from reports.charts.sweep_charts import sweep_charts
from reports.figures.catalog_figures import data_figures
from reports.figures.data_quality import label_figures, too_good
from reports.figures.error_figures import error_figures
from reports.figures.member_figures import error_correlation, member_figures, stack_figures
from reports.figures.overview import overview_figures
from reports.figures.report_inputs import FieldTables, ReportInputs
from reports.figures.sweep_figures import sweep_figures

Figures = Mapping[str, Any]
TEMPLATES = Path(__file__).parent / "template"


@dataclass(frozen=True)
class SectionInputs:
    """Inputs of a section's figures. findings: suspect prices, the worst first; fields: structured fields of the texts."""

    report: ReportInputs
    findings: Sequence[SuspectLabel]
    fields: FieldTables


@dataclass(frozen=True)
class Section:
    """Section of the page. anchor: id of its element, which `template` (Jinja) writes. figures: keys and plain values it adds to
    report.json, from the inputs and the figures of the sections before it. charts: drawn from report.json. shown: of report.json.
    """

    anchor: str
    title: str
    template: str
    figures: Callable[[SectionInputs, Figures], Figures] = lambda inputs, figures: {}
    charts: Callable[[Mapping[str, Any]], Iterable[Chart]] = lambda content: ()
    shown: Callable[[Mapping[str, Any]], bool] = lambda content: True


def _sweep(inputs: SectionInputs, figures: Figures) -> Figures:
    report = inputs.report
    return {"sweep": sweep_figures(report.studies, report.members, report.timings)}


def _members(inputs: SectionInputs, figures: Figures) -> Figures:
    report = inputs.report
    members = member_figures(report.members, report.train, report.folds, report.stack)
    order = [member["id"] for member in members]
    correlation = error_correlation(report.members, order, report.train.known_prices) if order else []
    return {"members": members, "correlation": correlation}


def _stack(inputs: SectionInputs, figures: Figures) -> Figures:
    return {"stack": stack_figures(inputs.report.stack, figures["members"])}


def _errors(inputs: SectionInputs, figures: Figures) -> Figures:
    evaluated = _evaluated(inputs.report, figures["members"])
    if evaluated is None:
        return {"errors": None}
    report, (name, prices) = inputs.report, evaluated
    by_id = {member.id: member for member in report.members}
    members = [by_id[member["id"]] for member in figures["members"]]
    errors = error_figures(report.train, report.folds, prices, members, inputs.findings, inputs.fields)
    return {"errors": {"judged": name, **errors}}


def _evaluated(report: ReportInputs, members: list[Figures]) -> tuple[str, Floats] | None:
    """Name and prices (n,) of the predictions whose rows are evaluated: the stack's nested ones, else the best member's."""
    if report.stack_oof is not None:
        return "the stack, nested", report.stack_oof
    if not members:
        return None
    by_id = {member.id: member.oof for member in report.members}
    return f"the best member, {members[0]['label']}", by_id[members[0]["id"]]


def _data(inputs: SectionInputs, figures: Figures) -> Figures:
    report = inputs.report
    return {
        "data": data_figures(report.train, report.test, report.folds, report.facts, report.submitted, inputs.fields)
    }


def _data_quality(inputs: SectionInputs, figures: Figures) -> Figures:
    report = inputs.report
    return {
        "labels": label_figures(inputs.findings, report.train, report.labels is not None),
        "leaks": {
            "notes": None if report.leaks is None else list(report.leaks),
            "too_good": too_good(figures["members"]),
        },
    }


def _template(name: str) -> str:
    return (TEMPLATES / f"{name}.html").read_text(encoding="utf-8")


def _sweep_charts(content: Figures) -> Iterable[Chart]:
    return sweep_charts(content["sweep"]) if content["sweep"] else ()


def _member_charts(content: Figures) -> Iterable[Chart]:
    return member_charts(content["members"], content["correlation"], content["stack"])


def _error_charts(content: Figures) -> Iterable[Chart]:
    return error_charts(content["errors"]) if content["errors"] else ()


def _data_charts(content: Figures) -> Iterable[Chart]:
    return data_charts(content["data"])


def _has_errors(content: Figures) -> bool:
    return bool(content["errors"])


def _has_stack(content: Figures) -> bool:
    return bool(content["stack"])


SECTIONS: tuple[Section, ...] = (
    Section("sweep", "Sweep", _template("sweep"), _sweep, _sweep_charts),
    Section("members", "Members", _template("members"), _members, _member_charts),
    Section("stack", "Stack", _template("stack"), _stack, shown=_has_stack),
    Section("errors", "Errors", _template("errors"), _errors, _error_charts, _has_errors),
    Section("worst", "Top residuals", _template("top_residuals"), shown=_has_errors),
    Section("data", "Data", _template("data"), _data, _data_charts),
    Section("doubts", "Data quality", _template("data_quality"), _data_quality),
)
"""Sections below the overview. A new one is a file and a line here."""

OVERVIEW = Section(
    "verdict", "Overview", _template("overview"), lambda inputs, figures: overview_figures(inputs.report, figures)
)
"""First on the page, computed last: it summarises the other sections."""
