"""Real groups of processes, joined by gloo, for the tests of training together."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from core.protocols.architecture import ALONE, Group
from core.training.distributed import TorchGroup

PROCESSES = multiprocessing.get_context("fork")
PATIENCE = 120.0

Work = Callable[[Group, Path], Any]


class Lost(Exception):
    """Processes ended without an answer: exit codes by rank."""


def together(size: int, work: Work, folder: Path) -> list[Any]:
    """What `work(group, folder)` returns in each of `size` processes, by rank; an exception is returned as (type, text).

    Raises Lost if a process died.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / f"store-{len(list(folder.glob('store-*')))}"
    return _answers([partial(_run, rank, size, work, folder, store) for rank in range(size)])


def alone(work: Work, folder: Path) -> Any:
    """What `work` returns in a process of its own, without a group."""
    folder.mkdir(parents=True, exist_ok=True)
    (answer,) = _answers([partial(_answered, lambda: work(ALONE, folder))])
    return answer


def _answers(works: list[Callable[[Connection], None]]) -> list[Any]:
    """What each sends from a process of its own. Raises Lost if one died."""
    pipes = [PROCESSES.Pipe(duplex=False) for _ in works]
    started = [PROCESSES.Process(target=work, args=(sent,)) for work, (_, sent) in zip(works, pipes, strict=True)]
    for process in started:
        process.start()
    for _, sent in pipes:
        sent.close()
    answers = [_answer(received) for received, _ in pipes]
    for process in started:
        process.join(PATIENCE)
        process.kill()
        process.join()
    if any(process.exitcode for process in started):
        raise Lost([process.exitcode for process in started])
    return answers


def _answer(received: Connection) -> Any:
    try:
        return received.recv() if received.poll(PATIENCE) else None
    except EOFError:
        return None


def _run(rank: int, size: int, work: Work, folder: Path, store: Path, sent: Connection) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    _answered(lambda: work(TorchGroup(), folder), sent)
    distributed.destroy_process_group()


def _answered(work: Callable[[], Any], sent: Connection) -> None:
    torch.set_num_threads(1)  # a forked child must not wait for threads that only its parent has
    try:
        answer = work()
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        answer = (type(error).__name__, str(error))
    sent.send(answer)
    sent.close()
