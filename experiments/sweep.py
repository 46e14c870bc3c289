"""`python -m experiments.sweep`: search the architectures' spaces, cross-validate the best configs into members."""

from __future__ import annotations

import typer

from core.cache import parse_size
from core.console import run
from core.store.workspace import default_folder
from experiments import flags
from experiments.common.options import ALL, Options

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
    architectures: flags.Architectures = None,
    train: flags.Train = None,
    test: flags.Test = None,
    images: flags.Images = None,
    workspace: flags.Workspace = None,
    trials: flags.Trials = None,
    minutes: flags.Minutes = None,
    members: flags.Members = None,
    folds: flags.Folds = None,
    fold_groups: flags.FoldGroups = None,
    grid: flags.Grid = False,
    sampler: flags.Sampler = "tpe",
    pruner: flags.Pruner = "asha",
    seed: flags.Seed = 0,
    text_encoder: flags.TextEncoder = None,
    vision_encoder: flags.VisionEncoder = None,
    settings: flags.Settings = None,
    space: flags.Space = None,
    max_concurrent: flags.MaxConcurrent = None,
    cpus_per_trial: flags.CpusPerTrial = None,
    gpus_per_trial: flags.GpusPerTrial = None,
    workers_per_trial: flags.WorkersPerTrial = 1,
    storage: flags.Storage = None,
    address: flags.Address = None,
    storage_path: flags.StoragePath = None,
    dry_run: flags.DryRun = False,
    fresh: flags.Fresh = False,
    drop_bad: flags.DropBad = False,
    cache_limit: flags.CacheLimit = None,
    memory: flags.Memory = None,
    tracking: flags.Tracking = None,
    quiet: flags.Quiet = False,
    json: flags.Json = False,
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
