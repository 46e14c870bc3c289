"""Benchmark of the report of a large workspace: build seconds, memory, file size, and how fast it opens and scrolls.

    python benchmarks/reports/report.py [--rows 75000] [--members 25] [--trials 500] [--keep FOLDER]

The catalog is the demo's, its texts filled up to 150 words; members are plausible prices, trials plausible curves, a third of
them stopped early; the stack is a real one by its two quickest methods. Chromium opens the page from disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

from core.atomic_files import write_json
from core.data.folds import catalog_links, make_folds
from core.data.reading import read_catalogs
from core.data.vocabulary import read_vocabulary
from core.demo import make_demo
from core.quality.label_noise import FILE, find_label_noise, write_findings
from core.store.oof_store import Member
from core.store.workspace import Workspace, WorkspaceFacts, catalog_fingerprint
from ensemble.stack import stack_workspace
from ensemble.stack_options import StackConfig

WORDS = 150
KINDS = ("lexical", "boosted", "text", "multimodal")
RATES, DEPTHS, WIDTHS = (1e-5, 2e-5, 5e-5), (1, 2, 3), (128, 256, 512)
EPOCHS = 12
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def make(folder: Path, rows: int, members: int, trials: int) -> Workspace:
    demo = make_demo(folder / "demo", rows * 5 // 4, images=0)
    for path in (demo.train, demo.test):
        _lengthen(path)
    read = read_catalogs(demo.train, demo.test, None)
    folds, report = make_folds(read.train, read.test, k=5, seed=0, fold_groups="off")
    workspace = Workspace(folder / "runs")
    overlap = {"test": report.test_overlap, "random": report.random_overlap, "folds": report.fold_overlap}
    facts = WorkspaceFacts(
        str(demo.train), str(demo.test), None, catalog_fingerprint(read.train, read.test), folds.hash, 5, "off",
        folds.mode, overlap,
    )  # fmt: skip
    workspace.create(read.train, read.test, folds, facts)
    rng, prices = np.random.default_rng(0), read.train.known_prices
    shared = rng.normal(0, 0.25, len(prices))
    for number in range(members):
        kind = KINDS[number % len(KINDS)]
        oof = prices * np.exp(shared + rng.normal(0, 0.2 + 0.01 * number, len(prices)))
        test = np.exp(rng.normal(2.5, 1, len(read.test)))
        record = {"architecture": kind, "catalog": facts.catalog, "folds": facts.folds, "seconds": 60.0, "settings": {}}
        workspace.store.write_member(Member(f"{kind}-{number:012x}", oof, test, record))
    write_json(
        workspace.path("history.json"), {"format": 1, "studies": [_study(kind, trials // len(KINDS)) for kind in KINDS]}
    )
    links = catalog_links(workspace.train, workspace.test).among(np.arange(len(workspace.train)))
    write_findings(
        workspace.path(FILE), find_label_noise(workspace.train, links, read_vocabulary(list(workspace.train.texts)))
    )
    stack_workspace(workspace, StackConfig(methods=("geometric", "simplex-log")))
    return workspace


def _lengthen(path: Path) -> None:
    frame, rng = pd.read_csv(path, dtype=str), np.random.default_rng(0)
    words = np.array([f"{kind}{number}" for kind in ("fine", "rare", "pure", "bold") for number in range(5_000)])
    filled = words[rng.zipf(1.3, (len(frame), WORDS)) % len(words)]
    frame["catalog_content"] += [" " + " ".join(row) for row in filled]
    frame.to_csv(path, index=False)


def _study(kind: str, count: int) -> dict[str, object]:
    rng = np.random.default_rng(KINDS.index(kind))
    trials = []
    for number in range(count):
        params = {
            "learning_rate": RATES[number % 3],
            "depth": DEPTHS[number // 3 % 3],
            "width": WIDTHS[number // 9 % 3],
        }
        pruned = number % 3 == 2
        curve = [
            [epoch, 45 + 40 / epoch + float(rng.normal(0, 1))] for epoch in range(1, (4 if pruned else EPOCHS) + 1)
        ]
        trials.append(
            {
                "number": number,
                "state": "pruned" if pruned else "complete",
                "config": f"{kind}-{number}",
                "params": params,
                "origin": None,
                "smape": curve[-1][1],
                "standard_error": 0.5,
                "curve": curve,
                "best_epoch": len(curve),
                "start": 60.0 * number,
                "end": 60.0 * number + 50,
                "seconds": 50.0,
                "answered_from": None,
                "error": None,
            }
        )
    known = {"name": f"{kind}-1a2b3c4d", "architecture": kind, "documented": trials[0]["params"], "space": {}}
    return {**known, "importances": {"learning_rate": 0.7, "depth": 0.2, "width": 0.1}, "trials": trials}


def build(workspace: Workspace) -> tuple[float, float]:
    """(seconds, GiB at most) of the command."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "reports.build", "--workspace", str(workspace.folder)], check=True)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


_SCROLL = """() => new Promise((done) => {
  const gaps = []; let last = performance.now();
  const step = () => {
    const now = performance.now(); gaps.push(now - last); last = now;
    scrollBy({ top: 120, behavior: "instant" });
    if (scrollY + innerHeight < document.documentElement.scrollHeight - 2) requestAnimationFrame(step);
    else {
      gaps.sort((a, b) => a - b);
      done([gaps[Math.floor(gaps.length / 2)], gaps[Math.floor(0.95 * gaps.length)], gaps.length]);
    }
  };
  requestAnimationFrame(step);
})"""


def look(page_path: Path) -> dict[str, float]:
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        start = time.perf_counter()
        page.goto(page_path.resolve().as_uri(), wait_until="commit")
        page.wait_for_load_state("load")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN")
        page.wait_for_selector("[data-chart]:not([data-state=drawn]):visible", state="detached", timeout=120_000)
        drawn = time.perf_counter() - start
        middle, late, frames = page.evaluate(_SCROLL)
        browser.close()
    return {
        "first paint (s)": paint / 1000,
        "all figures drawn (s)": drawn,
        "frame, median (ms)": middle,
        "frame, 95% (ms)": late,
        "frames": frames,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=75_000)
    parser.add_argument("--members", type=int, default=25)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--keep", type=Path, help="keep, and use again, the workspace in this folder")
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        workspace = Workspace(folder / "runs")
        if not workspace.path("stack.json").exists():
            workspace = make(folder, arguments.rows, arguments.members, arguments.trials)
        seconds, memory = build(workspace)
        page = workspace.path("report.html")
        figures = {
            "built in (s)": seconds,
            "memory (GiB)": memory,
            "page (MB)": page.stat().st_size / 1e6,
            **look(page),
        }
    print(f"{arguments.rows:,} rows, {arguments.members} members, {arguments.trials} trials")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
