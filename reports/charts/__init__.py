"""Vega-Lite charts of the report, drawn from the figures in report.json."""
