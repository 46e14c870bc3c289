"""Ensembling: out-of-fold predictions in, stack and submission out."""
