"""Learning curves of a 216-point grid trained on real text: input of search_efficiency.py.

The `tiny` encoder on one holdout fold of one catalog, one seed. About half an hour of one core; it can be stopped at any time: a
finished training is a line of benchmarks/data/grid_curves.jsonl and is never repeated.

    python benchmarks/accuracy/grid_curves.py FOLDER_OF_CATALOGS/ikea
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from holdout import holdout, learning_curve
from json_lines import add_line, read_lines

from core.cache import Cache
from core.console import progress
from search_spaces import Space

RESULTS = Path(__file__).parents[1] / "data" / "grid_curves.jsonl"
FIXED = {
    "text_encoder": "tiny", "max_length": 64, "regressor_width": 128, "regressor_depth": 1, "weight_decay": 0.01,
    "epochs": 10, "patience": 4,
}  # fmt: skip
GRID = Space(
    "grid_curves",
    {
        "learning_rate": (3e-4, 1e-3, 2e-3, 3e-3),
        "batch_size": (16, 32, 64),
        "dropout": (0.1, 0.2, 0.4),
        "pooling": ("mean", "attention"),
        "loss": ("huber", "l1", "smape_huber"),
    },
    {},
)


def read_curves() -> list[tuple[dict[str, Any], list[float]]]:
    """(point, SMAPE after each epoch) of every point that was trained."""
    return [(record["point"], record["smape"]) for record in read_lines(RESULTS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path, help="folder with train.csv and test.csv")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    rows = holdout(arguments.catalog)
    done = [point for point, _ in read_curves()]
    with TemporaryDirectory() as cache, progress("grid") as advance:
        for number, point in enumerate(GRID.grid(), 1):
            if point not in done:
                start = time.perf_counter()
                curve = learning_curve(rows, {**FIXED, **point}, 0, Cache(Path(cache)), arguments.threads)
                record = {
                    "point": point,
                    "smape": [round(value, 3) for value in curve],
                    "seconds": round(time.perf_counter() - start, 2),
                }
                add_line(RESULTS, record)
            advance(number, GRID.points)


if __name__ == "__main__":
    main()
