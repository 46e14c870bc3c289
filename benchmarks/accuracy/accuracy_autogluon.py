"""AutoGluon run for `accuracy.py`, in a Python environment of its own (AutoGluon needs pandas below 2.4).

    python accuracy_autogluon.py TRAIN.csv TEST.csv OUT.csv --seconds 300 --seed 0 [--numbers | --columns]

`best_quality` on the text and its labelled parts as columns (AutoGluon makes n-grams of them), log prices as target, mean
absolute error as metric: SMAPE is close to the absolute error of logs. No dynamic stacking, CatBoost or forests: with them it
overruns its time twofold on n-grams. `--numbers` takes measures apart for it, too: a number column for each of the
most frequent words before a number (`width 80 cm`) and for each unit behind one (`74 cm`). `--columns` reads a shop's
tables (`columns.py`) as their owner would: each labelled line is a column, and one whose values are a number each, with or
without one unit, is a number. CatBoost, made for categories, takes part there.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor

_LABEL = re.compile(
    r"^\s*(Item Name|Bullet Points?(?: \d+)?|Product Description|Value|Unit):\s*", re.MULTILINE | re.IGNORECASE
)

_NUMBER = re.compile(r"(?:(?P<word>[^\W\d_]{3,}):? +)?(?P<number>\d+(?:\.\d+)?) ?(?P<unit>[^\W\d_]{1,6}\b|%)?")

_MEASURE = r"^\s*(-?\d[\d,]*(?:\.\d+)?)\s*([^\W\d_]\S{0,9}|%)?\s*$"


def columns(texts: pd.Series) -> pd.DataFrame:
    """The whole text, and each labelled part as a column; Value as a number."""
    rows = []
    for text in texts:
        marks = list(_LABEL.finditer(text))
        row = {"text": text}
        for mark, after in zip(marks, [*(m.start() for m in marks[1:]), len(text)], strict=True):
            name = mark[1].lower()
            row[name] = f"{row.get(name, '')} {text[mark.end() : after].strip()}".strip()
        rows.append(row)
    table = pd.DataFrame(rows)
    if "value" in table:
        table["value"] = pd.to_numeric(table["value"], errors="coerce")
    return table


def numbers(texts: pd.Series) -> pd.DataFrame:
    """The first number behind each of the 40 most frequent words, and before each of the 20 most frequent units."""
    found = [list(_NUMBER.finditer(text.lower())) for text in texts]
    words = Counter(match["word"] for row in found for match in row if match["word"])
    units = Counter(match["unit"] for row in found for match in row if match["unit"])
    kept = {"word": {word for word, _ in words.most_common(40)}, "unit": {unit for unit, _ in units.most_common(20)}}
    rows = []
    for row in found:
        values: dict[str, float] = {}
        for match in row:
            for kind, names in kept.items():
                if match[kind] in names:
                    values.setdefault(f"{kind} {match[kind]}", float(match["number"]))
        rows.append(values)
    return pd.DataFrame(rows)


def shop_columns(table: pd.DataFrame) -> pd.DataFrame:
    """A shop's columns, numbers read where nearly all values are one with the same unit or none."""
    found = table.drop(columns=["sku", "photo", "final_price"], errors="ignore")
    for name in found.columns.difference(["title", "description"]):
        given = found[name].dropna().astype(str)
        parts = given.str.extract(_MEASURE)
        if len(given) and parts[0].notna().mean() >= 0.95 and parts[1].dropna().nunique() <= 1:
            found[name] = parts[0].str.replace(",", "").astype(float).reindex(found.index)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("out")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--numbers", action="store_true")
    parser.add_argument("--columns", action="store_true")
    arguments = parser.parse_args()
    names = ("sku", "final_price") if arguments.columns else ("sample_id", "price")
    train, test = (pd.read_csv(path, dtype={names[0]: str}) for path in (arguments.train, arguments.test))
    rows = pd.concat([train, test], ignore_index=True)
    both = shop_columns(rows) if arguments.columns else columns(rows["catalog_content"])
    if arguments.numbers:
        both = both.join(numbers(rows["catalog_content"]))
    table = both.iloc[: len(train)].assign(target=np.log(train[names[1]]).to_numpy())
    with TemporaryDirectory() as folder:
        predictor = TabularPredictor(
            "target", "regression", "mean_absolute_error", path=folder, learner_kwargs={"random_state": arguments.seed}
        )
        predictor.fit(
            table,
            time_limit=arguments.seconds,
            presets="best_quality",
            dynamic_stacking=False,
            excluded_model_types=["RF", "XT"] if arguments.columns else ["CAT", "RF", "XT"],
        )
        answer = np.exp(predictor.predict(both.iloc[len(train) :]).to_numpy())
    pd.DataFrame({"sample_id": test[names[0]], "price": answer}).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
