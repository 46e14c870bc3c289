"""Bundle builder: assembles a bundle from a workspace with its model card, and compares its prices before it counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core.architectures import architecture
from core.arrays import save_arrays
from core.atomic_files import write_json, write_text
from core.classical.frozen_encoder import SETTING
from core.errors import UserError
from core.fields.field_selection import learn_labelled_fields
from core.formatting import amount
from core.metrics import constant_floor
from core.store.oof_store import EXTERNAL
from core.store.workspace import Workspace
from ensemble.pipeline.nested_cv import Progress
from ensemble.pipeline.serialization import save
from serving.bundle import bundle as parts
from serving.bundle.bundle import Bundle, BundleFacts, MemberFacts
from serving.bundle.export_formats import SAVED, export_format
from serving.bundle.interval import LEVEL, bounds, fit_interval, width
from serving.bundle.parity_check import check_parity
from serving.bundle.predictor import Distances
from serving.bundle.reference_stats import describe
from serving.bundle.source import BundleSource, read_source, read_subset


def model_card(name: str, facts: BundleFacts, stack: dict[str, Any]) -> str:
    """Markdown. stack: what `stack.json` holds."""
    low, high = facts.nested["interval"]
    steps = [each["name"] for each in stack["steps"] if each["kept"]]
    combination = ", ".join(f"{each['share']:.0%} {each['name']}" for each in stack["combination"])
    lines = [
        f"# {name}",
        "",
        "Predicts a product's price from its catalog text and, where a member reads pictures, its picture.",
        "Serve it with `python -m serving.predict --bundle THIS_FOLDER --in test.csv --out prices.csv`.",
        "",
        "| | |",
        "|---|---|",
        f"| trained on | {facts.rows['train']:,} rows, catalog `{facts.catalog}` |",
        f"| folds | {facts.k} ({facts.fold_mode}), `{facts.folds}` |",
        f"| nested SMAPE | {facts.nested['smape']:.2f} ± {facts.nested['standard_error']:.2f}, 95% {low:.2f} to {high:.2f} |",
        f"| best constant price | {amount(facts.middle, '.2f')}, SMAPE {stack['floor']['smape']:.2f} |",
        f"| combination | {combination}{'; then ' + ', '.join(steps) if steps else ''} |",
        f"| {LEVEL:.0%} interval | holds {facts.coverage:.1%} of held-out prices; mean width {facts.width:.2f} in log price |",
        f"| compared | {facts.compared} test rows, prices within {facts.largest_difference:.4%} of the submission's |",
        f"| code | {', '.join(f'{what} {version}' for what, version in facts.code.items())} |",
        "",
        "The nested SMAPE is that of rows which neither members, weights nor choices had seen. It holds for products like those",
        "trained on: `statistics.json` says what they look like.",
        "",
        "| member | form | fold models | weight | SMAPE out of fold |",
        "|---|---|---|---|---|",
        *(
            f"| {each.id} | {each.form} | {len(each.folds)} | {each.weight:.3f} | {each.smape:.2f} |"
            for each in facts.members
        ),
        "",
        *(f"- {note}" for note in stack["notes"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def export(
    workspace: Workspace,
    home: Path,
    name: str,
    network_format: str,
    report: Progress,
    *,
    most: int | None = None,
    begin: Callable[[str], None] = lambda part: None,
) -> tuple[Bundle, bool]:
    """Writes a bundle into `home`. Returns it, and whether it is new.

    network_format: export format of networks (`serving.bundle.export_formats`). most: members of a smaller stack that is nearly
    as good (`serving.bundle.source`). begin: called with the name of each part, as one graph may take a minute.

    Raises UserError where there is no stack or it is not that of the workspace's members, where a member has no models, where a
    price from the bundle is not the submitted one, and where no stack of so few members is good enough.
    """
    source = read_source(workspace) if most is None else read_subset(workspace, most, report)
    members = [_member(source, place, network_format) for place in range(len(source.stack.members))]
    with parts.unfinished(home) as folder:
        steps = sum(len(member.folds) for member in members) + 2
        done = 0
        for member in members:
            kind = architecture(member.architecture)
            for fold, inside in zip(member.folds, member.folders, strict=True):
                begin(f"{member.id} fold {fold}")
                report(done, steps)
                saved = workspace.store.fold_folder(member.id, fold)
                export_format(member.form).write(kind, saved, folder / inside, folder / parts.ENCODERS)
                done += 1
            _copy_encoder(workspace.store.read(member.id).record, folder / parts.ENCODERS)
        report(done, steps)
        facts = _write_rest(folder, source, members)
        begin("and comparing prices")
        report(steps - 1, steps)
        facts = check_parity(folder, source, facts, name)
        parts.write_facts(folder, facts)
        write_text(folder / parts.CARD, model_card(name, facts, source.record))
        finished = parts.publish(folder, home, name)
        report(steps, steps)
    return finished


def _member(source: BundleSource, place: int, network_format: str) -> MemberFacts:
    """Raises UserError for a member without models."""
    name, store = source.stack.members[place], source.workspace.store
    record = store.read(name).record
    if record["folds"] == EXTERNAL:
        raise UserError(
            f"the stack looks at member {name}, which was made outside: its predictions are here, its models are not",
            code="export-imported-member",
            hint=f"leave it out: `python -m ensemble.stack --drop {name}`, then `python -m serving.export`",
        )
    folds = tuple(range(source.workspace.facts.k))
    lost = [fold for fold in folds if not store.has_fit(name, fold)]
    if lost:
        raise UserError(
            f"member {name} has no model of fold {lost[0]} in {store.folder / name}",
            code="export-lost-fold-model",
            hint=f"restore the folder, or leave the member out: `python -m ensemble.stack --drop {name}`",
        )
    stacked = next(each for each in source.record["members"] if each["name"] == name)
    kind = architecture(record["architecture"])
    return MemberFacts(
        name,
        kind.name,
        network_format if kind.is_network else SAVED,
        not kind.is_network and not record["identity"],
        kind.reads_images,
        folds,
        stacked["weight"],
        stacked["oof"]["smape"],
    )


def _copy_encoder(record: dict[str, Any], encoders: Path) -> None:
    """The encoder that a light member only names, by its content; networks hold their own."""
    name, content = record["settings"].get(SETTING), record["identity"].get("text")
    if name is None or content is None or (encoders / content).exists():
        return
    from core.encoders.loading import copy_encoder  # needs torch, as reading it will

    copy_encoder(name, "text", encoders / content)


def _write_rest(folder: Path, source: BundleSource, members: list[MemberFacts]) -> BundleFacts:
    """Writes all files but the members' models."""
    workspace, record, stack = source.workspace, source.record, source.stack
    train, test, folds = workspace.train, workspace.test, workspace.folds
    stack.save(folder / parts.STACK)
    conditional, quality = fit_interval(source.nested, train.known_prices, source.train, folds.assignment)
    save(conditional, folder / parts.INTERVAL)
    served_width = width(bounds(conditional, source.submitted, source.test))  # 0 where all prices are one
    save_arrays(folder / parts.DISTANCES, vars(Distances.measure(source.train.members)))
    submitted = workspace.in_units(source.submitted)
    statistics = describe((train, test), submitted, workspace.table_columns.fields, _learnt_labels(workspace))
    write_json(folder / parts.STATISTICS, statistics)
    prices = workspace.train_in_units.known_prices
    low, high = np.quantile(prices, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return BundleFacts(
        catalog=stack.catalog,
        folds=stack.folds,
        fold_mode=workspace.facts.fold_mode,
        k=folds.k,
        rows=record["rows"],
        members=tuple(members),
        nested=record["nested"],
        middle=constant_floor(prices)[0],
        low=float(low),
        high=float(high),
        coverage=quality.coverage,
        width=quality.width,
        stretch=max(1.0, quality.width / served_width) if served_width else 1.0,
        compared=0,
        largest_difference=0.0,
        code=parts.CODE,
        columns=workspace.facts.columns,
        scale=workspace.facts.scale,
    )


def _learnt_labels(workspace: Workspace) -> list[str]:
    """Labels of the lines that trainings of this workspace learn as fields, the most frequent first."""
    if not workspace.facts.labelled_fields:
        return []
    return [column.label for column in learn_labelled_fields(workspace.train).columns]
