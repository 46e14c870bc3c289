"""`python -m ensemble.stack`: combines members' out-of-fold predictions and writes the submission."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from core.command_config import takes_flags
from core.console import console, progress, run, say, warn
from core.data.price_scale import to_units
from core.errors import UserError
from core.formatting import amount
from core.store.workspace import Workspace, default_folder
from ensemble.methods.method_registry import BLEND, METHODS
from ensemble.stack_options import StackCommandConfig, StackConfig
from reports.build import build_report

if TYPE_CHECKING:  # what computes is imported when there is something to compute, so that --help answers at once
    from core.arrays import Floats
    from ensemble.matrix.matrix import Matrix
    from ensemble.pipeline.nested_cv import Progress
    from ensemble.pipeline.result import Paths, StackResult

SUBMISSION = "submission.csv"
_BESIDE = ("stack.json", "timings.json", "stack_oof.parquet")
_HELP = (
    """
Combines members' predictions into one submission with the lowest SMAPE on unseen rows, and reports its nested-CV score.

Examples:

  python -m ensemble.stack

  python -m ensemble.stack --workspace runs --out submission.csv

  python -m ensemble.stack --oof oof.parquet --test test.parquet --out sub.csv --groups brand

  python -m ensemble.stack --methods single,simplex-log,affine

Without --oof and --test it takes every complete member of the workspace. The two tables (CSV, Parquet, ...) have a column
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
    workspace: Workspace, config: StackConfig | None = None, *, out: Path | None = None, report: Progress | None = None
) -> StackResult:
    """Stacks the complete members of a workspace and writes its submission, `stack.json`, `timings.json`, `stack_oof.parquet`
    and the fitted stack in the folder `stack`. out: the submission's path, if not in the workspace. report: called with (fits
    done, of how many).

    Raises UserError for a folder that is no workspace, has no complete member or holds members of other data.
    """
    from ensemble.matrix.matrix import from_workspace
    from ensemble.pipeline.result import Paths
    from ensemble.pipeline.serialization import STACK

    config = config or StackConfig()
    start = time.perf_counter()
    _ = workspace.facts  # a folder that is no workspace is not written into
    workspace.check_writable()
    matrix = from_workspace(workspace, config.screening)
    paths = Paths(out or workspace.path(SUBMISSION), *map(workspace.path, (*_BESIDE, STACK)))
    return _stack(matrix, paths, config, start, report, workspace.test_prices())


def stack_files(
    oof: Path, test: Path, config: StackConfig | None = None, *, out: Path, report: Progress | None = None
) -> StackResult:
    """Stacks predictions made anywhere; the other files go beside `out` under its name (`sub.stack.json`, ...).

    Raises UserError for tables that are not as they must be.
    """
    from ensemble.matrix.external_predictions import FoldSplit, from_files
    from ensemble.pipeline.result import Paths

    config = config or StackConfig()
    start = time.perf_counter()
    if out.resolve() in (oof.resolve(), test.resolve()):
        raise UserError(
            f"--out {out} is one of the inputs", code="stack-out-is-input", hint="name another file with --out"
        )
    matrix = from_files(
        oof,
        test,
        split=FoldSplit(config.folds, config.seed),
        groups=config.groups,
        features=config.features,
        rules=config.screening,
        table=config.table,
    )
    others = (out.with_name(f"{out.stem}.{name}") for name in _BESIDE)
    return _stack(matrix, Paths(out, *others), config, start, report)


def _stack(
    matrix: Matrix,
    paths: Paths,
    config: StackConfig,
    start: float,
    report: Progress | None,
    test_prices: Floats | None = None,
) -> StackResult:
    """test_prices: of the test file, where they are known: for a score of what was chosen without them."""
    from ensemble.pipeline.nested_cv import no_progress, validate
    from ensemble.pipeline.result import StackResult, make_record, score_of_test, write_files
    from ensemble.pipeline.submission import check_place, write_submission

    check_place(paths.submission)
    read = time.perf_counter()
    validation = validate(matrix, config.seed, report or no_progress, methods=config.methods)
    test = to_units(validation.final.predict(matrix.test_rows), matrix.scale)
    record = make_record(matrix, validation, config.seed)
    if test_prices is not None:
        record["test"] = score_of_test(test_prices, test)
    chosen = time.perf_counter()
    write_submission(paths.submission, matrix.test_ids, test)
    seconds = {"reading": read - start, "choosing": chosen - read, "total": time.perf_counter() - start}
    result = StackResult(record, matrix, validation, test, paths, seconds)
    write_files(result)
    return result


@app.command(help=_HELP)
@takes_flags(StackCommandConfig)
def main(command: StackCommandConfig) -> None:
    home = None
    with progress("combining") as report:
        if command.oof is not None and command.test is not None:
            out = command.out or Path(SUBMISSION)
            result = stack_files(command.oof, command.test, command.stack, out=out, report=report)
        else:
            home = Workspace(command.workspace or default_folder())
            result = stack_workspace(home, command.stack, out=command.out, report=report)
    for note in result.matrix.notes:
        warn(f"note: {note}")
    page = None if home is None else build_report(home)
    if command.quiet:
        say(str(result.paths.submission))
        return
    show(result)
    if home is not None:
        say(f"report:     {page}")
        say(f"workspace:  {home.folder}")


def show(result: StackResult) -> None:
    """Prints the table of members and candidates, the nested-CV score and the paths."""
    record, seconds = result.record, result.matrix.seconds
    table = Table(title="out-of-fold scores", title_justify="left")
    for heading in ("member", "SMAPE", "± s.e.", "MAE", "RMSE", "R²", "weight", "seconds"):
        table.add_column(heading, justify="left" if heading == "member" else "right", no_wrap=heading != "member")
    for member in sorted(record["members"], key=lambda each: each["oof"]["smape"]):
        name = member["name"]
        spent = f"{seconds[name]:.1f}" if name in seconds else "–"
        table.add_row(name, *_figures(member["oof"]), f"{member['weight']:.3f}", spent)
    table.add_section()
    for each in record["candidates"]:
        scores = {**each["metrics"], "standard_error": each["standard_error"]}
        chosen = "chosen" if each["name"] == record["choice"]["name"] else ""
        table.add_row(f"stack: {each['name']}", *_figures(scores), chosen, "")
    table.add_section()
    floor = record["floor"]
    table.add_row(f"constant floor ({amount(floor['price'])})", f"{floor['smape']:.2f}", *[""] * 6)
    table.add_row("stack, nested", *_figures(record["nested"]), "", f"{result.seconds['total']:.1f}", style="bold")
    console.print(table)
    low, high = result.interval
    say(
        f"nested SMAPE {result.nested_smape:.2f} ± {result.standard_error:.2f}, 95% interval {low:.2f} to {high:.2f} "
        f"(on the rows it was fitted to: {record['in_sample']['smape']:.2f}, optimism {record['optimism']:.2f})"
    )
    if "test" in record:
        scored = record["test"]
        say(
            f"test SMAPE {scored['smape']:.2f} ± {scored['standard_error']:.2f} on the {scored['rows']:,} test rows "
            "whose price is known: nothing was chosen by it"
        )
    say(f"chosen: {_choice(record)}")
    if not_tried := record["choice"]["not_tried"]:
        say(f"not tried, for want of members, rows or groups: {', '.join(not_tried)}")
    for what, path in vars(result.paths).items():
        if path is not None:
            say(f"{what + ':':<12}{path}")


def _choice(record: dict[str, Any]) -> str:
    """The candidate, what a blend is made of, and the post-processing steps that were kept."""
    name = record["choice"]["name"]
    parts = [f"{each['share']:.0%} {each['name']}" for each in record["combination"]]
    steps = [each["name"] for each in record["steps"] if each["kept"]]
    return name + (f" ({', '.join(parts)})" if len(parts) > 1 else "") + (f", then {', '.join(steps)}" if steps else "")


def _figures(scores: dict[str, float]) -> list[str]:
    formats = {"smape": ".2f", "standard_error": ".2f", "mae": ",.2f", "rmse": ",.2f", "r2": ".3f"}
    shown = {name: amount if name in ("mae", "rmse") else format for name in formats}
    return [shown[name](scores[name], form) for name, form in formats.items()]


if __name__ == "__main__":
    run(app)
