"""The levels at which models that know more than a point give their quantiles."""

from __future__ import annotations

LEVELS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of `Model.predict_quantiles`, increasing: the nine deciles."""
