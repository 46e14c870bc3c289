"""Assertions about errors: by their code, never by their sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from core.errors import UserError


@contextmanager
def refused(code: str) -> Iterator[pytest.ExceptionInfo[UserError]]:
    """Expects the block to raise a UserError with `code`; the error is there for further assertions afterwards."""
    with pytest.raises(UserError) as caught:
        yield caught
    assert caught.value.code == code, f"expected [{code}], got [{caught.value.code}]: {caught.value}"
