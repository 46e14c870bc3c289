"""Adversarial validation: a classifier of test rows against training rows, its AUC and its features."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from core.arrays import Floats
from core.data.catalog import Catalog
from core.data.folds import catalog_links
from core.data.near_duplicates import product_groups
from core.data.vocabulary import read_vocabulary
from core.fields import NUMBERS
from core.hardware import usable_cores

SOME, STRONG = 0.6, 0.75
"""AUC from which the files differ somewhat, and clearly; 0.5 is chance."""
SAME = 0.7
"""Similarity of texts from which rows are kept together; the product that they share may be a variant."""
MIN_VALIDATION_ROWS = 40
"""In each file: fewer give no usable AUC."""
WORDS, VALUES, SHOWN = 300, 40, 12
"""The most frequent words, and values of each word field, that the model is shown; columns that the report names."""
_FOLDS = 5
_CATEGORIES = ("brand", "kind", "head", "unit")
_TREES = {
    "objective": "binary",
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "learning_rate": 0.1,
    "feature_fraction": 0.5,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 0,
    "verbosity": -1,
}
_ROUNDS = 60


def adversarial_validation(
    train: Catalog, test: Catalog, fields: tuple[pd.DataFrame, pd.DataFrame]
) -> dict[str, Any] | None:
    """AUC of a classifier of test rows (1) against training rows (0), out of fold, with its standard deviation over folds, and
    the columns it used most. fields: of these very rows. None where there are too few.

    Rows of one product are kept in one fold: where each product stands on one side, a model that has seen a product's other rows
    knows its file without any difference between the files.
    """
    if min(len(train), len(test)) < MIN_VALIDATION_ROWS:
        return None
    products = product_groups(catalog_links(train, test), SAME)
    side = np.repeat([0, 1], [len(train), len(test)])
    frame = columns(train, test, pd.concat(fields, ignore_index=True))
    values = frame.to_numpy(np.float32)
    gains, scores = np.zeros(frame.shape[1]), []
    for learn, held in StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0).split(values, side, products):
        if len(np.unique(side[learn])) < 2 or len(np.unique(side[held])) < 2:
            continue  # one product is most of a file
        data = lgb.Dataset(values[learn], side[learn], params={"verbosity": -1})
        model = lgb.train({**_TREES, "num_threads": usable_cores()}, data, _ROUNDS)
        gains += model.feature_importance("gain")
        scores.append(roc_auc_score(side[held], np.asarray(model.predict(values[held]))))
    if len(scores) < 2:
        return None
    shares = gains / max(float(gains.sum()), 1e-12)
    best = np.argsort(-shares, kind="stable")[:SHOWN]
    return {
        "auc": float(np.mean(scores)),
        "deviation": float(np.std(scores, ddof=1)),
        "rows": [len(train), len(test)],
        "columns": [_column(frame, side, int(place), float(shares[place])) for place in best if shares[place] > 0],
    }


def _column(frame: pd.DataFrame, side: Floats, place: int, share: float) -> dict[str, Any]:
    """means: of the column in the training and in the test rows; a share of rows for words and values."""
    column = frame.iloc[:, place].to_numpy(np.float64)
    means = [
        float(np.nanmean(column[side == number])) if np.isfinite(column[side == number]).any() else None
        for number in (0, 1)
    ]
    return {"name": str(frame.columns[place]), "share": share, "means": means}


def columns(train: Catalog, test: Catalog, fields: pd.DataFrame) -> pd.DataFrame:
    """Features of both files' rows without prices: numbers, lengths, and flags of frequent values and words."""
    texts = [*train.texts, *test.texts]
    named = np.concatenate([train.image_names, test.image_names]) != ""
    found: dict[str, Floats] = {
        "characters": np.array([len(text) for text in texts], dtype=np.float64),
        "words": np.array([len(text.split()) for text in texts], dtype=np.float64),
        "names an image": named.astype(np.float64),
    }
    found |= {name: fields[name].to_numpy(np.float64) for name in NUMBERS if fields[name].notna().any()}
    for name in _CATEGORIES:
        for value in fields[name].replace("", np.nan).value_counts().index[:VALUES]:
            found[f"{name}: {value}"] = (fields[name] == value).to_numpy(np.float64)
    words = read_vocabulary(texts)
    frequent = np.argsort(-np.bincount(words.words, minlength=len(words.names)), kind="stable")[:WORDS]
    for word in frequent.tolist():
        flags = np.zeros(len(texts))
        flags[words.rows[words.words == word]] = 1.0
        found[f"word: {words.names[word]}"] = flags
    return pd.DataFrame(found)
