"""Our fields beside skrub's TableVectorizer in one LightGBM, and our dates beside dateparser's: SMAPE, accuracy and time.

python -m benchmarks.libraries.field_libraries DATA [--only rumah_id --only books_in]     (needs `pip install skrub dateparser`)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from benchmarks.accuracy.columns import FOLDS, rebuilt
from core.data.catalog import PRICE, TEXT
from core.fields.learnt_fields import learn_fields_of
from core.fields.units import date_in
from core.metrics import smape

DAY = datetime(2014, 7, 19)
FORMATS = (
    "2014-07-19", "2014/07/19", "20140719", "2014-07-19T10:30:00", "2014-07-19 10:30:00", "2014-07-19T10:30:00Z",
    "19.07.2014", "19.7.2014", "19/07/2014", "19-07-2014", "07/19/2014", "7/19/2014", "19 July 2014", "July 19, 2014",
    "19 Jul 2014", "Jul 19, 2014", "19-Jul-2014", "Saturday, 19 July 2014", "19. Juli 2014", "19 juillet 2014",
    "19 de julio de 2014", "19 luglio 2014", "19 de julho de 2014", "19 Juli 2014", "July 2014", "07/2014", "2014-07",
)  # fmt: skip
NO_DATES = (
    "12 kg",
    "1.299,00 €",
    "size 42",
    "May",
    "2 in 1",
    "A4",
    "5",
    "Model 2014",
    "12-24 months",
    "3/4 inch",
    "now",
    "mar",
)
"""Values of other columns; a reader that finds dates in them takes numbers and words for dates."""
SAME_MONTH = 0.01
"""Years: our dates are months, so that a day does not count."""


def main(
    data: Path,
    only: Annotated[list[str] | None, typer.Option(help="catalogs (rumah_id, books_in)")] = None,
    folds: Annotated[int, typer.Option(min=1, max=FOLDS, help="how many of five random folds are evaluated")] = 2,
) -> None:
    try:
        skrub, dateparser = import_module("skrub"), import_module("dateparser")
    except ImportError as error:
        raise SystemExit(
            f"{error.name} is missing: pip install skrub dateparser (in an environment of its own)"
        ) from None
    print(f"{'catalog':<12} {'features':<22} {'SMAPE':>6} {'columns':>8} {'seconds':>8}")
    for name in only or ["rumah_id", "books_in"]:
        frames = [
            pd.read_csv(data / name / f"{role}.csv", dtype=str, keep_default_na=False) for role in ("train", "test")
        ]
        compare(name, frames[0], rebuilt(frames)[0], folds, skrub)
    print(f"{'dates':<12} {'read right':>11} {'found in others':>16} {'us a value':>11}")
    dates("ours", date_in)
    dates("dateparser", lambda value: _year(dateparser.parse(value)))


def compare(name: str, native: pd.DataFrame, table: pd.DataFrame, folds: int, skrub: Any) -> None:
    """Prints the SMAPE of one booster on 64 text components of the native text, alone and with the columns' features."""
    import lightgbm  # behind Pricestack, which keeps its threads from spinning

    place = np.random.default_rng(0).permutation(len(table)) % FOLDS
    columns = table.drop(columns=["sku", "title", "description", "photo", "final_price"])
    texts, prices = native[TEXT].to_numpy(), native[PRICE].astype(float).to_numpy()
    # an empty cell is a missing one; skrub finds numbers and dates in the strings by itself
    given = columns.replace("", None)
    makers: dict[str, Callable[[Any, Any], tuple[pd.DataFrame, pd.DataFrame]]] = {
        "text alone": lambda _, __: (pd.DataFrame(index=range(0)), pd.DataFrame(index=range(0))),
        "text, skrub": lambda learn, held: _vectorized(given, learn, held, skrub),
        "text, our fields": lambda learn, held: _ours(columns, learn, held),
    }
    for what, make in makers.items():
        true, predicted, seconds, width = [], [], 0.0, 0
        for fold in range(folds):
            learn, held = np.flatnonzero(place != fold), np.flatnonzero(place == fold)
            parts = _components(texts, learn, held)
            started = time.perf_counter()
            made = make(learn, held)
            seconds += time.perf_counter() - started
            train, test = (
                pd.concat([text, part.reset_index(drop=True)], axis=1) if len(part.columns) else text
                for text, part in zip(parts, made, strict=True)
            )
            width = train.shape[1]
            train.columns = test.columns = [f"c{number}" for number in range(width)]
            booster = lightgbm.LGBMRegressor(
                objective="l1",
                n_estimators=400,
                learning_rate=0.05,
                num_leaves=31,
                min_child_samples=10,
                verbose=-1,
                n_jobs=2,
            ).fit(train, np.log(prices[learn]))
            true.append(prices[held])
            predicted.append(np.exp(booster.predict(test)))
        score = smape(np.concatenate(true), np.concatenate(predicted))
        print(f"{name:<12} {what:<22} {score:>6.2f} {width:>8} {seconds / folds:>8.1f}", flush=True)


def _components(texts: Any, learn: Any, held: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(min_df=2, max_features=20_000, sublinear_tf=True).fit(texts[learn])
    reduced = TruncatedSVD(64, random_state=0).fit(words.transform(texts[learn]))
    first, second = (pd.DataFrame(reduced.transform(words.transform(texts[rows]))) for rows in (learn, held))
    return first, second


def _vectorized(given: pd.DataFrame, learn: Any, held: Any, skrub: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    vectorizer = skrub.TableVectorizer()  # one-hot below 40 values, StringEncoder above, dates taken apart
    return vectorizer.fit_transform(given.iloc[learn]), vectorizer.transform(given.iloc[held])


def _ours(columns: pd.DataFrame, learn: Any, held: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Numbers, and categories as LightGBM's own; lists by their numbers of items alone."""
    rows = [{name: value for name, value in row.items() if value} for row in columns.to_dict("records")]
    fields = learn_fields_of([rows[row] for row in learn])
    frames = []
    for part in (learn, held):
        values = fields.read([rows[row] for row in part])
        frames.append((pd.DataFrame(values.numbers), pd.DataFrame(values.categories)))
    (first, words), (second, others) = frames
    for name in words:
        kind = pd.CategoricalDtype(sorted(set(words[name]) - {""}))
        first[name], second[name] = words[name].astype(kind), others[name].astype(kind)
    return first, second


def dates(name: str, read: Callable[[str], float | None]) -> None:
    _ = [read(value) for value in FORMATS[:3]]  # what a reader loads the first time is no part of a value's cost
    right = [_is_right(read(value)) for value in FORMATS]
    wrong = sum(read(value) is not None for value in NO_DATES)
    started, times = time.perf_counter(), 20
    for _ in range(times):
        for value in FORMATS:
            read(value)
    cost = (time.perf_counter() - started) / (times * len(FORMATS)) * 1e6
    print(
        f"{name:<12} {sum(right):>5} of {len(right):>2} {wrong:>10} of {len(NO_DATES)} {cost:>11.0f}   not: {_missed(right)}"
    )


def _missed(right: Sequence[bool]) -> str:
    return "; ".join(value for value, good in zip(FORMATS, right, strict=True) if not good) or "none"


def _is_right(year: float | None) -> bool:
    return year is not None and abs(year - (_year(DAY) or 0)) <= SAME_MONTH


def _year(moment: datetime | None) -> float | None:
    return None if moment is None else moment.year + (moment.month - 1) / 12


if __name__ == "__main__":
    typer.run(main)
