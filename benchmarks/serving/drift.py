"""Benchmark of drift alerts of a served bundle: none from rows of its own catalog, one within 500 rows of another.

    python benchmarks/serving/drift.py BUNDLE OWN_CATALOG_FOLDER OTHER_CATALOG_FOLDER [--own 5000] [--other 500]

Rows of the own catalog (training and test, shuffled over and over) and then of the other are posted to `serving.api` in batches
of 25; after each the service's metrics are asked for alerts.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
from service_process import FREE, free_port, served

STEP = 25


def texts_of(folder: Path, names: tuple[str, ...]) -> list[str]:
    frames = [pd.read_csv(folder / name, dtype=str) for name in names]
    return pd.concat(frames)["catalog_content"].fillna("").tolist()


def alerts(address: str) -> dict[str, float]:
    text = urllib.request.urlopen(f"{address}/metrics").read().decode()
    return {name: float(count) for name, count in re.findall(r'pricestack_alerts_total\{name="([^"]+)"\} (\S+)', text)}


def post(address: str, texts: list[str]) -> None:
    body = json.dumps({"rows": [{"catalog_content": text} for text in texts]}).encode()
    request = urllib.request.Request(f"{address}/predict/batch", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request).read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("own", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--most", type=int, default=500)
    arguments = parser.parse_args()
    own = texts_of(arguments.own, ("train.csv", "test.csv"))
    other = texts_of(arguments.other, ("train.csv", "test.csv"))
    generator = np.random.default_rng(0)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "serving.api",
        "--bundle",
        arguments.bundle,
        "--port",
        port,
        "--log-level",
        "error",
    ]
    with tempfile.TemporaryDirectory() as scratch, served([*command, *FREE], port, Path(scratch)):
        sent = 0
        while sent < arguments.rows:
            post(address, [own[place] for place in generator.permutation(len(own))[:STEP]])
            sent += STEP
        drift = {name: count for name, count in alerts(address).items() if name.startswith("drift")}
        print(f"{sent:,} rows of its own kind: {drift or 'no drift alert'}", flush=True)
        for start in range(0, arguments.most, STEP):
            post(address, other[start : start + STEP])
            found = {name for name in alerts(address) if name.startswith("drift")} - set(drift)
            if found:
                print(f"{start + STEP} rows of another kind: {', '.join(sorted(found))}")
                return
        raise SystemExit(f"{arguments.most} rows of another kind raised nothing")


if __name__ == "__main__":
    main()
