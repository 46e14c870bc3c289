"""Ensembling: out-of-fold predictions in, stack and submission out."""

import core as core  # limits spinning before libraries load
