"""Content and charts to one HTML page. Whatever comes from the catalog is escaped: by the template engine in what is written, as
JSON in what is drawn. The page may run its own two scripts, told by their hashes, and nothing else.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core.data.folds import HOLDOUT
from core.formatting import duration, figure_text, plain, range_text, setting, shown
from core.quality.label_noise import KINDS
from reports.charts import CONFIG, make_charts
from reports.charts.error_charts import band_labels
from reports.figures.data_quality import FILE

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
        duration=duration,
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
