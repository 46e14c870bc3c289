"""`python -m core.cache`: what it lists and what it removes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from core.cache import Cache
from core.cache.__main__ import age, main
from tests.errors import refused


def fill(workspace: Path) -> Cache:
    """Three entries of 1, 2 and 3 KB, the first used five days ago and the second three hours ago."""
    cache = Cache(workspace / "cache")
    for kind, key, size, days in (("tokens", "one", 1, 5), ("pixels-64", "two", 2, 0.125), ("tokens", "three", 3, 0)):
        data = bytes(1_000 * size)
        cache.get(kind, key, lambda folder, data=data: (folder / "data").write_bytes(data), lambda folder: None)
        os.utime(cache.folder / kind / key, (time.time() - days * 86_400,) * 2)
    return cache


def test_entries_are_listed_by_kind_and_last_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = fill(tmp_path)
    main(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["kind", "entry", "size", "last", "use"]
    assert [line.split()[:4] for line in lines[1:-1]] == [
        ["pixels-64", "two", "2", "KB"],
        ["tokens", "three", "3", "KB"],
        ["tokens", "one", "1", "KB"],
    ]
    assert [line.rpartition("(")[2].strip() for line in lines[1:-1]] == ["3 h ago)", "0 min ago)", "5 days ago)"]
    assert lines[-1] == f"{cache.folder}: 3 entries, 6 KB"


def test_a_limit_removes_what_was_not_used_for_longest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = fill(tmp_path)
    main(tmp_path, "5KB")
    assert "removed 1 of 3 entries, 1 KB" in capsys.readouterr().out
    assert [entry.name for entry in cache.entries()] == ["pixels-64/two", "tokens/three"]
    main(tmp_path, "0.1KB")
    assert capsys.readouterr().out.splitlines()[-1] == f"{cache.folder} is empty"


def test_a_workspace_without_a_cache_is_empty_and_stays_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(tmp_path / "none", "1GB")
    assert capsys.readouterr().out.splitlines()[-1].endswith("cache is empty")
    assert list(tmp_path.iterdir()) == []


def test_a_limit_that_is_no_size_removes_nothing(tmp_path: Path) -> None:
    cache = fill(tmp_path)
    with refused("size-unreadable"):
        main(tmp_path, "0")
    assert len(cache.entries()) == 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 min ago"), (7_199, "120 min ago"), (7_200, "2 h ago"), (172_799, "48 h ago"), (172_800, "2 days ago")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text
