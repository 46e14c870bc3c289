"""Benchmark beside busy neighbours: import, trainings, stack, export and requests, alone and beside one and two busy cores.

    python benchmarks/busy.py                                    # the whole table, in less than 20 minutes
    python benchmarks/busy.py --only boosted,stack --rounds 1
    python benchmarks/busy.py --spin default                     # as runtimes spin where nobody limits them
    python benchmarks/busy.py --spin 100 --only boosted          # another limit of GNU's OpenMP
    python benchmarks/busy.py --against ../older-checkout        # and what the same takes there, alone, in turns

Everything is pinned to two cores. A busy core is a process that computes without end on the same two. Each figure is the median
of `--rounds` runs, each in a process of its own; conditions take turns. Trainings have two threads and are timed without
imports; stack and export are whole commands; requests go one after the other to a service that is ready.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

AIMS = {1: 2.2, 2: 4.0}
"""Most seconds beside so many busy cores, as multiples of those alone."""
SLOWER = 1.03
"""Most seconds alone, as a multiple of those of the checkout that `--against` names."""
ROWS, REQUESTS, CORES = 2000, 100, 2
TRAININGS: dict[str, dict[str, Any]] = {
    "boosted": {"max_rounds": 200},
    "lexical": {},
    "text": {"text_encoder": "tiny", "epochs": 2},
}
PARTS = ("import", *TRAININGS, "stack", "export", "request")
RUNTIMES = {
    "GOMP_SPINCOUNT": "300000",
    "KMP_BLOCKTIME": "200",
    "OPENBLAS_THREAD_TIMEOUT": "26",
}
"""How long runtimes spin where nobody limits them: GNU's OpenMP, LLVM's and Intel's, OpenBLAS."""
LIMIT_SECONDS = 300.0
"""A run that takes longer is stopped, and its seconds are these."""


def train(name: str, folder: Path) -> float:
    """Seconds of one training."""
    from core.architectures import architecture
    from core.cache import Cache
    from core.data.reading import read_catalogs
    from core.protocols.architecture import Context, make_config

    rows = read_catalogs(folder / "catalog/train.csv", folder / "catalog/test.csv", None).train
    kind = architecture(name)
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(0, Cache(Path(scratch) / "cache"), Path(scratch) / "run", threads=CORES)
        start = time.perf_counter()
        kind.train(rows, None, make_config(kind.Config, TRAININGS[name]), context)
        return time.perf_counter() - start


def command(*arguments: object) -> float:
    """Seconds of a command of the project."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    return time.perf_counter() - start


def ask(folder: Path) -> float:
    """Seconds of `REQUESTS` requests to a service, one after the other, each with a text of its own."""
    sys.path.insert(0, str(Path(__file__).parent / "serving"))
    from service_process import FREE, free_port, served

    port, bundle = free_port(), next((folder / "runs/bundles").glob("*/manifest.json")).parent
    service = [sys.executable, "-m", "serving.api", "--bundle", bundle, "--port", port, *FREE]
    with tempfile.TemporaryDirectory() as scratch, served(service, port, Path(scratch)):
        start = time.perf_counter()
        for number in range(REQUESTS):
            body = json.dumps({"catalog_content": f"Item Name: Jam number {number}, 9 oz, Pack of {1 + number % 12}"})
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/predict", body.encode(), {"Content-Type": "application/json"}
            )
            urllib.request.urlopen(request, timeout=60).read()
        return time.perf_counter() - start


def seconds_of(part: str, folder: Path) -> float:
    """Runs in a process of its own."""
    if part in TRAININGS:
        return train(part, folder)
    if part == "stack":
        return command("ensemble.stack", "--workspace", folder / "runs", "--out", folder / "submission.csv")
    if part == "export":
        with tempfile.TemporaryDirectory() as out:
            return command("serving.export", "--workspace", folder / "runs", "--out", out)
    if part == "request":
        return ask(folder)
    start = time.perf_counter()
    import experiments.run  # noqa: F401

    return time.perf_counter() - start


def prepare(folder: Path) -> None:
    """A demo catalog, and a workspace with two members, a stack and a bundle."""
    if (folder / "runs/bundles").is_dir():
        return
    from core.demo import make_demo

    demo = make_demo(folder / "catalog", ROWS, 0)
    files = ["--train", demo.train, "--test", demo.test, "--workspace", folder / "runs"]
    settings = ["--set", "lexical.model=ridge", "--set", "boosted.max_rounds=50"]
    command("experiments.sweep", "lexical", "boosted", *files, "--trials", 1, "--members", 1, "--folds", 3, *settings)
    command("ensemble.stack", "--workspace", folder / "runs")
    command("serving.export", "--workspace", folder / "runs")


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """So many processes that compute without end while the block runs."""
    with ExitStack() as stack:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def measure(part: str, folder: Path, neighbours: int, environment: Mapping[str, str]) -> float:
    run = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    with busy_cores(neighbours):
        try:
            done = subprocess.run(
                run, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT_SECONDS
            )
        except subprocess.TimeoutExpired:
            return LIMIT_SECONDS
    return float(done.stdout.split()[-1])


def environment_of(spin: str, checkout: Path | None = None) -> dict[str, str]:
    """This process's, with that spinning and nothing else said of threads. spin: `limited`, `default` or a number."""
    threads = ("OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_")
    found = {name: value for name, value in os.environ.items() if not name.startswith(threads)}
    found["PYTHONPATH"] = str((checkout or Path(__file__).parents[1]).resolve())
    if spin == "default":
        return {**found, **RUNTIMES}
    return found if spin == "limited" else {**found, "GOMP_SPINCOUNT": spin}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spin", default="limited", help="limited (as the project does), default, or GOMP_SPINCOUNT")
    parser.add_argument("--against", type=Path, help="another checkout, to compare the seconds alone with")
    parser.add_argument("--folder", type=Path, help="for catalog and workspace, kept for the next time")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part is not None:
        print(seconds_of(given.part, given.folder))
        return
    parts = given.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)).resolve()
        prepare(folder)
        ours = environment_of(given.spin)
        conditions: dict[str, tuple[int, dict[str, str]]] = {
            "alone": (0, ours), "beside 1": (1, ours), "beside 2": (2, ours)
        }  # fmt: skip
        if given.against is not None:
            conditions["alone, before"] = (0, environment_of("limited", given.against))
        print(f"| seconds | {' | '.join(conditions)} | aims |\n|---{'|---' * (len(conditions) + 1)}|")
        for part in parts:
            runs = {
                (name, number): measure(part, folder, *each)
                for number in range(given.rounds)
                for name, each in conditions.items()
            }
            show(part, {name: median(runs[name, number] for number in range(given.rounds)) for name in conditions})


def show(part: str, found: Mapping[str, float]) -> None:
    """A line of the table: seconds, multiples of those alone, and whether each aim is met."""
    alone = found["alone"]
    ratios = {f"{count} busy": (found[f"beside {count}"] / alone, aim) for count, aim in AIMS.items()}
    if (before := found.get("alone, before")) is not None:
        ratios["before"] = alone / before, SLOWER
    aims = (
        f"{name}: {ratio:.2f} x, {'met' if ratio <= aim else f'missed ({aim:g})'}"
        for name, (ratio, aim) in ratios.items()
    )
    print(f"| {part} | {' | '.join(f'{each:.2f}' for each in found.values())} | {'; '.join(aims)} |", flush=True)


if __name__ == "__main__":
    main()
