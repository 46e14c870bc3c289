"""Benchmark of ensembling methods: SMAPE, seconds and memory of ours and its peers on ensemble_matrices.py's matrices.

    python -m venv PEERS && PEERS/bin/python -m pip install -r benchmarks/ensembling/peers-requirements.txt
    python benchmarks/ensembling/ensembling.py --peers-python PEERS/bin/python
    python benchmarks/ensembling/ensembling.py --wide
    python benchmarks/ensembling/ensembling.py --quick

Each measurement is a process of its own, one at a time, and the methods take turns within a seed. SMAPE is that of the held-out
rows. Seconds of a peer and of `simplex-*` are those of fitting and predicting; seconds of `auto` are those of the whole command
`python -m ensemble.stack --oof oof.parquet --test test.parquet --out sub.csv`, with starting, reading, checking, nested
validation and writing. MiB is the largest resident set of the process or of one that it started, libraries and data included.

Every matrix is combined twice: `given` as it is, with a leaked member that only `auto` can find, and `told` without it, as if
everybody had been told. The aims are judged on `told`, where that member's absence is no advantage of ours. --wide gives 200
members to ours (name peers with --methods), as they are.

Results are appended to --resume as they come. A second start measures only what is missing there, was disturbed by other
processes, or was measured with other sources of the method, the matrices or `ensemble`; delete the file after a change elsewhere
(libraries, `core`). Run nothing else meanwhile: where threads wait for a core, seconds multiply (a solver's by a hundred).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ensemble_measuring import measure, missing
from ensemble_peers import METHODS
from ensemble_table import BLOCKS, Configuration, Record, aims, disturbed, table

from core.metrics import smape

ROOT = Path(__file__).resolve().parents[2]
AUTO = "auto"
WIDE = 200
INSTALL = """make an environment for the peers (AutoGluon's pandas is older than Pricestack's) and name it:
  python -m venv PEERS && PEERS/bin/python -m pip install -r benchmarks/ensembling/peers-requirements.txt
  python benchmarks/ensembling/ensembling.py --peers-python PEERS/bin/python"""


def write_matrix(seed: int, configuration: Configuration, folder: Path) -> None:
    """FOLDER/truth.npy, and in FOLDER/given and FOLDER/told what the methods read. Runs in a process of its own: a process that
    is started inherits the peak memory of the one that starts it."""
    import pandas as pd
    from ensemble_matrices import generate

    made = generate(
        seed, configuration.rows, configuration.members, held_out=configuration.held_out, kinds=configuration.kinds
    )
    np.save(folder / "truth.npy", made.truth)
    for block in BLOCKS:
        place = folder / block
        place.mkdir()
        kept = [column for column, name in enumerate(made.names) if block == "given" or name != made.leaked]
        names = [made.names[column] for column in kept]
        tables = {"oof": made.oof[:, kept], "test": made.test[:, kept]}
        np.save(place / "prices.npy", made.prices)
        for name, prices in tables.items():
            np.save(place / f"{name}.npy", prices)
            frame = pd.DataFrame(prices, columns=names)
            frame.insert(0, "sample_id", [f"{name}-{row}" for row in range(len(frame))])
            if name == "oof":
                frame.insert(1, "price", made.prices)
            frame.to_parquet(place / f"{name}.parquet")


@cache
def source(method: str) -> str:
    """A hash of what decides a method's result: the matrices, the methods, and for ours the package `ensemble`."""
    here = [Path(__file__).with_name(name) for name in ("ensemble_matrices.py", "ensemble_peers.py")]
    ours = method == AUTO or METHODS[method].ours
    files = [*here, *sorted((ROOT / "ensemble").rglob("*.py"))] if ours else here
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]


def run_method(method: str, folder: Path, truth: np.ndarray, python: str, timeout: float) -> dict[str, Any]:
    """outcome (`done`, `timeout`, `failed`), mib, others, and of what is done smape and seconds."""
    worker = [str(Path(__file__).with_name("ensemble_peers.py")), method, str(folder)]
    stack = ["-m", "ensemble.stack", "--oof", "oof.parquet", "--test", "test.parquet", "--out", "sub.csv"]
    command = [python, *(stack if method == AUTO else worker)]
    done = measure(command, folder, {"PYTHONPATH": str(ROOT)}, timeout)
    result = {"outcome": done.outcome, "mib": done.mib, "others": done.others}
    if done.outcome == "timeout":
        return {**result, "limit": timeout}
    if done.outcome == "failed":
        return {**result, "error": done.errors[-2000:]}
    if method == AUTO:
        predicted = np.loadtxt(folder / "sub.csv", delimiter=",", skiprows=1, usecols=1)
        seconds = done.seconds
    else:
        predicted = np.load(folder / f"{method}.npy")
        seconds = float(done.output.splitlines()[-1])
    return {**result, "smape": smape(truth, predicted), "seconds": seconds}


def find(records: Sequence[Record], key: dict[str, Any], timeout: float) -> Record | None:
    """The last result of `key` that need not be measured again: one that failed, was disturbed or had less time is."""
    for record in reversed(records):
        known = record["outcome"] == "done" or record.get("limit", 0.0) >= timeout
        if known and not disturbed(record) and record.items() >= key.items():
            return record
    return None


def run_all(arguments: argparse.Namespace, configurations: Sequence[Configuration], methods: list[str]) -> list[Record]:
    """One result per seed, configuration, block and method, from the file or measured now."""
    resume: Path = arguments.resume
    resume.parent.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in resume.read_text().splitlines()] if resume.is_file() else []
    results = []
    for seed in range(arguments.seeds):
        for configuration in configurations:
            blocks = BLOCKS[:1] if configuration.wide else arguments.blocks
            wanted = [
                {**asdict(configuration), "seed": seed, "block": block, "method": method, "source": source(method)}
                for block in blocks
                for method in methods
            ]
            found = [find(known, key, arguments.timeout) for key in wanted]
            results += [record for record in found if record is not None]
            pending = [key for key, record in zip(wanted, found, strict=True) if record is None]
            if pending:
                results += measure_pending(arguments, configuration, seed, pending)
    return results


def measure_pending(
    arguments: argparse.Namespace, configuration: Configuration, seed: int, pending: Sequence[dict[str, Any]]
) -> list[Record]:
    results = []
    with TemporaryDirectory() as name, arguments.resume.open("a") as file:
        folder = Path(name)
        maker = get_context("spawn").Process(target=write_matrix, args=(seed, configuration, folder))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit(f"the matrix of seed {seed} could not be made")
        truth = np.load(folder / "truth.npy")
        for key in pending:
            method = key["method"]
            foreign = method != AUTO and METHODS[method].foreign
            python = arguments.peers_python if foreign else sys.executable
            record = {**key, **run_method(method, folder / key["block"], truth, python, arguments.timeout)}
            results.append(record)
            file.write(json.dumps(record) + "\n")
            file.flush()
            figures = (
                f"SMAPE {record['smape']:.4f}, {record['seconds']:.2f} s, {record['mib']:.0f} MiB"
                if record["outcome"] == "done"
                else f"{record['outcome']} {record.get('error', '')}"
            )
            mark = f" (others used {record['others']:.1f} cores)" if disturbed(record) else ""
            print(f"seed {seed}, {configuration}, {key['block']}: {method}: {figures}{mark}", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=None, help="matrices of each kind (10; with --wide or --quick 1)")
    parser.add_argument("--rows", type=int, default=75_000, help="rows to fit to; a third as many are held out")
    parser.add_argument("--members", type=int, default=25)
    parser.add_argument(
        "--kinds", action=argparse.BooleanOptionalAction, help="kinds of product matter (default: both)"
    )
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=BLOCKS, help="default: both")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, AUTO], metavar="METHOD", help="default: all")
    parser.add_argument(
        "--peers-python", type=os.path.abspath, default=sys.executable, help="interpreter with peers-requirements.txt"
    )
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one method")
    parser.add_argument("--resume", type=Path, default=ROOT / "build" / "ensembling.jsonl", help="file of results")
    parser.add_argument("--wide", action="store_true", help="200 members x 75,000 rows, ours alone")
    parser.add_argument("--quick", action="store_true", help="one seed, 5,000 rows")
    arguments = parser.parse_args()
    arguments.seeds = arguments.seeds or (1 if arguments.wide or arguments.quick else 10)
    rows = 5_000 if arguments.quick else arguments.rows
    both = (True, False) if arguments.kinds is None else (arguments.kinds,)
    configurations = [Configuration(rows, arguments.members, kinds) for kinds in both]
    if arguments.wide:
        configurations = [Configuration(rows, WIDE, kinds=True, wide=True)]
    ours = [*(name for name, method in METHODS.items() if method.ours), AUTO]
    methods = arguments.methods or (ours if arguments.wide else [*METHODS, AUTO])
    foreign = [name for name in methods if name in METHODS and METHODS[name].foreign]
    errors = {name: missing(arguments.peers_python, METHODS[name].imports) for name in foreign}
    absent = {name: error for name, error in errors.items() if error}
    results = run_all(arguments, configurations, [name for name in methods if name not in absent])
    for configuration in configurations:
        for block in BLOCKS[:1] if configuration.wide else arguments.blocks:
            print(f"\n{configuration}, {block}, {arguments.seeds} seed(s)\n")
            print(table(results, configuration, block))
    for name, error in absent.items():
        print(f"\n{name} is not installed in {arguments.peers_python}: {error}")
    if absent:
        print(INSTALL)
    if busy := sum(map(disturbed, results)):
        print(f"\n{busy} of {len(results)} measurements were disturbed by other processes: start again to repeat them")
    print("\naims, without the leaked member" if not arguments.wide else "\naim")
    for line in aims(results, configurations, absent):
        print(line)


if __name__ == "__main__":
    main()
