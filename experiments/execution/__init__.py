"""Execution of jobs in Ray workers on one machine or a cluster."""
