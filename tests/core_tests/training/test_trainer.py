"""The trainer on toys: it learns, keeps to its schedule, stops when it should, and survives bad steps."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.errors import OutOfTime
from core.nn.precision import choose
from core.training.inference import predict
from core.training.trainer import fit, seeded
from core.training.trainer_config import schedule
from tests.core_tests.trainer_toys import Toy, config, context, make
from tests.errors import refused

TIMES = {"seconds", "waiting_seconds", "judging_seconds"}


@pytest.mark.parametrize("loss", ["huber", "l1", "smape_huber", "smape"])
def test_it_learns_a_linear_toy(loss: str, tmp_path: Path) -> None:
    network, reports = make(), []
    nn.init.constant_(network.layer.bias, 3.0)
    best = fit(
        network, Toy(), Toy(), config(loss=loss, patience=40), context(tmp_path, report=lambda *r: reports.append(r))
    )
    smapes = [metrics["smape"] for _, metrics in reports]
    assert min(smapes) < 3.0
    assert best == 1 + int(np.argmin(smapes))
    assert set(reports[0][1]) == {"smape", "mae", "rmse", "r2", "loss", "skipped_steps"} | TIMES
    assert [epoch for epoch, _ in reports] == list(range(1, 41))


def test_it_is_left_with_the_weights_of_the_best_epoch(tmp_path: Path) -> None:
    network, seen = make(), []

    def watch(epoch: int, metrics: Mapping[str, float]) -> None:
        seen.append((metrics["smape"], network.layer.weight.detach().clone()))

    best = fit(network, Toy(), Toy(), config(learning_rate=0.9, epochs=8, patience=8), context(tmp_path, report=watch))
    torch.testing.assert_close(network.layer.weight.detach(), seen[best - 1][1])
    assert not list((tmp_path / "run").iterdir())


def test_schedule_rises_then_falls_to_nothing() -> None:
    values = [schedule(step, 100, 0.1) for step in range(100)]
    assert values[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert values[10:] == pytest.approx(np.arange(90, 0, -1) / 90)
    assert schedule(0, 1, 0.0) == 1.0


def test_stop_epoch_follows_the_schedule_of_all_epochs(tmp_path: Path) -> None:
    long, short = make(), make()
    states: list[torch.Tensor] = []
    watched = context(tmp_path, report=lambda *_: states.append(long.layer.weight.detach().clone()))
    fit(long, Toy(), Toy(), config(epochs=6, patience=6), watched)
    assert fit(short, Toy(), None, config(epochs=6, stop_epoch=3), context(tmp_path)) == 3
    torch.testing.assert_close(short.layer.weight.detach(), states[2])


def test_it_stops_early(tmp_path: Path) -> None:
    reports: list[float] = []
    worse = Toy()
    assert worse.prices is not None
    worse.prices = 1.0 / worse.prices
    network = make()
    nn.init.constant_(network.layer.bias, 0.1)
    best = fit(
        network, Toy(), worse, config(patience=2),
        context(tmp_path, report=lambda _, metrics: reports.append(metrics["smape"])),
    )  # fmt: skip
    assert len(reports) == best + 2


def test_a_deadline_in_the_first_epoch_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutOfTime):
        fit(make(), Toy(), Toy(), config(), context(tmp_path, deadline=0.0))


def test_a_deadline_later_keeps_the_best_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("core.protocols.architecture.time.time", lambda: float(next(clock)))
    reports: list[int] = []
    # Four batches an epoch, the clock is asked before each: the tenth stands in the third epoch.
    late = context(tmp_path, deadline=10.0, report=lambda epoch, _: reports.append(epoch))
    assert fit(make(), Toy(), Toy(), config(learning_rate=0.01), late) == 2
    assert reports == [1, 2]


def test_half_a_schedule_without_rows_to_judge_on_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("core.protocols.architecture.time.time", lambda: float(next(clock)))
    with pytest.raises(OutOfTime, match="epoch 3"):
        fit(make(), Toy(), None, config(), context(tmp_path, deadline=10.0))


def test_a_bad_step_is_left_out(tmp_path: Path) -> None:
    network = make()
    fit(network, Toy(bad=(7,)), Toy(), config(patience=40), context(tmp_path))
    prices = predict(network, Toy(), config(), "cpu")
    assert np.isfinite(prices).all()
    assert Toy().prices == pytest.approx(prices, rel=0.2)


def test_predictions_that_are_not_numbers_name_their_rows() -> None:
    network, rows = make(), Toy()
    rows.x[5] = np.nan
    with refused("training-not-finite"):
        predict(network, rows, config(), "cpu")


def test_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    whole, parts = make(), make()
    fit(whole, Toy(), None, config(epochs=3, learning_rate=0.01), context(tmp_path))
    fit(parts, Toy(), None, config(epochs=3, learning_rate=0.01, tokens_per_pass=24), context(tmp_path))
    torch.testing.assert_close(whole.layer.weight, parts.layer.weight, atol=1e-5, rtol=1e-4)


def test_the_callers_random_numbers_and_threads_go_on(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    with seeded(context(tmp_path, threads=1)):
        torch.rand(3)
    torch.testing.assert_close(torch.rand(2), expected)
    assert torch.get_num_threads() == threads


def test_norms_and_biases_are_not_decayed(tmp_path: Path) -> None:
    network = make()
    nn.init.constant_(network.layer.weight, 100.0)
    nn.init.constant_(network.layer.bias, 100.0)
    # A gradient that is nothing leaves weight decay alone at work.
    flat = config(loss="smape", weight_decay=0.5, learning_rate=0.5, epochs=2)
    fit(network, Toy(), None, flat, context(tmp_path))
    assert network.layer.weight.abs().max() < 90.0
    assert math.isclose(network.layer.bias.item(), 100.0, rel_tol=0.05)


@pytest.mark.parametrize(
    ("asked", "device", "size", "fast", "settled"),
    [
        ("auto", "cuda", 10, True, "bf16"),
        ("auto", "cuda:1", 10, False, "fp16"),
        ("auto", "cpu", 50_000_000, True, "bf16"),
        ("auto", "cpu", 50_000, True, "fp32"),
        ("auto", "cpu", 50_000_000, False, "fp32"),
        ("auto", "mps", 50_000_000, True, "fp32"),
        ("fp32", "cuda", 10, True, "fp32"),
        ("bf16", "cpu", 10, False, "bf16"),
    ],
)
def test_precision(asked: str, device: str, size: int, fast: bool, settled: str) -> None:
    found, why = choose(asked, device, size, fast_bf16=fast)  # type: ignore[arg-type]
    assert found == settled
    assert why.startswith("auto: ") == (asked == "auto")


def test_compiling_without_a_compiler_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with refused("compile-no-compiler"):
        fit(make(), Toy(), None, config(epochs=1, compile=True), context(tmp_path))


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_compiled_network_learns_the_same(tmp_path: Path) -> None:
    plain, compiled = make(), make()
    fit(plain, Toy(), Toy(), config(epochs=3), context(tmp_path / "plain"))
    fit(compiled, Toy(), Toy(), config(epochs=3, compile=True), context(tmp_path / "compiled"))
    torch.testing.assert_close(plain.layer.weight, compiled.layer.weight, atol=1e-5, rtol=1e-5)
