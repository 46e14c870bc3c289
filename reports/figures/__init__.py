"""Figures of the report: pure functions from a workspace's records to plain values."""
