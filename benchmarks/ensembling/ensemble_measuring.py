"""Subprocess measurement: a command's output, seconds and peak memory."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Timer
from typing import Literal

import psutil


@dataclass(frozen=True)
class Measured:
    """seconds: from start to end of the command. mib: the largest resident set of it or of a process that it waited for.

    others: cores that other processes used meanwhile, on average.
    """

    outcome: Literal["done", "timeout", "failed"]
    seconds: float
    mib: float
    others: float
    output: str
    errors: str


def measure(command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float) -> Measured:
    """Runs `command` in `folder`; after `timeout` seconds it is killed with whatever it started.

    The peak is that of `wait4` on Linux (KiB). It includes what the starting process held when it started the command, so that
    should be small.
    """
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        start, busy, late = time.perf_counter(), _busy(), Event()
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=output, stderr=errors, start_new_session=True
        )

        def kill() -> None:
            late.set()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        timer = Timer(timeout, kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # Ctrl-C does not reach another session
            kill()
            raise
        finally:
            timer.cancel()
        seconds = time.perf_counter() - start
        others = (_busy() - busy - usage.ru_utime - usage.ru_stime) / seconds
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        outcome: Literal["done", "timeout", "failed"] = "failed" if process.returncode else "done"
        if late.is_set():
            outcome = "timeout"
        return Measured(outcome, seconds, usage.ru_maxrss / 1024, max(0.0, others), output.read(), errors.read())


def _busy() -> float:
    """Seconds that the machine's cores have worked."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq


def missing(python: str, modules: Sequence[str]) -> str:
    """Why `python` cannot import `modules`, in a line; empty where it can."""
    script = "import " + ", ".join(modules)
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""
