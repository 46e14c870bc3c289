"""Old import path of `serving.bundle.predictor`, which models in MLflow's registry name."""

from serving.bundle.predictor import LEVELS, Predictor

__all__ = ["LEVELS", "Predictor"]
