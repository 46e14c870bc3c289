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
from reports.figures.top_residuals import Guesser, images_of, worst_rows


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
    prices, guessed, groups = train.known_prices[known], predicted[known], folds.groups[known]
    pictures = _pictures(train)[known]
    sampled = fields.train_rows[np.isfinite(predicted[fields.train_rows])]
    some = train.known_prices[sampled], predicted[sampled], folds.groups[sampled]
    table = fields.train[np.isfinite(predicted[fields.train_rows])]
    worst = worst_rows(train, predicted, folds, members, _guesser(train, members, findings))
    return {
        "density": density(prices, guessed),
        "by_price": by_band(prices, prices, guessed, groups, PRICE_BANDS),
        "by_length": by_band(text_lengths(train.texts[known]), prices, guessed, groups, LENGTH_BANDS),
        "by_unit": by_value(units_of(table), *some),
        "by_brand": by_value(table["brand"].tolist(), *some),
        "by_picture": by_value(pictures.tolist(), prices, guessed, groups),
        "sampled": len(sampled) if len(sampled) < len(known) else None,
        "calibration": calibration(prices, guessed),
        "drift": drift([str(name) for name in train.ids[known]], prices, guessed, groups),
        "worst": worst,
        "worst_share": sum(row["smape"] for row in worst) / max(1e-9, float(smape_terms(prices, guessed).sum())),
    }


def _pictures(train: Catalog) -> Strings:
    """(n,) whether each row has a picture: the file where a folder was given, else a link."""
    names = train.image_names
    if train.images is None or not train.images.is_dir():
        return np.where(names == "", "no picture named", "names a picture").astype(object)
    there = list(list_images(train.images))
    return np.where(np.isin(names, there), "has a picture", "has no picture").astype(object)


def worst_pictures(errors: dict[str, Any] | None, train: Catalog) -> dict[str, str]:
    """Data URIs of the pictures of the worst rows, by file name: for the page alone."""
    names = [row["picture"] for row in errors["worst"]] if errors else []
    there = train.images is not None and train.images.is_dir()  # it may have been moved since the sweep
    return images_of(names, train.images) if there else {}


def units_of(fields: pd.DataFrame) -> list[str]:
    """Of each row the unit that its `Unit:` line states, else the dimension of the amount that its name states, else nothing."""
    amounts = log_amounts(fields)
    known = ~np.isnan(amounts)
    dimensions = np.where(known.any(axis=1), np.array(list(DIMENSIONS), dtype=object)[known.argmax(axis=1)], "")
    return [unit or dimension for unit, dimension in zip(fields["unit"], dimensions.tolist(), strict=True)]


def _guesser(train: Catalog, members: Sequence[Member], findings: Sequence[SuspectLabel]) -> Guesser:
    matrix = word_matrix(read_vocabulary(list(train.texts)), len(train))
    oof = np.column_stack([member.oof for member in members]) if members else np.empty((len(train), 0))
    return Guesser(train, matrix, oof, findings)
