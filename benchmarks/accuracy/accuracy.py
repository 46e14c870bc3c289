"""Benchmark of accuracy against AutoGluon on real catalogs: same split, minutes and cores; SMAPE on unseen test prices.

    python benchmarks/accuracy/accuracy.py FOLDER_OF_CATALOGS --autogluon PYTHON [--text-encoder FOLDER] [--minutes 2 5 10]
    python benchmarks/accuracy/accuracy.py --table                                    # prints the table of what is there

PYTHON is that of an environment with `autogluon.tabular[lightgbm,xgboost,catboost,fastai]`. `--tools "autogluon, numbers"` gives
it measures as number columns, too; tools that end in `columns` get the catalog rebuilt as a shop's table (`columns.py`), and
"pricestack, no fields" reads no fields of any name. It takes hours and can be stopped at any time: a finished run is a line of
benchmarks/data/accuracy.jsonl and is repeated for another revision only. Ours: `experiments.sweep all --minutes M` and
`ensemble.stack`, as a user types them, in a new workspace. Seconds are those of whole commands; memory is that of the whole
machine (`whole_machine.py`): run it where nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from columns import rebuilt
from json_lines import add_line, read_lines
from whole_machine import Lowest

from core.metrics import group_standard_error, smape_terms

RESULTS = Path(__file__).parents[1] / "data" / "accuracy.jsonl"
CODE = ("core", "ensemble", "experiments", "search_spaces")
PEERS = ("autogluon", "autogluon, numbers", "autogluon, columns")
OWN = ("pricestack", "pricestack, columns", "pricestack, no fields")
SHOP = "id=sku,text=title+description,image=photo,price=final_price"
SEEDS = {2.0: 1, 5.0: 3, 10.0: 1}
"""Minutes to seeds; the first seed of all minutes comes before the second of any."""


@dataclass(frozen=True)
class Case:
    """One run. revision: of the code that is measured; AutoGluon's is its version."""

    tool: str
    catalog: str
    minutes: float
    seed: int
    encoder: str
    revision: str


def cases(arguments: argparse.Namespace, revisions: dict[str, str]) -> Iterator[Case]:
    tools = [(name, "") for name in PEERS] if arguments.autogluon else []
    tools += [(name, "") for name in OWN]
    tools += [("pricestack, encoder", arguments.text_encoder.name)] if arguments.text_encoder else []
    for seed in range(arguments.seeds or max(SEEDS.values())):
        for minutes in arguments.minutes:
            for catalog in arguments.sets if seed < (arguments.seeds or SEEDS.get(minutes, 1)) else []:
                yield from (
                    Case(tool, catalog, minutes, seed, encoder, revisions[tool])
                    for tool, encoder in tools
                    if tool in arguments.tools
                )


def run(case: Case, arguments: argparse.Namespace, scratch: Path) -> pd.DataFrame:
    """Its test prices."""
    folder = arguments.data / case.catalog
    catalog, seconds, out = [folder / "train.csv", folder / "test.csv"], 60 * case.minutes, scratch / "submission.csv"
    if shop := case.tool.endswith("columns"):
        catalog = write_shop_tables(catalog, scratch)
    if case.tool.startswith("autogluon"):
        script = Path(__file__).with_name("accuracy_autogluon.py")
        split = ["--numbers"] if case.tool.endswith("numbers") else ["--columns"] if shop else []
        commands = [[arguments.autogluon, script, *catalog, out, "--seconds", seconds, "--seed", case.seed, *split]]
    else:
        extra = ["--text-encoder", arguments.text_encoder] if case.encoder else []
        extra += ["--set", "labelled_fields=false"] if case.tool.endswith("no fields") else []
        extra += ["--columns", SHOP] if shop else []
        flags = ["--minutes", case.minutes, "--seed", case.seed, "--workspace", scratch, *extra, *arguments.extra]
        sweep = ["experiments.sweep", "all", "--train", catalog[0], "--test", catalog[1], *flags]
        commands = [[sys.executable, "-m", *command] for command in (sweep, ["ensemble.stack", "--workspace", scratch])]
    for command in commands:
        with (scratch / "log.txt").open("a") as log:
            subprocess.run(list(map(str, command)), check=True, stdout=log, stderr=log)
    return pd.read_csv(out, dtype={"sample_id": str})


def write_shop_tables(catalog: list[Path], folder: Path) -> list[Path]:
    """The files of the catalog rebuilt as a shop's tables."""
    frames = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in catalog]
    written = [folder / f"shop-{path.name}" for path in catalog]
    for frame, path in zip(rebuilt(frames), written, strict=True):
        frame.to_csv(path, index=False)
    return written


def measure(case: Case, arguments: argparse.Namespace, scratch: Path) -> dict[str, object]:
    start = time.perf_counter()
    with Lowest() as memory:
        answer = run(case, arguments, scratch)
    seconds = time.perf_counter() - start
    true = pd.read_csv(arguments.data / case.catalog / "test_prices.csv", dtype={"sample_id": str})
    terms = smape_terms(true.set_index("sample_id").loc[answer["sample_id"], "price"], answer["price"])
    found: dict[str, object] = {
        "smape": round(float(terms.mean()), 3), "standard_error": round(group_standard_error(terms), 3),
        "seconds": round(seconds, 1), "gib": round(memory.used / 2**30, 2),
    }  # fmt: skip
    if (stack := scratch / "stack.json").exists():
        found["nested"] = round(json.loads(stack.read_text())["nested"]["smape"], 3)
        found["members"] = len(list(scratch.glob("members/*/member.json")))
    return {**asdict(case), **found}


def read() -> pd.DataFrame:
    return pd.DataFrame(read_lines(RESULTS))


def table(done: pd.DataFrame) -> str:
    """The last revision's lines of each tool: means over the seeds, and ours relative to AutoGluon's."""
    latest = done.groupby("tool").revision.transform("last") == done.revision
    keys = ["catalog", "minutes", "tool", "encoder"]
    means = done[latest].groupby(keys)[["smape", "standard_error", "nested", "seconds", "gib"]].mean()
    means["seeds"] = done[latest].groupby(keys).size()
    rows = means.reset_index()
    places = pd.MultiIndex.from_frame(rows[["catalog", "minutes"]])
    digits = {"smape": 2, "standard_error": 2, "nested": 2, "seconds": 0, "gib": 1}
    for peer in sorted(set(rows.tool) & {"autogluon", "autogluon, columns"}):
        theirs = rows[rows.tool == peer].set_index(["catalog", "minutes"])["smape"]
        rows[f"to {peer}"] = rows["smape"].to_numpy() / theirs.reindex(places).to_numpy() - 1
        digits[f"to {peer}"] = 3
    return rows.round(digits).to_string()


def revision(arguments: argparse.Namespace) -> dict[str, str]:
    def said(*command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *CODE], check=False).returncode
    own = said("git", "log", "-1", "--format=%h", "--", *CODE) + ("+" if changed else "")
    found = dict.fromkeys((*OWN, "pricestack, encoder"), own)
    if arguments.autogluon:
        script = "import importlib.metadata as m; print(m.version('autogluon.tabular'))"
        found |= dict.fromkeys(PEERS, said(str(arguments.autogluon), "-c", script))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder of catalogs")
    parser.add_argument("--sets", nargs="+", default=["ikea", "whisky"])
    parser.add_argument("--autogluon", type=Path, help="python of AutoGluon's environment")
    parser.add_argument("--tools", nargs="+", default=["autogluon", "pricestack", "pricestack, encoder"])
    parser.add_argument("--text-encoder", type=Path, help="folder of an encoder for a second line of ours")
    parser.add_argument("--seeds", type=int, help="of all minutes (default: 3 at 5 minutes, 1 otherwise)")
    parser.add_argument("--minutes", nargs="+", type=float, default=[5.0, 2.0, 10.0])
    parser.add_argument("--keep", type=Path, help="keep the workspaces in this folder")
    parser.add_argument("--table", action="store_true", help="print the table only")
    arguments, arguments.extra = parser.parse_known_args()
    if not arguments.table:
        for case in cases(arguments, revision(arguments)):
            done = read()
            if len(done) and (done[list(asdict(case))] == list(asdict(case).values())).all(axis=1).any():
                continue
            with TemporaryDirectory() as temporary:
                name = "-".join(str(value) for value in asdict(case).values() if value != "")
                scratch = (arguments.keep or Path(temporary)) / name
                scratch.mkdir(parents=True, exist_ok=True)
                record = measure(case, arguments, scratch)
            add_line(RESULTS, record)
            print(record, flush=True)
    print(table(read()))


if __name__ == "__main__":
    main()
