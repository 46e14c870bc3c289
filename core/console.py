"""Console output and exit codes shared by all commands: results, warnings, progress bars, errors.

Exit codes: 0 done, 1 a fault of Pricestack's (with a traceback), 2 something the user can mend, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress

from core.errors import UserError

WorkspaceOption = Annotated[
    Path | None, typer.Option(help="Folder of the workspace.", show_default="PRICESTACK_WORKSPACE or runs")
]
"""`--workspace` of every command."""

PIPED_WIDTH = 160
_INTERRUPTED = 130
_MENDABLE = {
    errno.ENOSPC: ("the disk is full", "free some space, or name a folder on another disk"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or name a folder on another disk"),
    errno.EACCES: ("permission denied", "change the permissions, or name another file or folder"),
    errno.EPERM: ("operation not permitted", "change the permissions, or name another file or folder"),
    errno.EROFS: ("the file system is read-only", "name a folder on another disk"),
}


def _console(*, stderr: bool) -> Console:
    """A console that prints text as it is: a path with brackets is no markup, and what is piped keeps its columns."""
    stream = sys.stderr if stderr else sys.stdout
    piped = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=PIPED_WIDTH if piped else None)


console = _console(stderr=False)
"""For results."""

warnings = _console(stderr=True)
"""For errors and warnings."""


def results_to_stderr() -> None:
    """Sends all later results to the standard error: the standard output is for a program to read."""
    console.stderr = True


@contextmanager
def silenced() -> Iterator[None]:
    """Silences results in the block, but not warnings and errors."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def say(text: str, *, style: str | None = None) -> None:
    """Prints a line of results, never wrapped: paths and commands can be copied from it."""
    console.print(text, style=style, soft_wrap=True)


def warn(text: str) -> None:
    """Prints a line to the standard error, never wrapped."""
    warnings.print(text, style="yellow", soft_wrap=True)


class ProgressBar:
    """Progress bar of a block: call it with (done, total), and `begin` with the name of the next part."""

    def __init__(self, bars: Progress, what: str) -> None:
        self._bars, self._what = bars, what
        self._task = bars.add_task(what, total=None)

    def __call__(self, done: int, total: int) -> None:
        self._bars.update(self._task, completed=done, total=total)

    def begin(self, part: str) -> None:
        """Shown beside the bar until another part begins."""
        self._bars.update(self._task, description=f"{self._what} {part}")


@contextmanager
def progress(what: str) -> Iterator[ProgressBar]:
    """A progress bar on a terminal, nothing elsewhere."""
    with Progress(console=warnings, transient=True, disable=not warnings.is_terminal) as bars:
        yield ProgressBar(bars, what)


def run(app: typer.Typer, name: str | None = None) -> None:
    """Runs a command line, called `name` in its usage; a UserError ends in a message and exit code 2, without a traceback."""
    try:
        app(prog_name=name)
    except UserError as error:
        fail(error)
    except OSError as error:
        mendable = as_user_error(error)
        if mendable is None:
            raise
        fail(mendable)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # typer's answer to Ctrl-C
            warn("interrupted")
        raise
    except KeyboardInterrupt:
        warn("interrupted")
        sys.exit(_INTERRUPTED)


def as_user_error(error: OSError) -> UserError | None:
    """The UserError for a full disk or a missing permission, naming the path if the system did; None for other errors."""
    if error.errno not in _MENDABLE:
        return None
    what, hint = _MENDABLE[error.errno]
    path = error.filename2 or error.filename
    return UserError(f"{path}: {what}" if path is not None else f"cannot write: {what}", code="write-failed", hint=hint)


def fail(error: UserError) -> NoReturn:
    """Prints the error with its code and hint, and exits with code 2."""
    warnings.print(f"error: {error.printed}", style="red", soft_wrap=True)
    sys.exit(2)
