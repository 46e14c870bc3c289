"""What `core.fields` reads: agreement with catalogs' own `Value:` and `Unit:` lines, and how long a catalog takes.

    python benchmarks/fields.py                     # speed on demo texts
    python benchmarks/fields.py ../shared/data      # agreement on `grocery`, and speed on its texts and on the others'

A row takes part if `Value:` is a mass, a volume or a count and the name holds a quantity. Name and label agree within 1% if the
total in the label's dimension does, or, for a label that counts, the pieces or the packs. Names say `oz` of liquids too: their
number of ounces counts for a label in fluid ounces. Every disagreement is printed with a cause.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pandas as pd

from core.catalog_reading import read_catalogs
from core.demo.generate import make_demo
from core.fields import read_fields
from core.fields.units import UNITS

ROWS = 75_000
TOLERANCE = 0.01
DIMENSIONS = ("g", "ml", "count")
OUNCE_G, OUNCE_ML = UNITS["oz"].factor, UNITS["fl oz"].factor

NAIVE_SIZE = re.compile(
    r"(\d+(?:\.\d+)?)[\s-]*(fl\.? ?oz|fluid ounces?|ounces?|oz|pounds?|lbs?|grams?|kg|g|ml|liters?|l|count|ct|pieces?|pcs)\b"
)
NAIVE_PACK = re.compile(r"pack of (\d+)|(\d+)[ -]pack")

LABEL_ONE_PACK = "label: the size of one pack, where several are sold"
LABEL_ONE = "label: `1 Count`, where the name counts or weighs what is in it"
NOT_SAID = "name: does not say what the label measures"
JUDGED: dict[str, str] = {}
"""Causes that somebody found by reading, by sample_id."""


def totals(row: pd.Series, dimension: str) -> list[float]:
    """What the name may mean by the label's number, in base units of `dimension`."""
    if dimension == "count":
        said = [row["total_count"], row["pack"]]
    else:
        other, factor = ("ml", OUNCE_G / OUNCE_ML) if dimension == "g" else ("g", OUNCE_ML / OUNCE_G)
        said = [row[f"total_{dimension}"], row[f"total_{other}"] * factor]
    return [number for number in said if number == number]


def naive(name: str) -> dict[str, float]:
    """The peer: the first number with a unit, times `pack of N`."""
    said = {"pack": float("nan"), "total_g": float("nan"), "total_ml": float("nan"), "total_count": float("nan")}
    if pack := NAIVE_PACK.search(name):
        said["pack"] = float(pack[1] or pack[2])
    if size := NAIVE_SIZE.search(name):
        unit = UNITS[size[2].replace(".", "")]
        dimension = {"mass": "g", "volume": "ml", "count": "count"}[unit.dimension]
        said[f"total_{dimension}"] = (
            float(size[1]) * unit.factor * (said["pack"] if said["pack"] == said["pack"] else 1.0)
        )
    return said


def close(number: float, label: float) -> bool:
    return abs(number - label) <= TOLERANCE * label


def cause(row: pd.Series, dimension: str, label: float) -> str:
    """Why name and label differ, as far as the numbers tell."""
    if row["sample_id"] in JUDGED:
        return JUDGED[row["sample_id"]]
    if dimension == "count" and label == 1.0:
        return LABEL_ONE
    if not totals(row, dimension):
        return NOT_SAID
    if (
        dimension != "count"
        and row["pack"] > 1
        and any(close(total / row["pack"], label) for total in totals(row, dimension))
    ):
        return LABEL_ONE_PACK
    return "not judged"


def agreement(folder: Path) -> None:
    read = read_catalogs(folder / "train.csv", folder / "test.csv", None)
    fields = read_fields([*read.train.texts, *read.test.texts])
    fields["sample_id"] = [*read.train.ids, *read.test.ids]
    labels = fields[[f"value_{dimension}" for dimension in DIMENSIONS]]
    agreed, naively, comparable, causes, lines = 0, 0, 0, Counter[str](), []
    rows = fields[
        labels.notna().any(axis=1) & fields[["pack", "total_g", "total_ml", "total_count"]].notna().any(axis=1)
    ]
    for _, row in rows.iterrows():
        dimension = next(each for each in DIMENSIONS if row[f"value_{each}"] == row[f"value_{each}"])
        label = row[f"value_{dimension}"]
        comparable += bool(totals(row, dimension))
        naively += any(close(total, label) for total in totals(pd.Series(naive(row["name"])), dimension))
        if any(close(total, label) for total in totals(row, dimension)):
            agreed += 1
            continue
        why = cause(row, dimension, label)
        causes[why] += 1
        said = ", ".join(
            f"{name} {row[name]:.5g}"
            for name in ("pack", "total_g", "total_ml", "total_count")
            if row[name] == row[name]
        )
        lines.append(
            f"  {why}: {row['sample_id']} label {row['value']:g} {row['unit']}; read {said}; {row['name'][:150]}"
        )
    print(
        f"{folder.name}: {len(rows)} rows with a label and a quantity in the name, {comparable} with one of the label's kind"
    )
    print(
        f"  agree within 1%: {agreed} = {agreed / len(rows):.1%} (of those of the label's kind {agreed / comparable:.1%})"
    )
    print(f"  a naive pattern: {naively} = {naively / len(rows):.1%}")
    for why, count in causes.most_common():
        print(f"  {count:3d} {why}")
    print(*sorted(lines), sep="\n")


def speed(what: str, texts: Sequence[str], rows: int) -> None:
    """Seconds for `rows` rows: the texts again and again, each time with other numbers."""
    random = Random(0)
    varied = [
        re.sub(r"[1-9]", lambda _: random.choice("123456789"), texts[place % len(texts)])
        if place >= len(texts)
        else texts[place]
        for place in range(rows)
    ]
    start = time.perf_counter()
    read_fields(varied)
    seconds = time.perf_counter() - start
    print(f"{what}: {rows:,} rows of {sum(map(len, varied)) / rows:.0f} characters in {seconds:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder with grocery/, ikea/, whisky/ in the native format")
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    if options.data is not None:
        agreement(options.data / "grocery")
        for name in ("grocery", "whisky", "ikea"):
            read = read_catalogs(options.data / name / "train.csv", options.data / name / "test.csv", None)
            speed(name, list(read.train.texts), options.rows)
    with tempfile.TemporaryDirectory() as folder:
        demo = make_demo(Path(folder, "demo"), 20_000, pictures=0)
        read = read_catalogs(demo.train, demo.test, None)
    speed("demo", list(read.train.texts), options.rows)


if __name__ == "__main__":
    main()
