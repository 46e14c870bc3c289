"""Preparation of a workspace: reads and checks the catalog, makes folds, looks for leaks and label noise; done once."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.table import Table

from core.arrays import Floats
from core.console import console, progress, warn
from core.data.catalog_config import CatalogConfig, FoldGroups, PriceFormat, TableConfig, file_alone
from core.data.column_mapping import NATIVE, TableColumns, parse_columns, parse_kinds
from core.data.folds import catalog_links, make_folds
from core.data.price_scale import choose_scale
from core.data.reading import ReadResult, check_training_columns, read_catalogs
from core.data.vocabulary import read_vocabulary
from core.demo import make_demo
from core.errors import UserError, some
from core.fields.column_kinds import describe_columns, notes_on_asked_kinds
from core.formatting import amount
from core.inputs.images.files import check_images, few_images_note
from core.quality.column_leaks import find_column_leaks
from core.quality.label_noise import FILE, find_label_noise, summary, write_findings
from core.quality.leaks import LeakKind, find_leaks, has_few_prices, write_leak_notes
from core.store.workspace import Workspace, WorkspaceFacts, catalog_fingerprint
from experiments.planning.setup import default_folds
from experiments.search.search_config import SWEEP_PRESETS, SearchConfig
from experiments.sweep_config import SweepConfig

DEMO_ROWS = 2000

Say = Callable[[str], None]


def fill_workspace(workspace: Workspace, asked: CatalogConfig, seed: int, say: Say) -> None:
    """Puts the catalog and its folds into the workspace, or checks that they are what it holds. seed: of folds and demo catalog.

    Folds are made once, for the sake of what is trained on them: until there is a trial or a member, other files or folds
    replace those of, say, a dry run. Raises UserError for a catalog that cannot be read, and for a workspace whose work
    belongs to another catalog or other folds.
    """
    named = (asked.train, asked.folds, asked.fold_groups, asked.table) != (None, None, None, TableConfig())
    if asked.train is not None and asked.test is None:
        check_training_columns(asked.train, asked.table)
        raise file_alone("train")
    if workspace.exists and (workspace.has_work or not named):
        _check_same(workspace, asked, say)
        return
    train, test, images, columns = asked.train, asked.test, asked.images, None
    if workspace.exists and _same_files(workspace, asked):
        asked = _with_kept_format(workspace, asked, say)
    if (train is None or test is None) and workspace.exists:
        facts = workspace.facts
        train, test, images = Path(facts.train), Path(facts.test), Path(facts.images) if facts.images else None
        columns = _kept_columns(workspace, asked)
        if asked.table.columns is None and (mapping := workspace.table_columns.mapping) != NATIVE:
            asked = asked.model_copy(update={"table": asked.table.model_copy(update={"columns": mapping.flag})})
    if train is None or test is None:
        say(f"no catalog named and none in {workspace.folder}: making the demo catalog ({DEMO_ROWS:,} products)")
        with progress("demo catalog") as advance:
            demo = make_demo(workspace.path(f"demo-catalog-{seed}"), DEMO_ROWS, seed, advance)
        train, test, images = demo.train, demo.test, demo.images
    asked = asked.model_copy(update={"train": train, "test": test, "images": images})
    _create(workspace, asked, columns, seed, say)


def _same_files(workspace: Workspace, asked: CatalogConfig) -> bool:
    """True where no other files are named than the workspace's own."""
    facts = workspace.facts
    named = ((asked.train, facts.train), (asked.test, facts.test))
    return all(path is None or str(path.resolve()) == known for path, known in named)


def _with_kept_format(workspace: Workspace, asked: CatalogConfig, say: Say) -> CatalogConfig:
    """The options with the sheet and the price format by which the workspace's files were read, where none is asked for."""
    kept = _kept_format(workspace.facts)
    used = {name: value for name, value in kept.items() if value is not None and getattr(asked.table, name) is None}
    for name, value in used.items():
        say(f"{_flag(name)} {shlex.quote(value)}: kept from {workspace.folder}")
    if "price_format" in used:
        used["price_format"] = PriceFormat(used["price_format"])
    return asked.model_copy(update={"table": asked.table.model_copy(update=used)})


def _kept_format(facts: WorkspaceFacts) -> dict[str, str | None]:
    return {"sheet": facts.sheet, "price_format": facts.price_format}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _kept_columns(workspace: Workspace, asked: CatalogConfig) -> TableColumns | None:
    """The columns that the workspace's files were read by before there was work; None where others are asked for."""
    table = asked.table
    asked_for = (table.columns, table.ignore, table.kinds)
    return workspace.table_columns if asked_for == (None, None, None) else None


def folds_of_preset(workspace: Workspace, asked: SweepConfig) -> CatalogConfig:
    """The catalog's options with the folds of the preset, if one was asked for.

    Raises UserError where the workspace has work on other folds, with the command for a workspace of the preset's own.
    """
    search = asked.search
    if search.preset is None:
        return asked.catalog
    preset = SWEEP_PRESETS[search.preset]
    if workspace.exists and workspace.has_work:
        facts = workspace.facts
        if (facts.k, facts.fold_seed) != (preset.folds, preset.seed):
            seed = "a seed that was not recorded" if facts.fold_seed is None else f"seed {facts.fold_seed}"
            raise UserError(
                f"--preset {search.preset} is a split into {preset.folds} folds by seed {preset.seed}, but {workspace.folder} "
                f"has {facts.k} folds by {seed}: folds are made once",
                code="preset-other-folds",
                hint=f"give the preset a workspace of its own: {_own_workspace(workspace, search)}",
            )
    return asked.catalog.model_copy(update={"folds": preset.folds})


def _own_workspace(workspace: Workspace, search: SearchConfig) -> str:
    """The command that sweeps the workspace's catalog with the preset in another folder."""
    facts = workspace.facts
    flags = {
        "--preset": search.preset,
        "--workspace": f"{workspace.folder}-{search.preset}",
        "--train": facts.train,
        "--test": facts.test,
        "--images": facts.images,
        "--text-encoder": search.text_encoder,
        "--vision-encoder": search.vision_encoder,
    }
    words = [word for flag, value in flags.items() if value is not None for word in (flag, value)]
    words += [word for each in search.settings for word in ("--set", each)]
    return shlex.join(["python", "-m", "experiments.sweep", *search.names(), *words])


def _create(workspace: Workspace, asked: CatalogConfig, columns: TableColumns | None, seed: int, say: Say) -> None:
    assert asked.train is not None and asked.test is not None, "the files are known by now"
    read = _read(asked.train, asked.test, asked, columns, say)
    train, test = read.train, read.test
    columns = replace(read.columns, fields=describe_columns(train, read.columns.fields))
    for note in notes_on_asked_kinds(train, columns.fields):
        say(note)
    show_columns(columns, say)
    mode: FoldGroups = asked.fold_groups or "auto"
    links, words = catalog_links(train, test), read_vocabulary([*train.texts, *test.texts])
    k = asked.folds or default_folds(len(train))
    folds, report = make_folds(train, test, k=k, seed=seed, fold_groups=mode, links=links)
    say(report.sentence)
    if note := _few_prices(train.known_prices):
        say(note)
    leaks = find_column_leaks(train, columns.fields, folds)
    leaks += [
        leak for leak in find_leaks(train, test, folds, words) if not (leaks and leak.kind is LeakKind.NUMBER)
    ]  # a number behind the column's name would be the same finding
    for leak in leaks:
        say(leak.note)
    labels = find_label_noise(train.with_groups(folds.groups), links.among(np.arange(len(train))), words)
    for line in summary(labels, workspace.path(FILE)):
        say(line)
    facts = WorkspaceFacts(
        str(asked.train.resolve()),
        str(asked.test.resolve()),
        None if asked.images is None else str(asked.images.resolve()),
        catalog_fingerprint(train, test),
        folds.hash,
        folds.k,
        mode,
        folds.mode,
        {"test": report.test_overlap, "random": report.random_overlap, "folds": report.fold_overlap},
        labelled_fields=True,
        fold_seed=seed,
        columns=columns.record(),
        scale=choose_scale(train.known_prices),
        sheet=asked.table.sheet,
        price_format=asked.table.price_format,
    )
    write_leak_notes(workspace, leaks)  # before the workspace counts as made
    write_findings(workspace.path(FILE), labels)
    workspace.save_test_prices(read.test_prices)
    workspace.create(train, test, folds, facts)


def _few_prices(prices: Floats) -> str:
    """Note on a catalog with one or two different prices; "" for others."""
    if not has_few_prices(prices):
        return ""
    known = " and ".join(map(amount, np.unique(prices)))
    return f"all training prices are {known}: there is nearly nothing to learn, and no leak is looked for"


def show_columns(columns: TableColumns, say: Say) -> None:
    """Prints the mapping and a table of the columns that became fields; nothing for a native table."""
    if columns == TableColumns():
        return
    say(f"columns: {columns.mapping.flag}")
    if not columns.fields:
        return
    table = Table(title="columns read as fields", title_justify="left")
    for heading in ("column", "type", "missing", "example"):
        table.add_column(heading, justify="right" if heading == "missing" else "left")
    for each in columns.fields:
        table.add_row(each.name, each.kind, f"{each.missing:.0%}", each.example)
    console.print(table)


def _read(
    train: Path, test: Path, asked: CatalogConfig, columns: TableColumns | None, say: Say, *, apart: bool = True
) -> ReadResult:
    """Both catalogs, their images checked; raises UserError for what is wrong with either.

    apart: a row has no link where links to other pictures name its file too; earlier versions kept it.
    """
    read = read_catalogs(train, test, asked.images, drop_bad=asked.drop_bad, table=asked.table, columns=columns)
    for note in read.notes:
        say(note)
    if asked.images is None:
        return read
    catalogs = []
    for role, catalog, other in (("train", read.train, read.test), ("test", read.test, read.train)):
        with progress(f"{role} images") as advance:
            report = check_images(catalog, role, beside=other.image_paths, drop_bad=asked.drop_bad, progress=advance)
        say(f"{role}: {report.note}")
        if note := few_images_note(report, catalog, (train if role == "train" else test).name):
            warn(note)
            if any(link.lstrip('["').startswith(("http://", "https://")) for link in catalog.links):
                columns_flag = f" --columns {shlex.quote(asked.table.columns)}" if asked.table.columns else ""
                files = f"--train {shlex.quote(str(train))} --test {shlex.quote(str(test))}"
                say(f"  python -m core.images fetch {files} --images {shlex.quote(str(asked.images))}{columns_flag}")
        catalogs.append(report.without_bad(catalog, without_shared=apart))
    return replace(read, train=catalogs[0], test=catalogs[1])


def _check_same(workspace: Workspace, asked: CatalogConfig, say: Say) -> None:
    facts = workspace.facts
    hint = "use another folder with --workspace"
    if asked.folds is not None and asked.folds != facts.k:
        raise UserError(
            f"{workspace.folder} has {facts.k} folds, not {asked.folds}: folds are made once",
            code="workspace-other-folds",
            hint=hint,
        )
    if asked.fold_groups is not None and asked.fold_groups != facts.fold_groups:
        raise UserError(
            f"{workspace.folder} was made with --fold-groups {facts.fold_groups}, not {asked.fold_groups}",
            code="workspace-other-fold-groups",
            hint=hint,
        )
    _check_same_format(workspace, asked)
    columns = workspace.table_columns
    _check_same_columns(workspace, columns, asked)
    if asked.train is None or asked.test is None:
        say(f"catalog of {workspace.folder}: {facts.train}")
        return
    asked = _with_kept_format(workspace, asked, lambda _: None)
    assert asked.train is not None and asked.test is not None, "both are named by now"
    reads = (_read(asked.train, asked.test, asked, columns, lambda _: None, apart=apart) for apart in (True, False))
    if not any(catalog_fingerprint(read.train, read.test) == facts.catalog for read in reads):
        raise UserError(
            f"{workspace.folder} holds another catalog: it was made from {facts.train} and {facts.test}, "
            f"not from {asked.train} and {asked.test} (or these files have changed since)",
            code="workspace-other-catalog",
            hint=f"{hint}; one workspace holds one catalog, so that its members can be mixed",
        )
    images = None if asked.images is None else str(asked.images.resolve())
    if images is not None and images != facts.images:
        raise UserError(
            f"{workspace.folder} was made with images from {facts.images}, not {images}",
            code="workspace-other-images",
            hint=hint,
        )


def _check_same_format(workspace: Workspace, asked: CatalogConfig) -> None:
    """Refuses another format than the kept one; where none is, in older workspaces too, the rows of named files decide."""
    for name, kept in _kept_format(workspace.facts).items():
        given = getattr(asked.table, name)
        if given is not None and given != kept and (kept is not None or asked.train is None):
            made = f"with {_flag(name)} {shlex.quote(kept)}" if kept else f"without {_flag(name)}"
            raise UserError(
                f"{workspace.folder} was made {made}, not with {shlex.quote(given)}: files are read in one way",
                code="workspace-other-format-flag",
                hint=f"leave {_flag(name)} out, or use another folder with --workspace",
            )


def _check_same_columns(workspace: Workspace, columns: TableColumns, asked: CatalogConfig) -> None:
    table = asked.table
    other = table.columns is not None and parse_columns(table.columns) != columns.mapping
    used = [each.name for each in columns.fields if each.name in table.ignored]
    kept = {each.name: each.kind for each in columns.fields}
    kinds = parse_kinds(table.kinds or "")
    retyped = [f"{name} as {kept.get(name, 'no field')}" for name, kind in kinds.items() if kept.get(name) is not kind]
    if other or used or retyped:
        what = (
            f"reads {some(used or retyped)}" if used or retyped else f"was made with --columns {columns.mapping.flag}"
        )
        raise UserError(
            f"{workspace.folder} {what}: columns are chosen once",
            code="workspace-other-columns",
            hint="use another folder with --workspace",
        )
