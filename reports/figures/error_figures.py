"""Error figures of the nested-CV prices: by price, length, unit, brand, image; calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from core.arrays import Floats
from core.classical.target_encoding import DIMENSIONS, log_amounts
from core.data.catalog import Catalog, Strings
from core.data.folds import Folds
from core.data.vocabulary import read_vocabulary
from core.inputs.images.files import list_images
from core.metrics import smape_terms
from core.quality.label_noise import SuspectLabel, word_matrix
from core.store.oof_store import Member
from reports.figures.report_inputs import FieldTables
from reports.figures.row_figures import (
    LENGTH_BANDS,
    PRICE_BANDS,
    by_band,
    by_value,
    calibration,
    density,
    drift,
    text_lengths,
)
from reports.figures.top_residuals import CauseFinder, images_of, top_residuals


def error_figures(
    train: Catalog,
    folds: Folds,
    predicted: Floats,
    members: Sequence[Member],
    findings: Sequence[SuspectLabel],
    fields: FieldTables,
) -> dict[str, Any]:
    """Of prices (n,), over the rows that have one: density, bands, calibration, drift, and the rows that cost most."""
    known = np.flatnonzero(np.isfinite(predicted))
    prices, estimates, groups = train.known_prices[known], predicted[known], folds.groups[known]
    images = _image_groups(train)[known]
    sampled = fields.train_rows[np.isfinite(predicted[fields.train_rows])]
    some = train.known_prices[sampled], predicted[sampled], folds.groups[sampled]
    table = fields.train[np.isfinite(predicted[fields.train_rows])]
    worst = top_residuals(train, predicted, folds, members, _cause_finder(train, members, findings))
    return {
        "density": density(prices, estimates),
        "by_price": by_band(prices, prices, estimates, groups, PRICE_BANDS),
        "by_length": by_band(text_lengths(train.texts[known]), prices, estimates, groups, LENGTH_BANDS),
        "by_unit": by_value(units_of(table), *some),
        "by_brand": by_value(table["brand"].tolist(), *some),
        "by_picture": by_value(images.tolist(), prices, estimates, groups),
        "sampled": len(sampled) if len(sampled) < len(known) else None,
        "calibration": calibration(prices, estimates),
        "drift": drift([str(name) for name in train.ids[known]], prices, estimates, groups),
        "worst": worst,
        "worst_share": sum(row["smape"] for row in worst) / max(1e-9, float(smape_terms(prices, estimates).sum())),
    }


def _image_groups(train: Catalog) -> Strings:
    """(n,) name of each row's group: has it an image file, where a folder was given, else a link."""
    names = train.image_paths
    if train.images is None or not train.images.is_dir():
        return np.where(names == "", "no image named", "names an image").astype(object)
    there = list(list_images(train.images, frozenset(names)))
    return np.where(np.isin(names, there), "has an image", "has no image").astype(object)


def top_residual_images(errors: dict[str, Any] | None, train: Catalog) -> dict[str, str]:
    """Data URIs of the images of the worst rows, by file name: for the page alone."""
    names = [row["picture"] for row in errors["worst"]] if errors else []
    there = train.images is not None and train.images.is_dir()  # it may have been moved since the sweep
    return images_of(names, train.images) if there else {}


def units_of(fields: pd.DataFrame) -> list[str]:
    """Of each row the unit that its `Unit:` line states, else the dimension of the amount that its name states, else nothing."""
    amounts = log_amounts(fields)
    known = ~np.isnan(amounts)
    dimensions = np.where(known.any(axis=1), np.array(list(DIMENSIONS), dtype=object)[known.argmax(axis=1)], "")
    return [unit or dimension for unit, dimension in zip(fields["unit"], dimensions.tolist(), strict=True)]


def _cause_finder(train: Catalog, members: Sequence[Member], findings: Sequence[SuspectLabel]) -> CauseFinder:
    matrix = word_matrix(read_vocabulary(list(train.texts)), len(train))
    oof = np.column_stack([member.oof for member in members]) if members else np.empty((len(train), 0))
    return CauseFinder(train, matrix, oof, findings)
