"""HTML page of a report: sections' figures to report.json, figures and charts to one file.

Text of the catalog is escaped: by the template engine in HTML, as JSON in charts. The content security policy lets the page run
its own two scripts, named by their hashes, and nothing else.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core.data.folds import HOLDOUT
from core.formatting import duration, figure_text, plain, range_text, setting, shown
from core.metrics import constant_floor
from core.quality.label_noise import KINDS, SuspectLabel
from reports.charts.chart_base import CONFIG
from reports.charts.error_charts import band_labels
from reports.figures.data_quality import FILE
from reports.figures.report_inputs import ReportInputs, read_tables
from reports.page.sections import OVERVIEW, SECTIONS, TEMPLATES, SectionInputs

FORMAT = 2


def make_content(inputs: ReportInputs, findings: Sequence[SuspectLabel]) -> dict[str, Any]:
    """Contents of report.json: plain values, no NaN, the same for the same workspace. Sections without inputs are None or empty.

    findings: suspect prices, the worst first.
    """
    price, floor = constant_floor(inputs.train.known_prices)
    content: dict[str, Any] = {
        "format": FORMAT,
        "workspace": str(inputs.folder),
        "catalog": {"fingerprint": inputs.facts.catalog, "train": inputs.facts.train, "test": inputs.facts.test},
        "submission": inputs.submitted is not None,
        "floor": {"price": price, "smape": floor},
    }
    given = SectionInputs(inputs, findings, read_tables(inputs.train, inputs.test))
    for section in SECTIONS:
        content.update(section.figures(given, content))
    content["notes"] = list(inputs.notes)
    content.update(OVERVIEW.figures(given, content))
    return content


MOST_TRIALS = 1_000
"""Lines of the table of trials; a browser scrolls more of them badly."""


def render(content: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The whole page. pictures: data URIs of the top residuals' images by file name."""
    sections = [each for each in (OVERVIEW, *SECTIONS) if each.needs is None or content[each.needs]]
    charts = {chart.name: chart for section in SECTIONS for chart in section.charts(content)}
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    library = _library()
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        price=plain,
        range=lambda ends: range_text(*ends),
        score=lambda value: "–" if value is None else f"{value:.2f}",
        count=lambda value: f"{value:,}",
        percent=lambda value: f"{100 * value:.0f}%",
        duration=partial(duration, digits=1),
        shown=shown,
        figure=figure_text,
        labelled=lambda bands: zip(bands, band_labels(bands), strict=True),
        setting=setting,
    )
    specs = {"config": CONFIG, "specs": {name: each.spec for name, each in charts.items()}}
    page = environment.get_template("page.html").render(
        **content,
        charts=charts,
        sections=[
            {"anchor": each.anchor, "title": each.title, "template": environment.from_string(each.template)}
            for each in sections
        ],
        specs=Markup(_as_data(specs)),
        library=Markup(library),
        script=Markup(script),
        script_hashes=Markup(f"{_hash(library)} {_hash(script)}"),
        pictures={name: Markup(uri) for name, uri in pictures.items()},
        trial_rows=_best_trials(content["sweep"]),
        causes=Counter(row["cause"] for row in content["errors"]["worst"]) if content["errors"] else {},
        suspicious=[each for each in content["data"]["strengths"] if each["suspicious"]],
        kind_words=KINDS,
        doubtful_file=FILE,
        holdout=HOLDOUT,
    )
    return page.encode("utf-8", "surrogatepass").decode("utf-8", "replace")  # names of files need not be UTF-8


@lru_cache(maxsize=1)
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, 0.9 MB, which reads no code out of specifications (`ast: true`)."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _as_data(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or opens another."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(script: str) -> str:
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def _best_trials(sweep: Mapping[str, Any] | None) -> list[Any]:
    trials: list[Any] = sweep["trials"] if sweep else []
    if len(trials) <= MOST_TRIALS:
        return trials
    return sorted(trials, key=lambda trial: (trial["smape"] is None, trial["smape"], trial["order"]))[:MOST_TRIALS]
