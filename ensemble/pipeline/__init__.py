"""Stacking pipeline: nested cross-validation, the final pipeline, post-processing, serialization, results."""
