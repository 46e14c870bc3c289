"""Benchmark of field extraction (`core.fields`): agreement with a catalog's own `Value:` and `Unit:` lines, and speed.

    python benchmarks/accuracy/fields.py                     # speed on demo texts
    python benchmarks/accuracy/fields.py ../shared/data      # agreement on `grocery`, and speed on the texts of all its catalogs

A row takes part if `Value:` is a mass, a volume or a count and the name holds a quantity. Name and label agree within 1% if the
total in the label's dimension does, or, for a label that counts, the pieces or the packs. Names say `oz` of liquids too: their
number of ounces counts for a label in fluid ounces, and the other way round. Three figures: of all rows; of the rows whose name
holds a quantity of the label's kind; and of all rows where a name with a size and no count is read as one piece (what its total
is computed with). Every disagreement is printed with a cause: found by its numbers, or by reading the row (`JUDGED`).
"""

from __future__ import annotations

import argparse
import math
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from core.data.reading import read_catalogs
from core.demo.generate import make_demo
from core.fields import read_fields
from core.fields.units import COUNT, MASS, UNITS, VOLUME

ROWS = 75_000
TOLERANCE = 0.01
DIMENSIONS = ("g", "ml", "count")
QUANTITIES = ("pack", *(f"total_{dimension}" for dimension in DIMENSIONS))
OUNCE_G, OUNCE_ML = UNITS["oz"].factor, UNITS["fl oz"].factor

NAIVE_SIZE = re.compile(
    r"(\d+(?:\.\d+)?)[\s-]*(fl\.? ?oz|fluid ounces?|ounces?|oz|pounds?|lbs?|grams?|kg|g|ml|liters?|l|count|ct|pieces?|pcs)\b"
)
NAIVE_PACK = re.compile(r"pack of (\d+)|(\d+)[ -]pack")

LABEL_ONE_PACK = "label: the size of one pack, where several are sold"
LABEL_ONE = "label: `1 Count`, where the name counts or weighs what is in it"
NOT_SAID = "name: does not say what the label measures"
LABEL = "label: contradicts the name"
INSIDE = "name: does not say how many are inside"
JUDGED: dict[str, tuple[str, str]] = {
    "108281": (INSIDE, "24 tubes, 480 toothpicks"),
    "155697": (LABEL, "12 cans of 28 oz are 336 oz, not 448"),
    "216438": (LABEL, "the 12 of the pack, called ounces"),
    "220124": (LABEL, "the 16 of the count, called ounces"),
    "26943": (LABEL, "0.9 oz, not 5.25"),
    "27256": (LABEL, "12 bags of 24.6 oz, not 3"),
    "43060": (LABEL, "6 gallons, not 12"),
    "85447": (LABEL, "12 packs of 24: the packs alone"),
    "99529": (LABEL, "20 lb, not 20 oz"),
}
"""Causes that somebody found by reading, by sample_id, and what is wrong."""


Said = Mapping[str, Any]


def totals(said: Said, dimension: str) -> list[float]:
    """What the name may mean by the label's number, in base units of `dimension`."""
    if dimension == "count":
        numbers = [said["total_count"], said["pack"]]
    else:
        other, factor = ("ml", OUNCE_G / OUNCE_ML) if dimension == "g" else ("g", OUNCE_ML / OUNCE_G)
        numbers = [said[f"total_{dimension}"], said[f"total_{other}"] * factor]
    return [number for number in numbers if not math.isnan(number)]


def naive(name: str) -> dict[str, float]:
    """The peer: the first number with a unit, times `pack of N`."""
    said = dict.fromkeys(QUANTITIES, math.nan)
    if pack := NAIVE_PACK.search(name):
        said["pack"] = float(pack[1] or pack[2])
    if size := NAIVE_SIZE.search(name):
        unit = UNITS[size[2].replace(".", "")]
        dimension = {MASS: "g", VOLUME: "ml", COUNT: "count"}[unit.dimension]
        said[f"total_{dimension}"] = float(size[1]) * unit.factor * (said["pack"] if pack else 1.0)
    return said


def agrees(said: Said, dimension: str, label: float, *, one: bool = False) -> bool:
    """one: a name with a size and no count is one piece."""
    numbers = totals(said, dimension)
    if one and dimension == "count" and not numbers:
        numbers = [1.0]
    return any(abs(number - label) <= TOLERANCE * label for number in numbers)


def cause(row: Said, dimension: str, label: float) -> tuple[str, str]:
    """Why name and label differ: the kind of cause, and what somebody who read the row says."""
    if row["sample_id"] in JUDGED:
        return JUDGED[row["sample_id"]]
    if dimension == "count" and label == 1.0:
        return LABEL_ONE, ""
    if not totals(row, dimension):
        return NOT_SAID, ""
    one_pack = {f"total_{each}": row[f"unit_{each}"] for each in DIMENSIONS} | {"pack": math.nan}
    return (LABEL_ONE_PACK, "") if agrees(one_pack, dimension, label) else ("not judged", "")


def agreement(folder: Path) -> None:
    read = read_catalogs(folder / "train.csv", folder / "test.csv", None)
    fields = read_fields([*read.train.texts, *read.test.texts])
    fields["sample_id"] = [*read.train.ids, *read.test.ids]
    known = fields[[f"value_{dimension}" for dimension in DIMENSIONS]].notna().any(axis=1)
    table = fields[known & fields[list(QUANTITIES)].notna().any(axis=1)]
    rows: list[dict[str, Any]] = [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]
    counts, causes, lines = Counter[tuple[str, str]](), Counter[str](), []
    for row in rows:
        dimension = next(each for each in DIMENSIONS if not math.isnan(row[f"value_{each}"]))
        label = row[f"value_{dimension}"]
        comparable = bool(totals(row, dimension))
        for reader, said in (("core.fields", row), ("a naive pattern", naive(row["name"]))):
            counts[reader, "of all"] += agrees(said, dimension, label)
            counts[reader, "of the label's kind"] += comparable and agrees(said, dimension, label)
            counts[reader, "size alone is one piece"] += agrees(said, dimension, label, one=True)
        counts["rows", "of the label's kind"] += comparable
        if not agrees(row, dimension, label):
            why, detail = cause(row, dimension, label)
            causes[why] += 1
            quantities = ", ".join(f"{name} {row[name]:.5g}" for name in QUANTITIES if not math.isnan(row[name]))
            shown = f"{row['sample_id']} ({detail})" if detail else row["sample_id"]
            lines.append(
                f"  {why}: {shown}: says {row['value']:g} {row['unit']}; read {quantities}; {row['name'][:140]}"
            )
    print(f"{folder.name}: {len(rows)} rows with a label and a quantity in the name")
    for (reader, what), count in counts.items():
        if reader != "rows":
            total = counts["rows", what] or len(rows)
            print(f"  {reader}, {what}: {count} of {total} = {count / total:.1%}")
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
    start, processor = time.perf_counter(), time.process_time()
    read_fields(varied)
    seconds, used = time.perf_counter() - start, time.process_time() - processor
    print(
        f"{what}: {rows:,} rows of {sum(map(len, varied)) / rows:.0f} characters in {seconds:.1f} s ({used:.1f} s of one core)"
    )


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
        demo = make_demo(Path(folder, "demo"), 20_000, images=0)
        read = read_catalogs(demo.train, demo.test, None)
    speed("demo", list(read.train.texts), options.rows)


if __name__ == "__main__":
    main()
