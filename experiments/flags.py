"""The flags of `python -m experiments.sweep`; `experiments.common.options` is what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.common import options

Architectures = Annotated[
    list[str] | None, typer.Argument(help="text, multimodal, lexical, boosted, or all", show_default=options.ALL)
]
Train = Annotated[Path | None, typer.Option(help="CSV: sample_id,catalog_content,image_link,price")]
Test = Annotated[Path | None, typer.Option(help="CSV: sample_id,catalog_content,image_link")]
Images = Annotated[Path | None, typer.Option(help="folder of pictures, named by the links' last part")]
Workspace = Annotated[Path | None, typer.Option(help="folder that holds everything (runs)")]
Trials = Annotated[int | None, typer.Option(min=1, help="different configs per architecture, in all runs (8)")]
Minutes = Annotated[float | None, typer.Option(help="time for everything, members included")]
Members = Annotated[
    int | None,
    typer.Option(
        min=1, help="best configs per architecture to cross-validate (2; with --minutes as many as help the stack)"
    ),
]
Folds = Annotated[int | None, typer.Option(min=2, help="k (5; 10 with 100 to 499 rows); made once per workspace")]
FoldGroups = Annotated[
    options.FoldGroups | None, typer.Option(help="keep rows of one product in one fold (auto: as the test file does)")
]
Grid = Annotated[bool, typer.Option("--grid", help="every point of the space, once")]
Sampler = Annotated[str, typer.Option(help="tpe | random | grid | gp")]
Pruner = Annotated[str, typer.Option(help="asha | hyperband | median | none")]
Seed = Annotated[int, typer.Option(help="of folds, samplers and trainings")]
TextEncoder = Annotated[
    str | None, typer.Option(help="hub name, folder, or auto neobert modernbert deberta-v3 rexbert tiny")
]
VisionEncoder = Annotated[str | None, typer.Option(help="hub name, folder, or auto clip siglip tiny-vision")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="fix a setting (architecture.key=value for one)"),
]
Space = Annotated[Path | None, typer.Option(help="YAML file with another search space")]
MaxConcurrent = Annotated[int | None, typer.Option(min=1, help="trainings at once")]
CpusPerTrial = Annotated[float | None, typer.Option(min=0.5, help="cores for each worker of a training")]
GpusPerTrial = Annotated[
    float | None, typer.Option(min=0.0, help="GPUs for each worker of a training, or a share of one")
]
WorkersPerTrial = Annotated[int, typer.Option(min=1, help="processes that train one text or multimodal model together")]
Storage = Annotated[
    str | None,
    typer.Option(help="sqlite:///FILE, postgresql+psycopg://USER@HOST/DB or a journal FILE (SQLite in the workspace)"),
]
Address = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="of a running Ray cluster, or auto (docs/cluster.md)")
]
StoragePath = Annotated[
    str | None, typer.Option(metavar="URL", help="copies of trainings' states: a folder, s3://, gs:// ...")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="facts, space, plan and time; trains nothing")]
Fresh = Annotated[bool, typer.Option("--fresh", help="a new study; deletes nothing")]
DropBad = Annotated[bool, typer.Option("--drop-bad", help="drop bad training rows, with a count")]
CacheLimit = Annotated[
    str | None, typer.Option(metavar="SIZE", help="of everything cached, e.g. 20GB (half of the free disk)")
]
Memory = Annotated[str | None, typer.Option(metavar="SIZE", help="for everything that runs, e.g. 4GiB (what is free)")]
Tracking = Annotated[
    str | None,
    typer.Option(envvar="MLFLOW_TRACKING_URI", help="URL of an MLflow server (a file in the workspace)"),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="warnings, errors and the closing summary only")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object per event on stdout, all other text on stderr")]
