"""User errors: exceptions that say what happened, to which input and what to do, each with a stable code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import partial
from typing import Any


class UserError(Exception):
    """Failure that the user can mend: commands print it with its hint and exit with code 2, without a traceback.

    what: what happened, to which input. hint: what to do. code: names the cause for programs and tests, as `catalog-columns`;
    unlike the sentences it does not change.
    """

    def __init__(self, what: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(f"{what}\n  what to do: {hint}" if hint else what)
        self.what = what
        self.code = code
        self.hint = hint

    @property
    def printed(self) -> str:
        """The error as commands print it: what happened, the code in brackets, and what to do on a line below."""
        code = f" [{self.code}]" if self.code else ""
        return f"{self.what}{code}\n  what to do: {self.hint}" if self.hint else f"{self.what}{code}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling between worker processes.
        return partial(type(self), code=self.code, hint=self.hint), (self.what,)


class OutOfTime(Exception):
    """A training met its deadline before it had anything worth keeping."""


class FailureCode(StrEnum):
    """Codes of failed trials that programs look for; a trial that failed with any other UserError has that error's code."""

    INTERRUPTED = "trial-interrupted"
    FAILED_BEFORE = "trial-failed-before"
    WORKER_LOST = "trial-worker-lost"
    WITHOUT_RESULT = "trial-without-result"
    NOT_FINITE = "training-not-finite"


_SENTENCES = {
    "the sweep was interrupted": FailureCode.INTERRUPTED,
    "this config has failed before": FailureCode.FAILED_BEFORE,
    "loss or gradient that is not a number": FailureCode.NOT_FINITE,
    "predicted prices are not numbers": FailureCode.NOT_FINITE,
}
"""Words in the errors that f17e332 stored with failed trials, without a code."""


def failure_code(trial: Mapping[str, Any]) -> str | None:
    """Code of a failed trial: its `error_code`; of one that a version up to f17e332 stored, by the words of its `error`."""
    if trial.get("error_code") is not None:
        return str(trial["error_code"])
    first = str(trial.get("error") or "").strip().partition("\n")[0]
    return next((code for words, code in _SENTENCES.items() if words in first), None)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` with the nearest of `known`, then the whole list, for any unknown name."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    listing = f"known: {', '.join(names)}"
    return f"did you mean '{near[0]}'? {listing}" if near else listing


def some(items: Iterable[object], shown: int = 3) -> str:
    """The first few of `items`, and how many more there are: `a, b, c and 4 more`."""
    listed = [str(item) for item in items]
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more
