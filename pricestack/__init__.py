"""Public Python interface: `PriceRegressor`, `sweep`, `stack`, `load_bundle`; the same code as the commands (docs/python.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.store.workspace import Workspace, default_folder

if TYPE_CHECKING:
    from ensemble.pipeline.result import StackResult
    from pricestack.regressor import PriceRegressor as PriceRegressor
    from serving.bundle.predictor import Predictor

__all__ = ["PriceRegressor", "load_bundle", "stack", "sweep"]


def sweep(architectures: str | Sequence[str] = "all", **options: Any) -> bool:
    """Runs a sweep; True if it came to its end, False if Ctrl-C stopped it.

    options: as the flags of `python -m experiments.sweep`, with underscores: `train="train.csv", minutes=10, memory="4GiB"`, and
    `settings=["dropout=0.1"]` for `--set`. Raises UserError for an unknown option, a bad value, and whatever the user can mend.
    """
    from experiments.run import sweep as run
    from experiments.sweep_config import SweepConfig

    return run(SweepConfig.of(architectures=architectures, **options))


def stack(workspace: str | Path | None = None, *, out: str | Path | None = None, **options: Any) -> StackResult:
    """Combines a workspace's members, writes its submission and returns the result; `.record["nested"]` is its nested score.

    workspace: `runs`, or PRICESTACK_WORKSPACE, if not given. out: the submission's path, if not in the workspace. options: as the
    flags of `python -m ensemble.stack`, with underscores: `methods=["mean", "single"], drop=["a"], seed=1`. Raises UserError for
    a folder that is no workspace or has no complete member.
    """
    from ensemble.stack import stack_workspace
    from ensemble.stack_options import StackConfig

    home = Workspace(default_folder() if workspace is None else Path(workspace))
    return stack_workspace(home, StackConfig.of(**options), out=None if out is None else Path(out))


def load_bundle(folder: str | Path) -> Predictor:
    """Opens a bundle; `.predict(catalog)` prices a catalog's rows. Raises UserError for a folder that is no bundle."""
    from serving.bundle.predictor import Predictor

    return Predictor(Path(folder))


def __getattr__(name: str) -> Any:
    """`PriceRegressor` once it is asked for: scikit-learn is a second that the commands' --help should not take."""
    if name == "PriceRegressor":
        from pricestack.regressor import PriceRegressor

        return PriceRegressor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
