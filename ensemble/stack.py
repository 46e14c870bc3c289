"""`python -m ensemble.stack`: combines members' out-of-fold predictions and writes the submission."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from core.console import progress, run, say, warn
from core.errors import UserError
from core.store.workspace import Workspace, default_folder
from ensemble import stack_options as option
from ensemble.matrix.screening import MAX_MISSING, Rules
from ensemble.methods.method_registry import BLEND, METHODS, check_methods
from ensemble.pipeline.cli_output import show
from reports.build import build_report

if TYPE_CHECKING:  # what computes is imported when there is something to compute, so that --help answers at once
    from ensemble.matrix.matrix import Matrix
    from ensemble.pipeline.nested_cv import Tell
    from ensemble.pipeline.result import Paths, StackResult

SUBMISSION = "submission.csv"
_HELP = (
    """
Combines members' predictions into one submission with the lowest SMAPE on rows nobody has seen, and says how low.

Examples:

  python -m ensemble.stack

  python -m ensemble.stack --workspace runs --out submission.csv

  python -m ensemble.stack --oof oof.parquet --test test.parquet --out sub.csv --groups brand

  python -m ensemble.stack --methods single,simplex-log,affine

Without --oof and --test it takes every complete member of the workspace. The two tables (CSV or Parquet) have a column
sample_id and one column of prices per member; the out-of-fold table has the true price in the column price.

Ways to combine, for --methods:
"""
    + f"""
\b
{BLEND:<16}weights >= 0 on what the others make of the members
{chr(10).join(f"{name:<16}{method.summary}" for name, method in METHODS.items())}
"""
)

app = typer.Typer(add_completion=False)


def stack_workspace(
    workspace: Workspace,
    *,
    out: Path | None = None,
    methods: Sequence[str] | None = None,
    seed: int = 0,
    rules: Rules | None = None,
    tell: Tell | None = None,
) -> StackResult:
    """Stacks the complete members of a workspace and writes its submission, `stack.json`, `timings.json`, `stack_oof.parquet`
    and the fitted stack in the folder `stack`. out: where the submission goes, if not into the workspace. methods: the only
    ones to try, of `ensemble.methods.method_registry`. rules: which members to take. tell: called with (fits done, of how many).

    Raises UserError for a folder that is no workspace, has no complete member or holds members of other data.
    """
    from ensemble.matrix.matrix import from_workspace
    from ensemble.pipeline.result import Paths
    from ensemble.pipeline.serialization import STACK

    start = time.perf_counter()
    _ = workspace.facts  # a folder that is no workspace is not written into
    workspace.check_writable()
    matrix = from_workspace(workspace, rules)
    paths = Paths(
        out or workspace.path(SUBMISSION),
        workspace.path("stack.json"),
        workspace.path("timings.json"),
        workspace.path("stack_oof.parquet"),
        workspace.path(STACK),
    )
    return _stack(matrix, paths, methods, seed, start, tell)


def stack_files(
    oof: Path,
    test: Path,
    *,
    out: Path,
    folds: int | None = None,
    groups: str | None = None,
    features: Sequence[str] = (),
    methods: Sequence[str] | None = None,
    seed: int = 0,
    rules: Rules | None = None,
    tell: Tell | None = None,
) -> StackResult:
    """Stacks predictions made anywhere; the other files go beside `out` under its name (`sub.stack.json`, ...).

    Raises UserError for tables that are not as they must be.
    """
    from ensemble.matrix.external_predictions import from_files
    from ensemble.pipeline.result import Paths

    start = time.perf_counter()
    if out.resolve() in (oof.resolve(), test.resolve()):
        raise UserError(
            f"--out {out} is one of the inputs", code="stack-out-is-input", hint="name another file with --out"
        )
    matrix = from_files(oof, test, folds=folds, groups=groups, features=features, seed=seed, rules=rules)
    others = (out.with_name(f"{out.stem}.{name}") for name in ("stack.json", "timings.json", "stack_oof.parquet"))
    return _stack(matrix, Paths(out, *others), methods, seed, start, tell)


def _stack(
    matrix: Matrix, paths: Paths, methods: Sequence[str] | None, seed: int, start: float, tell: Tell | None
) -> StackResult:
    from ensemble.pipeline.nested_cv import tell_nobody, validate
    from ensemble.pipeline.result import StackResult, make_record, write_files
    from ensemble.pipeline.submission import check_place, write_submission

    check_place(paths.submission)
    read = time.perf_counter()
    validation = validate(matrix, seed, tell or tell_nobody, methods=methods)
    test = validation.final.predict(matrix.test_rows)
    record = make_record(matrix, validation, seed)
    chosen = time.perf_counter()
    write_submission(paths.submission, matrix.test_ids, test)
    seconds = {"reading": read - start, "choosing": chosen - read, "total": time.perf_counter() - start}
    result = StackResult(record, matrix, validation, test, paths, seconds)
    write_files(result)
    return result


@app.command(help=_HELP)
def main(
    workspace: option.Workspace = None,
    oof: option.Oof = None,
    test: option.Test = None,
    out: option.Out = None,
    folds: option.Folds = None,
    groups: option.Groups = None,
    features: option.Features = None,
    drop: option.Drop = None,
    keep: option.Keep = None,
    max_missing: option.MaxMissing = MAX_MISSING,
    methods: option.Methods = None,
    seed: option.Seed = 0,
    quiet: option.Quiet = False,
) -> None:
    option.check_together(workspace=workspace, oof=oof, test=test, for_tables=(folds, groups, features))
    rules = Rules(max_missing, tuple(drop or ()), tuple(keep or ()))
    tried = None if methods is None else check_methods([name.strip() for name in methods.split(",")])
    home = None
    with progress("combining") as tell:
        if oof is not None and test is not None:
            result = stack_files(
                oof,
                test,
                out=out or Path(SUBMISSION),
                folds=folds,
                groups=groups,
                features=features or (),
                methods=tried,
                seed=seed,
                rules=rules,
                tell=tell,
            )
        else:
            home = Workspace(workspace or default_folder())
            result = stack_workspace(home, out=out, methods=tried, seed=seed, rules=rules, tell=tell)
    for note in result.matrix.notes:
        warn(f"note: {note}")
    page = None if home is None else build_report(home)
    if quiet:
        say(str(result.paths.submission))
        return
    show(result)
    if home is not None:
        say(f"report:     {page}")
        say(f"workspace:  {home.folder}")


if __name__ == "__main__":
    run(app)
