"""Commands as users run them: each in a process of its own, run to its end, or started, watched and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from tests.experiments_tests.waiting import wait_for
from tests.paths import ROOT

LIMIT = 300.0
"""Seconds until what must come has come, on a machine that does other things too."""


def command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with these variables, and no workspace but theirs."""
    kept = {name: value for name, value in os.environ.items() if name != "PRICESTACK_WORKSPACE"}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


def run_module(module: str, *arguments: object, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m MODULE` with these environment variables."""
    return subprocess.run(
        command(module, *arguments), cwd=cwd, env=environment(**variables), capture_output=True, text=True, check=False,
        timeout=LIMIT,
    )  # fmt: skip


def run(module: str, *arguments: object, code: int = 0) -> str:
    """Standard output and error of the command, which must end with this exit code."""
    done = run_module(module, *arguments, HF_HUB_OFFLINE="1")
    text = done.stdout + done.stderr
    assert done.returncode == code, text
    return text


class Running:
    """Command that was started, in a session of its own; its output goes to a file."""

    def __init__(self, log: Path, module: str, *arguments: object, **variables: str) -> None:
        self._log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command(module, *arguments), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                env=environment(**variables),
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self._log.read_text()

    def until(self, condition: str | Callable[[], Any]) -> Any:
        """Waits for a text in the output, or until something is true, which is returned; fails if the process ends before."""
        found = (lambda: condition in self.output) if isinstance(condition, str) else condition
        return wait_for(found, LIMIT, self.process)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, code: int = 0) -> str:
        """Waits until the process has ended by itself, with this exit code; its output."""
        assert self.process.wait(LIMIT) == code, self.output
        return self.output

    def kill(self) -> None:
        """Ends the process, and with it those that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


Start = Callable[..., Running]
"""Function that starts a command with these arguments and environment variables: the fixture `start`."""


def trials(workspace: Path) -> list[FrozenTrial]:
    """Trials of all studies in the workspace's storage that have begun."""
    storage = f"sqlite:///{workspace}/optuna.db"
    studies = [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
    return [trial for study in studies for trial in study.trials if trial.state != TrialState.WAITING]
