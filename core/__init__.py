"""Core: catalogs, folds, architectures, training of one model, the prediction store. Imports no sibling package."""
