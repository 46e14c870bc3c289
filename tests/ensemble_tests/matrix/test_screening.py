from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.ensembling.ensemble_matrices import generate
from core.arrays import Floats
from ensemble.matrix.screening import Column, ScreeningConfig, Targets, select
from tests.ensemble_tests.matrices import clean_members
from tests.ensemble_tests.toys import members
from tests.errors import refused


def material(oof: Floats, test: Floats, prices: Floats, names: tuple[str, ...] = ()) -> tuple[list[Column], Targets]:
    names = names or tuple(f"m{place}" for place in range(oof.shape[1]))
    columns = [Column(name, left.copy(), right.copy()) for name, left, right in zip(names, oof.T, test.T, strict=True)]
    ids, test_ids = (
        np.array([f"{kind}{row}" for row in range(len(part))], dtype=object) for kind, part in (("r", oof), ("t", test))
    )
    return columns, Targets(ids, prices, np.arange(len(prices)), test_ids)


def toys(count: int = 4, seed: int = 0) -> tuple[list[Column], Targets]:
    table, prices = members(600, count, seed)
    return material(table[:400], table[400:], prices[:400])


def names(columns: list[Column]) -> list[str]:
    return [column.name for column in columns]


@pytest.mark.parametrize("kinds", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_the_leaked_member_is_found_and_nobody_else(seed: int, kinds: bool) -> None:
    made = generate(seed, rows=5000, held_out=5000, kinds=kinds)
    columns, targets = material(made.oof, made.test, made.prices, made.names)
    kept, notes = select(columns, targets, ScreeningConfig())
    assert names(kept) == [name for name in made.names if name != "leaked"]
    (note,) = (note for note in notes if "left out" in note)
    assert "member leaked is left out" in note
    assert "a leak or a bug" in note
    assert "--keep leaked" in note
    kept, notes = select(columns, targets, ScreeningConfig(keep=("leaked",)))
    assert names(kept) == list(made.names)
    assert "member leaked is taken all the same" in notes[0]


def test_copies_of_a_leaked_member_do_not_hide_it() -> None:
    made = generate(0, rows=3000, held_out=2000)
    columns, targets = material(made.oof, made.test, made.prices, made.names)
    leaked = columns[made.names.index("leaked")]
    twins = [replace(leaked, name=f"twin{place}", oof=leaked.oof * (1 + place / 1e5)) for place in range(12)]
    kept, _ = select([*columns, *twins], targets, ScreeningConfig())
    assert names(kept) == [name for name in made.names if name != "leaked"]


@pytest.mark.parametrize("seed", range(100, 110))
def test_clean_members_are_all_taken_without_a_note(seed: int) -> None:
    oof, test = clean_members(seed)
    columns, targets = material(np.exp(oof), np.exp(test), np.exp(np.median(oof, axis=1)))
    kept, notes = select(columns, targets, ScreeningConfig())
    assert kept == columns
    assert not [note for note in notes if "left out" in note]


def test_unknown_names_are_answered_with_the_nearest() -> None:
    columns, targets = toys()
    for rules in (ScreeningConfig(drop=("m11",)), ScreeningConfig(keep=("m11",))):
        with refused("screening-unknown-member") as caught:
            select(columns, targets, rules)
        assert "did you mean 'm1'? known: m0, m1, m2, m3" in caught.value.hint
    with refused("screening-drop-and-keep"):
        select(columns, targets, ScreeningConfig(drop=("m1",), keep=("m1",)))
    with refused("screening-all-dropped"):
        select(columns, targets, ScreeningConfig(drop=("m0", "m1", "m2", "m3")))
    assert names(select(columns, targets, ScreeningConfig(drop=("m1", "m3")))[0]) == ["m0", "m2"]


def test_what_is_dropped_is_not_looked_at() -> None:
    columns, targets = toys()
    columns[1].oof[3] = -1.0
    with refused("member-bad-prices") as caught:
        select(columns, targets, ScreeningConfig())
    assert "--drop m1" in caught.value.hint
    assert names(select(columns, targets, ScreeningConfig(drop=("m1",)))[0]) == ["m0", "m2", "m3"]


def test_a_price_whose_square_is_no_number_is_refused() -> None:
    columns, targets = toys()
    columns[0].oof[3] = 1e160
    with refused("member-bad-prices"):
        select(columns, targets, ScreeningConfig())


def test_logarithms_below_zero_are_refused_with_the_hint() -> None:
    columns, targets = toys()
    columns[2] = replace(columns[2], oof=np.log(columns[2].oof), test=np.log(columns[2].test))
    with refused("member-bad-prices") as caught:
        select(columns, targets, ScreeningConfig())
    assert "undo the logarithm" in caught.value.hint


def test_logarithms_above_zero_are_left_out_and_kept_when_asked_for() -> None:
    columns, targets = toys()
    columns[2] = replace(columns[2], oof=np.log1p(columns[2].oof), test=np.log1p(columns[2].test))
    kept, notes = select(columns, targets, ScreeningConfig())
    assert names(kept) == ["m0", "m1", "m3"]
    assert "undo the logarithm" in notes[0]
    assert "--keep m2" in notes[0]
    assert names(select(columns, targets, ScreeningConfig(keep=("m2",)))[0]) == ["m0", "m1", "m2", "m3"]
    with refused("screening-no-member-left"):
        select(columns[2:3], targets, ScreeningConfig())


def test_test_prices_of_another_scale_are_left_out() -> None:
    columns, targets = toys(6)
    columns[4] = replace(columns[4], test=columns[4].test * 1.9)
    kept, notes = select(columns, targets, ScreeningConfig())
    assert names(kept) == ["m0", "m1", "m2", "m3", "m5"]
    assert "times as high as its out-of-fold ones" in notes[0]


def test_two_members_are_only_warned_of_a_factor() -> None:
    columns, targets = toys(2)
    columns[1] = replace(columns[1], test=columns[1].test * 9)
    kept, notes = select(columns, targets, ScreeningConfig())
    assert len(kept) == 2
    assert ["member m1" in note and "times its out-of-fold one" in note for note in notes] == [True]


def test_copies_and_near_copies_are_noted() -> None:
    columns, targets = toys()
    columns += [replace(columns[0], name="same"), replace(columns[1], name="near", oof=columns[1].oof * 1.0001)]
    kept, notes = select(columns, targets, ScreeningConfig())
    assert kept == columns
    assert notes[0] == "m0 and same are copies: they share one weight"
    assert notes[1].startswith("m1 and near are nearly copies")
    assert len(notes) == 2


def test_holes_are_measured_in_both_parts_and_never_filled_from_logarithms() -> None:
    columns, targets = toys()
    columns[0].test[:12] = np.nan
    columns[1].oof[:8] = np.nan
    columns[2] = replace(columns[2], oof=np.log1p(columns[2].oof), test=np.log1p(columns[2].test))
    kept, notes = select(columns, targets, ScreeningConfig())
    assert names(kept) == ["m1", "m3"]
    assert any("member m0 is left out: 12 of 200 test rows have no test price" in note for note in notes)
    filled = kept[0].oof[:8] / kept[1].oof[:8]
    assert filled == pytest.approx(np.full(8, filled[0]))
    assert 0.5 < filled[0] < 2


def test_a_member_too_good_for_its_kind_is_only_noted() -> None:
    columns, targets = toys(4)
    columns[3] = replace(
        columns[3], oof=targets.prices * np.exp(np.random.default_rng(0).normal(0, 0.02, len(targets.prices)))
    )
    kept, notes = select(columns, targets, ScreeningConfig(keep=("m3",)))
    assert kept == columns
    assert any("member m3" in note and "better than the next of its kind" in note for note in notes)
    others = [replace(column, kind=str(place)) for place, column in enumerate(columns)]
    assert not any("of its kind" in note for note in select(others, targets, ScreeningConfig(keep=("m3",)))[1])
