"""Several processes train one model: what one would have learnt, and together in everything that can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.architectures import ARCHITECTURES, architecture
from core.cache import Cache
from core.data.catalog import Catalog
from core.protocols.architecture import ALONE, Context, Group, make_config
from core.training.trainer import fit, seeded
from pricestack.testing.architectures import small_settings, toy_catalog
from tests.core_tests.group_toys import Lost, alone, together
from tests.core_tests.trainer_toys import Hungry, Killed, Linear, Toy, config, make

FAULTS = pytest.mark.faults
CLOSE = 1e-4
ROWS = 66  # with batches of 16 the last one has two rows: fewer than three processes
SETTINGS: dict[str, Any] = {"epochs": 5, "patience": 5, "learning_rate": 0.05}

Curve = list[Mapping[str, float]]


def curve_of(
    group: Group,
    folder: Path,
    examples: Toy | None = None,
    network: Linear | None = None,
    settings: Mapping[str, Any] = SETTINGS,
    **context: Any,
) -> tuple[Curve, int, list[float]]:
    """(reports of each epoch, best epoch, weights) of a training of the toy."""
    reports: dict[int, Mapping[str, float]] = {}
    own = {"checkpoint_seconds": 0.0, "report": reports.__setitem__, "group": group, **context}
    where = Context(0, Cache(folder / "cache"), folder / "run", **own)
    with seeded(where):
        network = network or make()
        best = fit(network, examples or Toy(ROWS), Toy(), config(**settings), where)
    return list(reports.values()), best, network.layer.weight.flatten().tolist()


def assert_same_curve(one: Curve, other: Curve) -> None:
    for key in ("loss", "smape"):
        assert [epoch[key] for epoch in one] == pytest.approx([epoch[key] for epoch in other], abs=CLOSE)


def assert_same(one: tuple[Curve, int, list[float]], other: tuple[Curve, int, list[float]]) -> None:
    assert_same_curve(one[0], other[0])
    assert one[1] == other[1]
    assert one[2] == pytest.approx(other[2], abs=CLOSE)


@pytest.mark.parametrize("size", [pytest.param(2, marks=FAULTS), 3])
def test_the_same_batches_give_the_same_curve_and_rank_0_alone_reports(size: int, tmp_path: Path) -> None:
    first, *others = together(size, curve_of, tmp_path / "together")
    assert_same(first, alone(curve_of, tmp_path / "alone"))
    for other in others:
        assert other == ([], *first[1:])
    assert not list((tmp_path / "together" / "run").iterdir())


EVERY_OPTION: dict[str, Any] = {"fields": "both", "categories": 4, "head": "both", "lora_rank": 2, "layer_decay": 0.9}


def train(
    group: Group, folder: Path, name: str, catalog: Catalog, given: Mapping[str, Any]
) -> tuple[Curve, list[float]]:
    """Curve and prices of a tiny training without anything random in it but its beginning and its order."""
    rows = np.arange(len(catalog))
    settings = {**small_settings(name), "dropout": 0.0, "category_dropout": 0.0, "epochs": 2, **given}
    if name == "multimodal":
        settings["augment"] = False
    reports: dict[int, Mapping[str, float]] = {}
    context = Context(7, Cache(folder / "cache"), folder / "run", report=reports.__setitem__, group=group)
    kind = architecture(name)
    model = kind.train(catalog.take(rows[:-10]), catalog.take(rows[-10:]), make_config(kind.Config, settings), context)
    if group.leads:  # whoever keeps a model asks it alone
        model.predict_quantiles(catalog)
    return list(reports.values()), model.predict(catalog.without_prices()).tolist()


@pytest.mark.parametrize(
    ("name", "size", "given"),
    [
        ("text", 2, {}),
        ("text", 2, EVERY_OPTION),
        ("multimodal", 2, {}),
        *(pytest.param(name, 3, EVERY_OPTION, marks=FAULTS) for name in ("text", "multimodal")),
    ],
)
def test_a_real_network_learns_together_what_it_learns_alone(
    name: str, size: int, given: dict[str, Any], tmp_path: Path
) -> None:
    work = partial(train, name=name, catalog=toy_catalog(tmp_path / "pictures"), given=given)
    curve, prices = alone(work, tmp_path / "alone")
    (first, same), *others = together(size, work, tmp_path / "together")
    assert_same_curve(first, curve)
    assert same == pytest.approx(prices, rel=CLOSE)
    assert all(other == ([], same) for other in others)


def test_only_architectures_that_say_so_are_trained_together() -> None:
    assert {name for name in ARCHITECTURES if architecture(name).data_parallel} == {"text", "multimodal"}


def test_a_bad_row_of_one_process_leaves_the_step_out_on_all(tmp_path: Path) -> None:
    work = partial(curve_of, examples=Toy(ROWS, bad=(5,)))
    first, other = together(2, work, tmp_path / "together")
    assert_same(first, alone(work, tmp_path / "alone"))
    assert [epoch["skipped_steps"] for epoch in first[0]] == [1, 2, 3, 4, 5]
    assert other[2] == first[2]


def test_ten_bad_steps_take_all_processes_back_and_twice_is_once_too_often(tmp_path: Path) -> None:
    work = partial(curve_of, examples=Toy(ROWS, bad=tuple(range(ROWS))))
    for kind, text in together(2, work, tmp_path):
        assert kind == "UserError" and "10 training steps in a row" in text and "half the learning rate" in text


def test_early_stopping_and_the_best_epoch_are_the_same_on_all(tmp_path: Path) -> None:
    settings = {"epochs": 30, "patience": 2, "learning_rate": 1.0, "gradient_norm": 100.0}
    work = partial(curve_of, settings=settings)
    first, other = together(2, work, tmp_path / "together")
    assert len(first[0]) < 30
    assert other[1:] == first[1:]
    assert_same(first, alone(work, tmp_path / "alone"))


def hungry_at(group: Group, folder: Path, rank: int) -> tuple[Curve, int, list[float]]:
    return curve_of(group, folder, network=Hungry(3 if group.rank == rank else 1_000))


@pytest.mark.parametrize("rank", [0, 1])
def test_where_the_memory_of_one_is_too_small_all_take_the_step_again(rank: int, tmp_path: Path) -> None:
    first, other = together(2, partial(hungry_at, rank=rank), tmp_path / "together")
    assert_same(first, alone(partial(hungry_at, rank=-1), tmp_path / "alone"))
    assert other[2] == first[2]


def late(group: Group, folder: Path) -> tuple[Curve, int, list[float]]:
    """The clock of rank 0 says that the time is over; the others' says nothing."""
    return curve_of(group, folder, deadline=0.0 if group.leads else None)


def test_the_clock_of_rank_0_counts(tmp_path: Path) -> None:
    assert together(2, late, tmp_path) == [("OutOfTime", "out of time in epoch 1 of a training")] * 2


class Stop(Exception):
    """What a scheduler's word becomes."""


def stopped(group: Group, folder: Path) -> None:
    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        assert group.leads
        if epoch == 2:
            raise Stop

    where = Context(0, Cache(folder / "cache"), folder / "run", report=report, group=group)
    fit(make(), Toy(ROWS), Toy(), config(**SETTINGS), where)


def test_whoever_stops_rank_0_stops_all(tmp_path: Path) -> None:
    assert together(2, stopped, tmp_path) == [("Stop", ""), ("Ended", "")]


def die_together(group: Group, folder: Path, step: int, dropout: float) -> None:
    curve_of(group, folder, Killed(step, ROWS), make(dropout=dropout))


@pytest.mark.parametrize("step", [pytest.param(1, marks=FAULTS), 3, pytest.param(8, marks=FAULTS)])
def test_killed_and_started_again_it_ends_the_same(step: int, tmp_path: Path) -> None:
    """With dropout: each process goes on with its own lots."""
    work = partial(curve_of, network=make(dropout=0.3))
    undisturbed = together(2, work, tmp_path / "undisturbed")
    with pytest.raises(Lost):
        together(2, partial(die_together, step=step, dropout=0.3), tmp_path / "killed")
    resumed = together(2, work, tmp_path / "killed")
    assert_same(resumed[0], undisturbed[0])
    assert resumed[1][2] == resumed[0][2]


@pytest.mark.parametrize(
    ("before", "after"), [(2, 3), (2, 1), *(pytest.param(*pair, marks=FAULTS) for pair in ((3, 2), (1, 2)))]
)
def test_more_or_fewer_processes_go_on_from_the_same_states(before: int, after: int, tmp_path: Path) -> None:
    with pytest.raises(Lost):
        together(before, partial(die_together, step=8, dropout=0.0), tmp_path / "killed")
    resumed = together(after, curve_of, tmp_path / "killed")
    assert_same(resumed[0], alone(curve_of, tmp_path / "alone"))


def die_at_rank_1(group: Group, folder: Path) -> tuple[Curve, int, list[float]]:
    return curve_of(group, folder, Killed(4, ROWS) if group.rank == 1 else None)


def test_whoever_is_left_says_that_another_is_gone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Lost):
        together(2, die_at_rank_1, tmp_path)
    assert "PeerLost: another process of this training is gone" in capfd.readouterr().err


def words(group: Group, folder: Path) -> dict[str, Any]:
    """What a group's words answer, in JSON's types."""
    rank = group.rank
    weights = [torch.full((2, 2), float(rank)), torch.full((3,), float(rank)), torch.zeros(1)]
    if rank == 0:
        weights[0].grad = torch.ones(2, 2)
    weights[1].grad = torch.full((3,), float(rank))
    group.add_gradients(weights)
    group.copy(weights)
    return {
        "share": group.share_of(np.arange(7)).tolist(),
        "decide": group.decide(rank == 0, rank == 1),
        "any": (group.any(rank == 1), group.any(False)),
        "add": group.add(torch.tensor([1.0, rank], dtype=torch.float64)).tolist(),
        "gradients": [None if weight.grad is None else weight.grad.flatten().tolist() for weight in weights],
        "weights": [weight.flatten().tolist() for weight in weights],
        "gather": [one.tolist() for one in group.gather(torch.tensor([rank], dtype=torch.uint8))],
        "shared": [group.share(b"" if rank else b"abc"), group.share(None), group.share(b"")],
    }


def test_what_the_words_of_a_group_mean(tmp_path: Path) -> None:
    answers = together(2, words, tmp_path)
    assert [answer.pop("share") for answer in answers] == [[0, 2, 4, 6], [1, 3, 5]]
    for answer in answers:
        assert answer == {
            "decide": (True, False),
            "any": (True, False),
            "add": [2.0, 1.0],
            "gradients": [[1.0] * 4, [1.0] * 3, None],
            "weights": [[0.0] * 4, [0.0] * 3, [0.0]],
            "gather": [[0], [1]],
            "shared": [b"abc", None, b""],
        }
    lone = words(ALONE, tmp_path)
    assert lone["share"] == list(range(7)) and lone["decide"] == (True, False) and lone["gradients"][2] is None
