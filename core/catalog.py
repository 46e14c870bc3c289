"""Old import path of `core.data.catalog`, which models in MLflow's registry name."""

from core.data.catalog import ID, LINK, PRICE, TEXT, Catalog

__all__ = ["ID", "LINK", "PRICE", "TEXT", "Catalog"]
