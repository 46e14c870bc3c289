"""`python -m experiments.sweep`: searches configs, then cross-validates the best into members."""

from __future__ import annotations

import psutil
import typer

from core.command_config import takes_flags
from core.console import run
from experiments.sweep_config import SweepConfig

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

HELP_ORDER = [
    "train", "test", "columns", "images", "workspace", "trials", "minutes", "members", "folds", "fold_groups", "grid",
    "sampler", "pruner", "seed", "text_encoder", "vision_encoder", "offline", "settings", "space", "preset", "max_concurrent",
    "cpus_per_trial", "gpus_per_trial", "workers_per_trial", "storage", "address", "storage_path", "dry_run",
    "fresh", "drop_bad", "ignore", "kinds", "sheet", "price_format", "cache_limit", "memory", "tracking", "quiet", "json",
]  # fmt: skip

EXAMPLES = """
Examples:

  python -m experiments.sweep multimodal                      the main job on the demo catalog

  python -m experiments.sweep multimodal --train train.csv --test test.csv --images images/

  python -m experiments.sweep all --train shop.csv --test new.csv --columns id=sku,text=title+description,price=final_price

  python -m experiments.sweep all --train train.csv --test test.csv --minutes 10      whatever lowers the stack's error most

  python -m experiments.sweep all --minutes 10 --memory 4GiB --dry-run                what would ten minutes afford?

  python -m experiments.sweep lexical --grid --dry-run        what would an exhaustive search cost?

  python -m experiments.sweep text --text-encoder ./minilm --set dropout=0.1 --set loss=huber

Stopped with Ctrl-C, or killed? The same command goes on where it was. Then: python -m ensemble.stack
"""


@app.command(epilog=EXAMPLES)
@takes_flags(SweepConfig, order=HELP_ORDER)
def main(config: SweepConfig) -> None:
    """Find, train and cross-validate price models: trials on the holdout fold, then members of the best configs."""
    from experiments.run import sweep  # Ray, torch and MLflow: seconds that --help should not take

    if not sweep(config, start=psutil.Process().create_time()):  # slow imports are part of the minutes
        raise typer.Exit(130)


if __name__ == "__main__":
    run(app)
