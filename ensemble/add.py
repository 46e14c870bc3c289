"""`python -m ensemble.add`: imports predictions made elsewhere as a member of a workspace."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from core.arrays import Floats
from core.console import WorkspaceOption, run, say, warn
from core.data.catalog import ID, PRICE, Catalog, Strings
from core.data.catalog_config import FileFormatConfig, PriceFormat
from core.data.folds import Folds
from core.data.price_scale import to_scale
from core.errors import UserError, some, suggestion
from core.metrics import METRICS
from core.store.oof_store import EXTERNAL, Member, PredictionStore
from core.store.workspace import Workspace, default_folder
from ensemble.matrix.screening import PRICE_HINT, Column, Targets, describe_missing, no_prices, unit_hint

if TYPE_CHECKING:  # reading tables is imported when there is one to read
    from ensemble.matrix.external_predictions import PredictionTable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_HELP = """
Imports predictions made outside into a workspace as member NAME, to be stacked with the others.

Examples:

  python -m ensemble.add deberta --oof oof.csv --test test.csv

  python -m ensemble.add deberta --oof oof.parquet --test test.parquet --column prediction --workspace runs --replace

The tables (CSV, Parquet, JSON Lines or Excel) have the column sample_id, with exactly the ids of the workspace's catalog in
any order, and a column of prices in currency units: --column, else the one named NAME, else the only one. Bring out-of-fold
prices: those of a model for rows that it was trained on are worth nothing.
"""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class MemberTables:
    """Two tables with one member's predictions. column: its name in both, or None: found by the member's name.

    format: sheet and price format of both.
    """

    oof: Path
    test: Path
    column: str | None = None
    format: FileFormatConfig = field(default_factory=FileFormatConfig)


def add_member(workspace: Workspace, name: str, source: MemberTables, *, replace: bool = False) -> Member:
    """Imports a member. Nothing is written unless everything is right, and then all at once.

    replace: take the place of an external member of that name. Raises UserError for names that are none or taken, ids that
    are not the catalog's, and values that are no prices; missing prices are allowed.
    """
    facts, store = workspace.facts, workspace.store
    _check_name(name, store, replace)
    train, test = workspace.train_in_units, workspace.test
    oof_prices, oof_notes = _read(source.oof, name, source, train.ids, "training")
    test_prices, test_notes = _read(source.test, name, source, test.ids, "test")
    column = Column(name, oof_prices, test_prices, external=True)
    targets = Targets(train.ids, train.known_prices, workspace.folds.groups, test.ids)
    hint = unit_hint(column, targets)
    for path, values, ids in ((source.oof, oof_prices, train.ids), (source.test, test_prices, test.ids)):
        if listed := no_prices(values, ids):
            raise UserError(
                f"{path} has values that are no prices, by the catalog's rows: {listed}",
                code="add-bad-prices",
                hint=f"{PRICE_HINT}{f'; here, {hint}' if hint else ''}",
            )
        if np.isnan(values).all():
            raise UserError(
                f"{path} has no price at all for {name}",
                code="add-no-price",
                hint="give prices in the column that is read",
            )
    oof, test_rows = to_scale(oof_prices, facts.scale), to_scale(test_prices, facts.scale)
    record: dict[str, Any] = {
        "id": name,
        "architecture": EXTERNAL,
        "folds": EXTERNAL,
        "catalog": facts.catalog,
        "fingerprint": Column(name, oof, test_rows).fingerprint,
        "settings": {},
        "origin": {"oof": source.oof.name, "test": source.test.name, "column": source.column},
        "notes": [note for note in (*oof_notes, *test_notes, describe_missing(column, targets), hint) if note],
        **_scores(train, workspace.folds, oof_prices),
    }
    member = Member(name, oof, test_rows, record)
    workspace.check_writable()
    _write(member, workspace)
    return member


def _check_name(name: str, store: PredictionStore, replace: bool) -> None:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be a member's name",
            code="add-bad-name",
            hint="use letters, digits, - _ and . only, beginning with a letter or a digit, at most 100 of them",
        )
    if not store.has_member(name):
        if (store.folder / name).exists():
            raise UserError(
                f"{store.folder / name} is there already: a member in the making",
                code="add-unfinished-member",
                hint="give another name",
            )
        return
    if store.read(name).record["folds"] != EXTERNAL:
        raise UserError(
            f"member {name} was trained here and is not replaced", code="add-trained-here", hint="give another name"
        )
    if not replace:
        raise UserError(
            f"member {name} is there already",
            code="add-name-taken",
            hint="give another name, or --replace to take its place",
        )


def _read(path: Path, name: str, source: MemberTables, ids: Strings, kind: str) -> tuple[Floats, list[str]]:
    """(n,) prices in the order of `ids`, and notes on how the file was read."""
    from ensemble.matrix.external_predictions import read_ids, read_numbers, read_table

    table = read_table(path, source.format)
    found = read_ids(table)
    check_ids(found, ids, path, kind)
    prices = read_numbers(table, _column(table, name, source.column))
    places = {sample: place for place, sample in enumerate(found)}
    return prices[[places[sample] for sample in ids]], table.notes


def check_ids(found: Collection[str], ids: Collection[str], path: Path, kind: str) -> None:
    """Raises UserError naming the first ids that are in the catalog's rows or in the file alone."""
    there, wanted = set(found), set(ids)
    missing, extra = [each for each in ids if each not in there], [each for each in found if each not in wanted]
    parts = [f"{len(missing)} missing: {some(missing)}"] if missing else []
    parts += [f"{len(extra)} not in the catalog: {some(extra)}"] if extra else []
    if parts:
        raise UserError(
            f"{path} has other {ID} than the {len(ids)} {kind} rows of the workspace: {'; '.join(parts)}",
            code="add-other-ids",
            hint=f"give one line for each {kind} row, its price empty where there is none; --oof takes the training rows, "
            "--test the test rows",
        )


def _column(table: PredictionTable, name: str, column: str | None) -> str:
    path = table.path
    known = [str(each) for each in table.frame.columns if each != ID]
    if column is not None:
        if column not in known:
            raise UserError(
                f"{path} has no column {column!r}", code="add-missing-column", hint=suggestion(column, known)
            )
        return column
    if name in known:
        return name
    left_out = table.not_predictions([ID])
    known = [each for each in known if each not in left_out]
    others = [each for each in known if each != PRICE] or known
    if len(others) == 1:
        return others[0]
    raise UserError(
        f"{path} has {len(others) or 'no'} columns that could be the prices of {name}",
        code="add-column-unclear",
        hint=f"name one with --column; {suggestion(name, others)}" if others else f"add one beside {ID}",
    )


def _scores(train: Catalog, folds: Folds, oof: Floats) -> dict[str, Any]:
    """The record's figures, over the rows that have a price."""
    from reports.figures.member_figures import by_fold, scores

    found = scores(train.known_prices, oof, folds.groups)
    return {
        "metrics": {name: found[name] for name in METRICS},
        "standard_error": found["standard_error"],
        "fold_smape": by_fold(train.known_prices, oof, folds),
    }


def _write(member: Member, workspace: Workspace) -> None:
    """Makes the folder aside and puts it into place: a reader sees the old member, none, or the new one."""
    place = workspace.store.folder / member.id
    place.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace.folder, prefix=".add-") as aside:
        made = PredictionStore(Path(aside))
        made.write_member(member)
        if place.exists():
            place.rename(Path(aside) / "replaced")
        (made.folder / member.id).rename(place)


@app.command(help=_HELP)
def main(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The member's name: letters, digits, - _ and .")],
    oof: Annotated[Path, typer.Option(help="Prices of the training rows, out of fold.")],
    test: Annotated[Path, typer.Option(help="Prices of the test rows.")],
    column: Annotated[
        str | None, typer.Option(help="The column of prices.", show_default="NAME, or the only one")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of Excel files.", show_default="the first")] = None,
    price_format: Annotated[
        PriceFormat | None, typer.Option(help="How prices are written.", show_default="found by the column")
    ] = None,
    workspace: WorkspaceOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of an imported member of that name.")
    ] = False,
) -> None:
    home = Workspace(workspace or default_folder())
    tables = MemberTables(oof, test, column, FileFormatConfig(sheet=sheet, price_format=price_format))
    member = add_member(home, name, tables, replace=replace)
    for note in member.record["notes"]:
        warn(f"note: {note}")
    figures, error = member.record["metrics"], member.record["standard_error"]
    spread = "" if error is None else f" ± {error:.2f}"
    known = int((~np.isnan(member.oof)).sum())
    say(f"member {name}: {len(member.oof)} training and {len(member.test)} test rows")
    say(f"SMAPE {figures['smape']:.2f}{spread} on {known} training rows, as given; its folds are not known")
    say(f"next:   python -m ensemble.stack --workspace {shlex.quote(str(home.folder))}")


if __name__ == "__main__":
    run(app)
