"""AutoGluon's side of `accuracy.py`, run by a Python of its own (AutoGluon wants pandas below 2.4).

    python accuracy_autogluon.py TRAIN.csv TEST.csv OUT.csv --seconds 300 --seed 0

`best_quality` on the text and its labelled parts as columns (AutoGluon makes n-grams of them), log prices as target, mean
absolute error as metric: SMAPE is close to the absolute error of logs. No dynamic stacking, CatBoost or forests: with them it
overruns its time twofold on n-grams.
"""

from __future__ import annotations

import argparse
import re
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor

_LABEL = re.compile(
    r"^\s*(Item Name|Bullet Points?(?: \d+)?|Product Description|Value|Unit):\s*", re.MULTILINE | re.IGNORECASE
)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("out")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train, test = (pd.read_csv(path, dtype={"sample_id": str}) for path in (arguments.train, arguments.test))
    both = columns(pd.concat([train["catalog_content"], test["catalog_content"]], ignore_index=True))
    table = both.iloc[: len(train)].assign(target=np.log(train["price"]).to_numpy())
    with TemporaryDirectory() as folder:
        predictor = TabularPredictor(
            "target", "regression", "mean_absolute_error", path=folder, learner_kwargs={"random_state": arguments.seed}
        )
        predictor.fit(
            table,
            time_limit=arguments.seconds,
            presets="best_quality",
            dynamic_stacking=False,
            excluded_model_types=["CAT", "RF", "XT"],
        )
        answer = np.exp(predictor.predict(both.iloc[len(train) :]).to_numpy())
    pd.DataFrame({"sample_id": test["sample_id"], "price": answer}).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
