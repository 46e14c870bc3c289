"""Batches on their way: the same whoever makes them, and in spite of workers that die or fall silent."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.training.batching import Batch, BatchLoader, LoaderSettings, generator_at, loader_settings, plan
from core.training.trainer import fit
from tests.core_tests.trainer_toys import Toy, config, context, make

HERE = LoaderSettings(workers=0, prefetch=2, pinned=False, timeout=60.0)
TWO = LoaderSettings(workers=2, prefetch=2, pinned=False, timeout=60.0)


def steps(toy: Toy, size: int = 8) -> list:  # type: ignore[type-arg]
    rows = np.arange(len(toy.ids)).reshape(-1, size)
    return plan(list(rows), toy.lengths, tokens=32, first=0)


def inputs(made: list[Batch]) -> torch.Tensor:
    return torch.cat([batch.inputs["x"] for batch in made])


def test_workers_make_what_the_training_itself_would_make() -> None:
    toy = Toy(noise=1.0)
    alone, helped = (list(BatchLoader(toy, loading, seed=3)(steps(toy))) for loading in (HERE, TWO))
    assert [step.number for step, _ in helped] == list(range(8))
    for (_, here), (_, there) in zip(alone, helped, strict=True):
        torch.testing.assert_close(inputs(here), inputs(there), rtol=0, atol=0)


def test_workers_stay_from_one_epoch_to_the_next() -> None:
    class Told(Toy):
        def batch(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
            return Batch({"x": torch.full((len(rows),), os.getpid())}, None)

    toy = Told()
    feed = BatchLoader(toy, TWO, seed=0)
    first, second = ({int(inputs(made)[0]) for _, made in feed(steps(toy))} for _ in range(2))
    assert first == second
    assert len(first) == 2 and os.getpid() not in first


class Broken(Toy):
    """A row whose batch kills or blocks the worker that makes it, as often as there are files to tell of it."""

    def __init__(self, folder: Path, how: str, times: int) -> None:
        super().__init__(noise=1.0)
        self.folder, self.how, self.parent = folder, how, os.getpid()
        for number in range(times):
            (folder / str(number)).touch()

    def batch(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        if 20 in rows and os.getpid() != self.parent and (left := sorted(self.folder.iterdir())):
            left[0].unlink()
            if self.how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
        return super().batch(rows, generator)


@pytest.mark.parametrize(("how", "times", "lost"), [("dies", 1, 1), ("dies", 9, 3), ("sleeps", 1, 1)])
def test_a_lost_worker_costs_no_batch(
    how: str, times: int, lost: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toy = Broken(tmp_path, how, times)
    feed = BatchLoader(toy, LoaderSettings(workers=1, prefetch=2, pinned=False, timeout=2.0), seed=3)
    made = list(feed(steps(toy)))
    wanted = list(BatchLoader(Toy(noise=1.0), HERE, seed=3)(steps(toy)))
    for (step, there), (same, here) in zip(made, wanted, strict=True):
        assert step.number == same.number
        torch.testing.assert_close(inputs(there), inputs(here), rtol=0, atol=0)
    assert feed.lost == lost
    assert ("without workers from now on" in caplog.text) == (lost == 3)


def test_an_error_of_the_rows_is_no_lost_worker() -> None:
    class Wrong(Toy):
        def batch(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
            raise RuntimeError("these rows are wrong")

    with pytest.raises(RuntimeError, match="these rows are wrong"):
        list(BatchLoader(Wrong(), TWO, seed=0)(steps(Wrong())))


def test_a_training_with_workers_ends_as_one_without(tmp_path: Path) -> None:
    weights = []
    for workers in (0, 2):
        network = make()
        settings = config(epochs=2, loader_workers=workers)
        fit(network, Toy(noise=0.1), None, settings, context(tmp_path / str(workers)))
        weights.append(network.layer.weight.detach())
    torch.testing.assert_close(*weights, rtol=0, atol=0)


@given(seed=st.integers(0, 2**31), epoch=st.integers(1, 50), step=st.integers(0, 10**6))
def test_random_numbers_depend_on_their_place_alone(seed: int, epoch: int, step: int) -> None:
    first, again = (torch.rand(3, generator=generator_at(seed, "step", step, epoch)) for _ in range(2))
    other = torch.rand(3, generator=generator_at(seed, "step", step + 1, epoch))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("device", "threads", "asked", "expected"),
    [
        ("cpu", 2, (None, None), LoaderSettings(0, 2, False, 9.0)),
        ("cuda", 16, (None, None), LoaderSettings(4, 4, True, 9.0)),
        ("cuda:1", 2, (None, None), LoaderSettings(2, 4, True, 9.0)),
        ("cpu", 2, (3, 5), LoaderSettings(3, 5, False, 9.0)),
        ("cuda", 16, (0, None), LoaderSettings(0, 4, True, 9.0)),
    ],
)
def test_loading_suits_the_device(
    device: str, threads: int, asked: tuple[int | None, int | None], expected: LoaderSettings
) -> None:
    assert loader_settings(device, threads, *asked, timeout=9.0) == expected
