"""End-to-end benchmark on real catalogs, from CSV to submission: the documented commands, scored on unseen test prices.

    python benchmarks/accuracy/real_catalogs.py ../shared/data --sets ikea whisky grocery --minutes 6

Per catalog: `experiments.sweep` and `ensemble.stack` as processes of their own in a new workspace; SMAPE on the test prices
with its standard error, beside the stack's nested figure and a peer fitted in the same run: word and character TF-IDF with a
ridge whose alpha is chosen by cross-validation. Where a catalog has no test prices, only the submission is verified.
"""

from __future__ import annotations

import core as core  # before torch and scikit-learn are loaded: it limits spinning

# isort: split
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import FeatureUnion

from core.metrics import group_standard_error, smape, smape_terms


def run(*arguments: object) -> float:
    """Seconds that the command took; its failure is ours."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def ridge(train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """The peer: what a good afternoon's notebook does."""
    features = FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)),
            ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True)),
        ]
    )
    rows = features.fit_transform(train["catalog_content"])
    model = RidgeCV(alphas=np.logspace(-2, 2, 9)).fit(rows, np.log1p(train["price"]))
    return np.expm1(model.predict(features.transform(test["catalog_content"]))).clip(0.01)


def measure(folder: Path, workspace: Path, minutes: float, architectures: list[str], extra: list[str]) -> None:
    train, test = folder / "train.csv", folder / "test.csv"
    catalog = ["--train", train, "--test", test, "--workspace", workspace]
    sweep = run("experiments.sweep", *architectures, *catalog, "--minutes", minutes, *extra)
    stack = run("ensemble.stack", "--workspace", workspace)
    asked = pd.read_csv(test, dtype={"sample_id": str})
    submission = pd.read_csv(workspace / "submission.csv", dtype={"sample_id": str})
    valid = list(submission["sample_id"]) == list(asked["sample_id"]) and bool((submission["price"] > 0).all())
    nested = json.loads((workspace / "stack.json").read_text())["nested"]
    print(f"{folder.name}: sweep {sweep:.0f} s of {60 * minutes:.0f} ({sweep / 60 / minutes:.0%}), stack {stack:.0f} s")
    print(f"  submission of {len(submission)} rows valid: {valid}")
    print(f"  nested SMAPE {nested['smape']:.2f} +- {nested['standard_error']:.2f}")
    prices = folder / "test_prices.csv"
    if not prices.exists():
        return
    true = pd.read_csv(prices, dtype={"sample_id": str}).set_index("sample_id").loc[submission["sample_id"], "price"]
    terms = smape_terms(true, submission["price"])
    error = group_standard_error(terms)
    peer = smape(true, ridge(pd.read_csv(train), asked))
    both = float(np.hypot(error, nested["standard_error"]))
    print(f"  test SMAPE {terms.mean():.2f} +- {error:.2f}; tuned ridge {peer:.2f} (ratio {terms.mean() / peer:.3f})")
    print(
        f"  nested - test: {nested['smape'] - terms.mean():+.2f} = {(nested['smape'] - terms.mean()) / both:+.1f} s.e."
    )
    store = workspace / "members"
    for member in sorted(store.glob("*/member.json")):
        own = smape(true, pd.read_parquet(member.parent / "test.parquet")["price"])
        oof = json.loads(member.read_text())["metrics"]["smape"]
        print(f"  member {member.parent.name}: out of fold {oof:.2f}, test {own:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of catalogs")
    parser.add_argument("--sets", nargs="+", default=["ikea", "whisky", "grocery"])
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--architectures", nargs="+", default=["text", "lexical", "boosted"])
    parser.add_argument("--keep", type=Path, help="keep the workspaces in this folder")
    arguments, extra = parser.parse_known_args()
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as temporary:
            workspace = (arguments.keep or Path(temporary)) / name
            measure(arguments.data / name, workspace, arguments.minutes, arguments.architectures, extra)


if __name__ == "__main__":
    main()
