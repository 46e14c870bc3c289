"""Tracking: terminal, JSON events, MLflow run log, dashboard notes, status and comparison."""
