"""What a training does when things go wrong: killed processes, numbers that are none, memory that is too small."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.errors import OutOfTime
from core.protocols.architecture import Context
from core.training import checkpoint
from core.training.batching import MicroBatchSize
from core.training.inference import predict
from core.training.trainer import fit, seeded
from tests.core_tests.trainer_toys import Hungry, Killed, Linear, Toy, config, context, make
from tests.errors import refused

PROCESSES = multiprocessing.get_context("fork")
STEPS = 20  # 5 epochs of 4 batches
SETTINGS = {"epochs": 5, "patience": 5, "learning_rate": 0.05}


def training(where: Context) -> tuple[int, Linear]:
    """One whole training that depends on every kind of random number: order, augmentation, dropout."""
    with seeded(where):
        network = make(where.seed, dropout=0.3)
        return fit(network, Toy(noise=0.1), Toy(), config(**SETTINGS), where), network


def smapes(where: Context) -> tuple[list[float], int, Tensor]:
    """(SMAPE of each epoch, best epoch, weights) of such a training."""
    reports: dict[int, Mapping[str, float]] = {}
    best, network = training(replace(where, report=reports.__setitem__))
    assert list(reports) == list(range(1, len(reports) + 1))
    return [metrics["smape"] for metrics in reports.values()], best, network.layer.weight.detach().clone()


def die_at(step: int, folder: Path) -> None:
    torch.set_num_threads(1)  # a forked child must not wait for threads that only its parent has
    where = context(folder, checkpoint_seconds=0.0)
    with seeded(where):
        fit(make(where.seed, dropout=0.3), Killed(step + 1, noise=0.1), Toy(), config(**SETTINGS), where)


def stopped(folder: Path, after: int) -> None:
    """Leaves the states of a training that SIGKILL hit after so many steps."""
    process = PROCESSES.Process(target=die_at, args=(after, folder))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("step", [0, 1, 3, 4, 7, 10, STEPS - 1])
def test_killed_at_any_step_and_started_again_it_ends_the_same(step: int, tmp_path: Path) -> None:
    undisturbed = smapes(context(tmp_path / "undisturbed"))
    stopped(tmp_path / "killed", step)
    curve, best, weights = smapes(context(tmp_path / "killed", checkpoint_seconds=0.0))
    assert curve == pytest.approx(undisturbed[0], abs=1e-6)
    assert best == undisturbed[1]
    torch.testing.assert_close(weights, undisturbed[2])
    assert not list((tmp_path / "killed" / "run").iterdir())


def test_killed_again_and_again_it_still_ends_the_same(tmp_path: Path) -> None:
    undisturbed = smapes(context(tmp_path / "undisturbed"))
    for _ in range(4):
        stopped(tmp_path / "killed", 4)
    curve, *_ = smapes(context(tmp_path / "killed", checkpoint_seconds=0.0))
    assert curve == pytest.approx(undisturbed[0], abs=1e-6)


def states(folder: Path) -> list[Path]:
    return sorted((folder / "run").glob("state-*.safetensors"), key=lambda path: int(path.stem.rpartition("-")[2]))


def test_the_last_two_states_are_kept_and_the_best_apart(tmp_path: Path) -> None:
    stopped(tmp_path, 9)
    assert [path.stem for path in states(tmp_path)] == ["state-7", "state-8"]
    assert (tmp_path / "run" / "best.json").exists()


def test_a_damaged_state_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    undisturbed = smapes(context(tmp_path / "undisturbed"))
    stopped(tmp_path / "killed", 9)
    states(tmp_path / "killed")[-1].write_bytes(b"\0" * 100)
    curve, *_ = smapes(context(tmp_path / "killed"))
    assert "state-8.safetensors is damaged" in caplog.text
    assert curve == pytest.approx(undisturbed[0], abs=1e-6)


def test_states_of_another_training_are_no_beginning(tmp_path: Path) -> None:
    undisturbed = smapes(replace(context(tmp_path / "undisturbed"), seed=7))
    stopped(tmp_path / "killed", 9)
    curve, *_ = smapes(replace(context(tmp_path / "killed"), seed=7))
    assert curve == undisturbed[0]


def test_a_state_is_readable(tmp_path: Path) -> None:
    stopped(tmp_path, 9)
    record = json.loads((tmp_path / "run" / "state-8.json").read_text())
    assert record["at"]["step"] == 8 and record["at"]["epoch"] == 3
    assert len(record["at"]["history"]) == 2
    tensors, _ = checkpoint.read(tmp_path / "run", "state-8")
    assert {"network.layer.weight", "adamw.0.exp_avg", "adamw.0.exp_avg_sq", "adamw.0.step", "random.cpu"} <= set(
        tensors
    )


class Explodes(Toy):
    """Inputs are NaN while the step numbers of `when` are taken: not the rows' fault, as where weights diverge."""

    def __init__(self, when: range) -> None:
        super().__init__()
        self.when, self.taken = when, 0

    def batch(self, rows: np.ndarray, generator: torch.Generator | None):  # type: ignore[no-untyped-def]
        made = super().batch(rows, generator)
        if generator is not None:
            if self.taken in self.when:
                made.inputs["x"].fill_(torch.nan)
            self.taken += 1
        return made


def test_after_ten_bad_steps_it_goes_back_and_learns_at_half_the_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network, reports = make(), dict[int, Mapping[str, float]]()
    where = context(tmp_path, checkpoint_seconds=0.0, report=reports.__setitem__)
    # The states of bad steps differ from the one before the first of them in nothing but counters.
    assert fit(network, Explodes(range(9, 19)), Toy(), config(epochs=6, patience=6), where) >= 1
    assert "10 steps in a row without a finite loss" in caplog.text
    last = list(reports.values())[-1]
    assert last["skipped_steps"] == 10 and np.isfinite(last["smape"])


def test_twice_is_once_too_often_and_the_rows_are_named(tmp_path: Path) -> None:
    with refused("training-not-finite") as failure:
        fit(make(), Explodes(range(9, 40)), Toy(), config(epochs=9), context(tmp_path))
    assert "learning_rate" in failure.value.hint


def test_frozen_weights_are_not_in_a_checkpoint(tmp_path: Path) -> None:
    network = make()
    network.layer.bias.requires_grad_(False)
    with pytest.raises(OutOfTime):
        fit(network, Toy(), Toy(), config(), context(tmp_path, deadline=0.0))
    assert set(checkpoint.learnt(network)) == {"layer.weight"}
    fit(network, Toy(), Toy(), config(epochs=2), context(tmp_path))
    assert network.layer.bias.item() == make().layer.bias.item()


def test_where_memory_is_too_small_passes_are_halved_and_the_batch_stays_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    roomy, narrow = Hungry(64), Hungry(5)
    same = {"epochs": 3, "learning_rate": 0.01}
    fit(roomy, Toy(), None, config(**same), context(tmp_path / "roomy"))
    fit(narrow, Toy(), None, config(**same), context(tmp_path / "narrow"))
    torch.testing.assert_close(roomy.layer.weight, narrow.layer.weight, atol=1e-5, rtol=1e-4)
    assert "out of memory in step 0" in caplog.text
    assert max(narrow.passes[-4:]) == 4


def test_the_size_that_fits_is_remembered(tmp_path: Path) -> None:
    fit(Hungry(5), Toy(), None, config(epochs=1), context(tmp_path))
    again = Hungry(5)
    fit(again, Toy(), None, config(epochs=1), context(tmp_path))
    assert max(again.passes) == 4
    other = MicroBatchSize.remembered(context(tmp_path), "another encoder", "fp32", None)
    assert other.tokens == MicroBatchSize.by_device("cpu", None).tokens


def test_predictions_keep_the_size_that_fits(caplog: pytest.LogCaptureFixture) -> None:
    narrow, other = Hungry(5), Hungry(64)
    expected = predict(other, Toy(), config(), "cpu")
    np.testing.assert_allclose(predict(narrow, Toy(), config(), "cpu"), expected, rtol=1e-6)
    first = len(narrow.passes)
    assert caplog.text.count("out of memory while predicting") == 6  # 2,048 tokens to 32, which are 4 rows
    np.testing.assert_allclose(predict(narrow, Toy(), config(), "cpu"), expected, rtol=1e-6)
    assert set(narrow.passes[first:]) == {4} and caplog.text.count("out of memory while predicting") == 6
    last = len(narrow.passes)
    predict(narrow, Toy(), config(tokens_per_pass=16), "cpu")
    assert set(narrow.passes[last:]) == {2}
    with refused("out-of-memory-single-row"):
        predict(Hungry(0), Toy(), config(), "cpu")


def test_memory_for_not_even_one_row_is_an_error_with_a_cure(tmp_path: Path) -> None:
    with refused("out-of-memory-single-row") as failure:
        fit(Hungry(0), Toy(), None, config(epochs=1), context(tmp_path))
    assert "max_length" in failure.value.hint


def test_what_was_chosen_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fit(make(), Toy(), None, config(epochs=1), context(tmp_path, threads=2))
    assert "training 64 rows on cpu in fp32: 2 threads, 2048 tokens per pass, 0 loader workers" in caplog.text


def test_fp16_trains_with_a_scaler_that_is_part_of_the_state(tmp_path: Path) -> None:
    undisturbed: list[float] = []
    whole = context(tmp_path / "whole", report=lambda _, metrics: undisturbed.append(metrics["smape"]))
    fit(make(), Toy(), Toy(), config(epochs=4, precision="fp16"), whole)
    assert undisturbed[-1] < undisturbed[0]

    curve: dict[int, float] = {}

    def stop_once(epoch: int, metrics: Mapping[str, float]) -> None:
        curve[epoch] = metrics["smape"]
        if epoch == 2 and not (tmp_path / "stopped").exists():
            (tmp_path / "stopped").touch()
            raise KeyboardInterrupt

    cut = context(tmp_path / "cut", checkpoint_seconds=0.0, report=stop_once)
    with pytest.raises(KeyboardInterrupt):
        fit(make(), Toy(), Toy(), config(epochs=4, precision="fp16"), cut)
    record = json.loads(max((tmp_path / "cut" / "run").glob("state-*.json"), key=os.path.getmtime).read_text())
    assert record["scaler"]["scale"] > 0
    fit(make(), Toy(), Toy(), config(epochs=4, precision="fp16"), cut)
    assert list(curve.values()) == pytest.approx(undisturbed, abs=1e-6)
