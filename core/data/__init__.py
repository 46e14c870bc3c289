"""Catalogs: reading and checking tables, folds, near-duplicates."""
