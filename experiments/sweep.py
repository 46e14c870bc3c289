"""`python -m experiments.sweep`: search the architectures' spaces, cross-validate the best configs into members."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.cache import parse_size
from core.console import run
from core.workspace import default_folder
from experiments.options import ALL, FoldGroups, Options

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

EXAMPLES = """
Examples:

  python -m experiments.sweep multimodal                      the main job on the demo catalog

  python -m experiments.sweep multimodal --train train.csv --test test.csv --images images/

  python -m experiments.sweep all --train train.csv --test test.csv --minutes 10      whatever lowers the stack's error most

  python -m experiments.sweep all --minutes 10 --memory 4GiB --dry-run                what would ten minutes afford?

  python -m experiments.sweep lexical --grid --dry-run        what would an exhaustive search cost?

  python -m experiments.sweep text --text-encoder ./minilm --set dropout=0.1 --set loss=huber

Stopped with Ctrl-C, or killed? The same command goes on where it was. Then: python -m ensemble.stack
"""


@app.command(epilog=EXAMPLES)
def main(
    architectures: Annotated[
        list[str] | None, typer.Argument(help="text, multimodal, lexical, boosted, or all", show_default=ALL)
    ] = None,
    train: Annotated[Path | None, typer.Option(help="CSV: sample_id,catalog_content,image_link,price")] = None,
    test: Annotated[Path | None, typer.Option(help="CSV: sample_id,catalog_content,image_link")] = None,
    images: Annotated[Path | None, typer.Option(help="folder of pictures, named by the links' last part")] = None,
    workspace: Annotated[Path | None, typer.Option(help="folder that holds everything (runs)")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="different configs per architecture, in all runs (8)")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="time for everything, members included")] = None,
    members: Annotated[
        int | None,
        typer.Option(
            min=1, help="best configs per architecture to cross-validate (2; with --minutes as many as help the stack)"
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="k (5; 10 with 100 to 499 rows); made once per workspace")
    ] = None,
    fold_groups: Annotated[
        FoldGroups | None, typer.Option(help="keep rows of one product in one fold (auto: as the test file does)")
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="every point of the space, once")] = False,
    sampler: Annotated[str, typer.Option(help="tpe | random | grid | gp")] = "tpe",
    pruner: Annotated[str, typer.Option(help="asha | hyperband | median | none")] = "asha",
    seed: Annotated[int, typer.Option(help="of folds, samplers and trainings")] = 0,
    text_encoder: Annotated[
        str | None, typer.Option(help="hub name, folder, or auto neobert modernbert deberta-v3 rexbert tiny")
    ] = None,
    vision_encoder: Annotated[
        str | None, typer.Option(help="hub name, folder, or auto clip siglip tiny-vision")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="fix a setting (architecture.key=value for one)"),
    ] = None,
    space: Annotated[Path | None, typer.Option(help="YAML file with another search space")] = None,
    max_concurrent: Annotated[int | None, typer.Option(min=1, help="trainings at once")] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(min=0.5, help="cores for each worker of a training")] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0.0, help="GPUs for each worker of a training, or a share of one")
    ] = None,
    workers_per_trial: Annotated[
        int, typer.Option(min=1, help="processes that train one text or multimodal model together")
    ] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            help="sqlite:///FILE, postgresql+psycopg://USER@HOST/DB or a journal FILE (SQLite in the workspace)"
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="of a running Ray cluster, or auto (docs/cluster.md)")
    ] = None,
    storage_path: Annotated[
        str | None, typer.Option(metavar="URL", help="copies of trainings' states: a folder, s3://, gs:// ...")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="facts, space, plan and time; trains nothing")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="a new study; deletes nothing")] = False,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="drop bad training rows, with a count")] = False,
    cache_limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="of everything cached, e.g. 20GB (half of the free disk)")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="for everything that runs, e.g. 4GiB (what is free)")
    ] = None,
    tracking: Annotated[
        str | None,
        typer.Option(envvar="MLFLOW_TRACKING_URI", help="URL of an MLflow server (a file in the workspace)"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="warnings, errors and the closing summary only")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="one JSON object per event on stdout, all other text on stderr")
    ] = False,
) -> None:
    """Find, train and cross-validate price models: trials on the holdout fold, then members of the best configs."""
    options = Options(
        tuple(architectures or [ALL]), workspace or default_folder(), train, test, images, trials, minutes, members,
        folds, fold_groups, grid, sampler, pruner, seed, text_encoder, vision_encoder, tuple(settings or ()), space,
        max_concurrent, cpus_per_trial, gpus_per_trial, workers_per_trial, storage, address, storage_path, dry_run,
        fresh, drop_bad, None if cache_limit is None else parse_size(cache_limit, "--cache-limit"),
        None if memory is None else parse_size(memory, "--memory"), tracking, quiet, json,
    )  # fmt: skip
    from experiments.run import sweep  # Ray, torch and MLflow: seconds that --help should not take

    if not sweep(options):
        raise typer.Exit(130)


if __name__ == "__main__":
    run(app)
