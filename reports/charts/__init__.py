"""Registry of the report's charts, each drawn from the numbers in `report.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.charts.catalog_charts import data_charts
from reports.charts.chart_base import CONFIG, Chart
from reports.charts.error_charts import error_charts
from reports.charts.member_charts import member_charts
from reports.charts.sweep_charts import sweep_charts

__all__ = ["CONFIG", "Chart", "make_charts"]


def make_charts(content: Mapping[str, Any]) -> dict[str, Chart]:
    """By name, every chart that there is material for."""
    charts = [
        *(sweep_charts(content["sweep"]) if content["sweep"] else ()),
        *member_charts(content["members"], content["correlation"], content["stack"]),
        *(error_charts(content["errors"]) if content["errors"] else ()),
        *data_charts(content["data"]),
    ]
    return {each.name: each for each in charts}
