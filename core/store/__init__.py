"""Stores on disk: the workspace and the prediction store."""
