from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from core.console import ProgressBar, as_user_error
from tests.paths import ROOT

COMMAND = """
import typer
from core.console import run, say
from core.errors import UserError

app = typer.Typer(add_completion=False)

@app.command()
def main() -> None:
    {body}

run(app)
"""


def command(body: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", COMMAND.format(body=body)], env=environment, capture_output=True, text=True, timeout=60
    )


def test_piped_lines_are_neither_wrapped_nor_coloured_nor_read_as_markup() -> None:
    path = "/runs/[red]" + "x" * 300 + ":smile:/submission.csv"
    done = command(f"say({path!r}, style='bold')")
    assert (done.returncode, done.stdout) == (0, path + "\n")


def test_user_error_is_code_2_with_its_hint_on_stderr() -> None:
    done = command("raise UserError('no [b]price[/b]', code='no-price', hint='add it')")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no [b]price[/b] [no-price]\n  what to do: add it\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, the disk that is always full")
def test_full_disk_is_code_2() -> None:
    done = command("open('/dev/full', 'wb', buffering=0).write(b'x')")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write: the disk is full [write-failed]\n  what to do: free some space")


def test_ctrl_c_is_code_130_without_traceback() -> None:
    done = command("raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_fault_of_ours_keeps_its_traceback() -> None:
    done = command("raise ValueError('a bug')")
    assert done.returncode == 1
    assert "a bug" in done.stderr


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_mendable_system_errors_name_the_path(code: int) -> None:
    error = as_user_error(OSError(code, os.strerror(code), "/runs/stack.json"))
    assert error is not None
    assert error.what.startswith("/runs/stack.json: ")
    assert error.hint


def test_other_system_errors_are_not_explained_away() -> None:
    assert as_user_error(FileNotFoundError(errno.ENOENT, "gone", "x")) is None


def test_a_bar_shows_what_is_done_before_anything_is() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(console=screen, auto_refresh=False) as bars:
        bar = ProgressBar(bars, "exporting")
        bar.begin("text-1 fold 0")
        bar(0, 12)
        (shown,) = bars.tasks
        assert (shown.description, shown.completed, shown.total) == ("exporting text-1 fold 0", 0, 12)
