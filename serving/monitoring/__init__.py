"""Monitoring of the service: metrics, drift, live accuracy, alerts."""
