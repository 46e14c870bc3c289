"""The three kinds of storage that studies are kept in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.experiments_tests import postgres


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """One PostgreSQL server for all tests of a process; a test that stops it starts it again."""
    if postgres.MISSING:
        pytest.skip(postgres.MISSING)
    with postgres.server() as running:
        yield running


@pytest.fixture
def database(server: postgres.Server) -> str:
    """The URL of an empty database."""
    return server.create(f"study_{uuid4().hex[:12]}")


@pytest.fixture(params=["sqlite", "postgresql", "journal"])
def storage_text(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What `--storage` takes, for each kind of storage."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    if request.param == "journal":
        return str(tmp_path / "shared" / "study.log")
    return str(request.getfixturevalue("database"))
