"""Screening of members: what the checks find is repaired, noted or left out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from core.arrays import Floats
from core.command_config import CommandConfig, Flag
from core.data.catalog import Strings
from core.data.price_scale import MAX_PRICE, UNSCALED, to_units
from core.errors import UserError, some, suggestion
from core.metrics import smape
from ensemble.matrix.level_one import fingerprint
from ensemble.matrix.screening_checks import (
    COPY,
    SIGNIFICANT,
    OofTestShift,
    completed,
    median_shift,
    oof_test_shifts,
    siblings,
    too_good,
    wrong_unit,
)

MAX_MISSING = 0.05
PRICE_HINT = "prices must be finite, greater than 0 and in currency units, and cells without one empty"
_FAR = float(np.log(3))  # in log price
_LOOKED_AT = 20_000
"""Rows that the members' differences are measured on, evenly spaced: standard errors below 1% want no more."""


@dataclass(frozen=True, eq=False)
class Column:
    """One member's predictions before they are checked: oof (n,) and test (t,), NaN where there is none.

    seconds: of its training, where known. kind: members of the same kind are compared with each other. external: made outside,
    on unknown folds. quantiles: (n, 9) and (t, 9) prices at `core.protocols.architecture.LEVELS`, None where there are none.
    """

    name: str
    oof: Floats
    test: Floats
    seconds: float | None = None
    kind: str = "member"
    external: bool = False
    quantiles: tuple[Floats, Floats] | None = None

    @property
    def fingerprint(self) -> str:
        """A hash of the predictions."""
        return fingerprint(self.oof, self.test)


@dataclass(frozen=True, eq=False)
class Targets:
    """Rows that members predict: ids, true prices and product numbers (n,) of the training rows, ids (t,) of the test rows.

    scale: that these prices and all members' are divided by.
    """

    ids: Strings
    prices: Floats
    groups: NDArray[np.int64]
    test_ids: Strings
    scale: float = UNSCALED


class ScreeningConfig(CommandConfig):
    """Members to take: those that pass the checks of `select`, less `drop`; `keep` are taken even if the checks reject them."""

    drop: Annotated[tuple[str, ...], Flag(metavar="NAME"), Field(description="Member to leave out; repeatable.")] = ()
    keep: Annotated[
        tuple[str, ...],
        Flag(metavar="NAME"),
        Field(description="Member to take even if the checks would leave it out; repeatable."),
    ] = ()
    max_missing: Annotated[
        float,
        Flag(metavar="SHARE"),
        Field(ge=0, le=1, description="Share of training or test rows for which a member may lack a price."),
    ] = MAX_MISSING


@dataclass
class _Screening:
    """Notes of the checks so far, and the config that they follow."""

    rules: ScreeningConfig
    notes: list[str] = field(default_factory=list)

    def rejects(self, name: str, reason: str) -> bool:
        """Notes the reason, and whether it counts: not for members to keep."""
        if name in self.rules.keep:
            self.notes.append(f"member {name} is taken all the same, as --keep asks: {reason}")
            return False
        self.notes.append(f"member {name} is left out: {reason}; --keep {shlex.quote(name)} takes it anyway")
        return True


def select(columns: Sequence[Column], targets: Targets, rules: ScreeningConfig) -> tuple[list[Column], list[str]]:
    """(columns to combine, without missing prices; a note on each that was mended, left out or is strange).

    Raises UserError for names in the rules that no column has, for columns of the wrong length or with infinite, zero or
    negative prices, and if no column is left.
    """
    kept = _without_dropped(columns, rules)
    for column in kept:
        _check_prices(column, targets)
    screening = _Screening(rules)
    kept = _in_currency_units(kept, targets, screening)
    kept = _without_missing(kept, targets, screening)
    kept = _consistent(kept, targets, screening)
    if not kept:
        raise UserError(
            "no member is left to stack: " + "; ".join(screening.notes),
            code="screening-no-member-left",
            hint="mend at least one member as noted, or take it as it is with --keep NAME",
        )
    _note_copies(kept, screening)
    _note_too_good(kept, targets, screening)
    return kept, screening.notes


def _without_dropped(columns: Sequence[Column], rules: ScreeningConfig) -> list[Column]:
    known = [column.name for column in columns]
    for option, names in (("--drop", rules.drop), ("--keep", rules.keep)):
        for name in names:
            if name not in known:
                raise UserError(
                    f"{option}: no member is named {name!r}",
                    code="screening-unknown-member",
                    hint=suggestion(name, known),
                )
    if both := sorted(set(rules.drop) & set(rules.keep)):
        raise UserError(
            f"--drop and --keep both name {both[0]}", code="screening-drop-and-keep", hint="give one of them"
        )
    if set(known) <= set(rules.drop):
        raise UserError("--drop leaves no member to stack", code="screening-all-dropped", hint="drop fewer members")
    return [column for column in columns if column.name not in rules.drop]


def _check_prices(column: Column, targets: Targets) -> None:
    """Raises UserError for a column of the wrong length, or with values that are no prices."""
    for values, ids, what, kind in _parts(column, targets):
        if len(values) != len(ids):
            raise UserError(
                f"member {column.name} has {len(values)} {what} prices for {len(ids)} {kind} rows",
                code="member-row-count",
                hint="remove that member and train it again",
            )
    for values, ids, what, _ in _parts(column, targets):
        if listed := no_prices(values, ids):
            hint = unit_hint(column, targets)
            raise UserError(
                f"member {column.name} has {what} prices that are no prices: {listed}",
                code="member-bad-prices",
                hint=f"{PRICE_HINT}; --drop {shlex.quote(column.name)} leaves the member out{f'; here, {hint}' if hint else ''}",
            )


def _parts(column: Column, targets: Targets) -> tuple[tuple[Floats, Strings, str, str], ...]:
    """(prices, ids of their rows, name of the prices, kind of the rows) of both parts."""
    return ((column.oof, targets.ids, "out-of-fold", "training"), (column.test, targets.test_ids, "test", "test"))


def no_prices(values: Floats, ids: Strings) -> str:
    """The first rows whose value is neither a price nor missing, in words; empty where there is none."""
    bad = np.flatnonzero(~np.isnan(values) & ~((values > 0) & (values < MAX_PRICE)))
    return some([f"row {row + 1} (sample_id {ids[row]}): {values[row]:g}" for row in bad])


def unit_hint(column: Column, targets: Targets) -> str:
    """Sentence on how to turn a column in logarithms or another currency into prices; empty where nothing helps."""
    known = np.isfinite(column.oof)
    prices, values = (to_units(each[known], targets.scale) for each in (targets.prices, column.oof))
    wrong = wrong_unit(prices, values) if known.any() else None
    return f"SMAPE {wrong.before:.2f} as it stands would be {wrong.after:.2f}: {wrong.hint}" if wrong else ""


def _in_currency_units(columns: Sequence[Column], targets: Targets, screening: _Screening) -> list[Column]:
    kept = []
    for column in columns:
        hint = unit_hint(column, targets)
        if not hint or not screening.rejects(column.name, hint):
            kept.append(column)
    return kept


def _without_missing(columns: Sequence[Column], targets: Targets, screening: _Screening) -> list[Column]:
    kept = []
    for column in columns:
        most = max(float(np.isnan(part).mean()) for part in (column.oof, column.test))
        if most <= screening.rules.max_missing or not screening.rejects(
            column.name, f"{describe_missing(column, targets)}, more than --max-missing {screening.rules.max_missing:g}"
        ):
            kept.append(column)
    incomplete = [column.name for column in kept if np.isnan(column.oof).any() or np.isnan(column.test).any()]
    if not incomplete:
        return kept
    oof, test = completed(
        *(np.column_stack(part) for part in zip(*((each.oof, each.test) for each in kept), strict=True))
    )
    whole = []
    for place, column in enumerate(kept):
        if column.name not in incomplete:
            whole.append(column)
        elif np.isnan(oof[:, place]).any() or np.isnan(test[:, place]).any():
            screening.notes.append(
                f"member {column.name} is left out: {describe_missing(column, targets)}, and no other member has a price there"
            )
        else:
            screening.notes.append(
                f"member {column.name} is completed from the other members: {describe_missing(column, targets)}"
            )
            whole.append(replace(column, oof=oof[:, place], test=test[:, place]))
    return whole


def describe_missing(column: Column, targets: Targets) -> str:
    """Sentence that counts the rows without a price."""
    found = []
    for values, ids, what, kind in _parts(column, targets):
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            first = f"the first: row {missing[0] + 1}, sample_id {ids[missing[0]]}"
            found.append(f"{len(missing)} of {len(ids)} {kind} rows have no {what} price ({first})")
    return " and ".join(found)


def _consistent(columns: Sequence[Column], targets: Targets, screening: _Screening) -> list[Column]:
    """Columns whose out-of-fold and test prices belong together. The most suspicious goes first and the others are
    measured again without it, since it spoils their medians."""
    left = list(columns)
    rejected = []
    groups = len(np.unique(targets.groups))
    while left:
        oof, test = _logs(left)
        found = oof_test_shifts(oof, test, min(groups, len(oof)))
        if not found:
            _note_far(left, oof, test, screening)
            break
        worst = int(np.argmax([each.excess for each in found]))
        if found[worst].excess <= 1:
            break
        suspect = left.pop(worst)  # a member to keep is no reference for the others either
        if screening.rejects(suspect.name, _shift_text(found[worst])):
            rejected.append(suspect.name)
    return [column for column in columns if column.name not in rejected]


def _logs(columns: Sequence[Column]) -> tuple[Floats, Floats]:
    """Log prices of evenly spaced rows, out-of-fold (n, m) and test (t, m)."""
    parts = [np.column_stack([column.oof for column in columns]), np.column_stack([column.test for column in columns])]
    looked_at = [np.linspace(0, len(part) - 1, min(len(part), _LOOKED_AT)).astype(np.intp) for part in parts]
    oof, test = (np.log(part[places]) for part, places in zip(parts, looked_at, strict=True))
    return oof, test


def _shift_text(found: OofTestShift) -> str:
    if found.shifted >= found.widened:
        return (
            f"beside the other members its test prices are {np.exp(found.shift):.2f} times as high as its out-of-fold ones "
            f"({found.shift_errors:.0f} standard errors): another scale, or models of other data"
        )
    return (
        f"its test prices disagree with the other members' {found.spread:.2f} times as widely as its out-of-fold ones do "
        f"({found.widening_errors:.0f} standard errors above what the others show): a leak or a bug, as of a model that has seen "
        "the prices of the training rows"
    )


def _note_far(columns: Sequence[Column], oof: Floats, test: Floats, screening: _Screening) -> None:
    """Notes large shifts that other products hardly explain, where too few members could be compared with each other."""
    for place, column in enumerate(columns):
        shift, errors = median_shift(oof[:, place], test[:, place])
        if abs(shift) > _FAR and errors > SIGNIFICANT:
            screening.notes.append(
                f"the median test price of member {column.name} is {np.exp(shift):.2f} times its out-of-fold one: are the test "
                "rows other products, or its test prices of another scale?"
            )


def _note_copies(columns: Sequence[Column], screening: _Screening) -> None:
    prints = np.unique([column.fingerprint for column in columns], return_inverse=True)[1]
    near = siblings(np.concatenate(_logs(columns)), COPY)
    for numbers, what in ((prints, "copies"), (near, "nearly copies")):
        for number in dict.fromkeys(numbers.tolist()):
            same = np.flatnonzero(numbers == number).tolist()
            if len(same) > 1 and (what == "copies" or len(np.unique(prints[same])) > 1):
                names = [columns[place].name for place in same]
                shared = (
                    ": they share one weight" if what == "copies" else ": together they add no more than one of them"
                )
                screening.notes.append(f"{', '.join(names[:-1])} and {names[-1]} are {what}{shared}")


def _note_too_good(columns: Sequence[Column], targets: Targets, screening: _Screening) -> None:
    scores = [smape(targets.prices, column.oof) for column in columns]
    found = too_good(scores, [column.kind for column in columns], siblings(_logs(columns)[0]))
    for place, usual in found.items():
        screening.notes.append(
            f"member {columns[place].name} (SMAPE {scores[place]:.2f}) is {1 - scores[place] / usual:.0%} better than the next "
            f"of its kind ({usual:.2f}): check that it has not seen prices of the rows it predicts; --drop "
            f"{shlex.quote(columns[place].name)} leaves it out"
        )
