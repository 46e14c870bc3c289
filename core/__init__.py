"""Core: catalogs, folds, architectures, training of one model, the prediction store. Imports no sibling package."""

import os

from core.hardware import limit_spinning, limit_threads

# Before NumPy, scikit-learn, LightGBM or torch is imported: they read it then.
limit_spinning(os.environ)
limit_threads(os.environ)
