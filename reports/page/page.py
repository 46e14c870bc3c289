"""Content and charts to one HTML page. Whatever comes from the catalog is escaped: by the template engine in what is written, as
JSON in what is drawn. The page may run its own two scripts, told by their hashes, and nothing else.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core.arrays import Floats
from core.data.folds import HOLDOUT
from core.formatting import duration, figure_text, plain, range_text, setting, shown
from core.metrics import METRICS, constant_floor, group_bootstrap, smape_terms
from core.quality.label_noise import KINDS, SuspectLabel
from reports.charts import CONFIG, make_charts
from reports.charts.error_charts import band_labels
from reports.figures.catalog_figures import data_figures
from reports.figures.data_quality import FILE, label_figures, too_good
from reports.figures.error_figures import error_figures
from reports.figures.member_figures import error_correlation, member_figures, stack_figures
from reports.figures.overview import verdict
from reports.figures.report_inputs import Material, read_tables
from reports.figures.sweep_figures import sweep_figures

FORMAT = 2


def make_content(material: Material, findings: Sequence[SuspectLabel]) -> dict[str, Any]:
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


MOST_TRIALS = 1_000
"""Lines of the table of trials; a browser scrolls more of them badly."""
_TEMPLATES = Path(__file__).parent / "template"


def render(content: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The whole page. pictures: data URIs of the worst rows' pictures by file name."""
    charts = make_charts(content)
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    library = _library()
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
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
