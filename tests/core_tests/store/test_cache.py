"""The cache: entries are made once, whole or absent, and the ones used longest ago make room."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cache import Cache, parse_size, size_text
from tests.errors import refused

PROCESSES = multiprocessing.get_context("fork")
PATIENCE = 60.0
"""Seconds that nothing here takes: a test whose other process hangs fails after them."""


def write(size: int) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "data.npy", np.arange(size, dtype=np.uint8)) or None


def mapped(folder: Path) -> np.ndarray:
    return np.load(folder / "data.npy", mmap_mode="r")


def filled(size: int) -> Callable[[Path], None]:
    """Makes an entry of exactly `size` bytes."""
    return lambda folder: (folder / "data").write_bytes(bytes(size)) and None


def names(cache: Cache) -> list[str]:
    return [entry.path.name for entry in cache.entries()]


def leftovers(cache: Cache) -> list[str]:
    """Everything in the cache but complete entries and locks, which stay for whoever makes the entry next."""
    complete = {entry.path for entry in cache.entries()}
    return [path.name for path in cache.folder.glob("*/*") if path not in complete and path.suffix != ".lock"]


def at_once(*targets: Callable[[], object]) -> list[int | None]:
    """The exit codes of these functions, each run in a process of its own."""
    processes = [PROCESSES.Process(target=target, daemon=True) for target in targets]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def test_an_entry_is_made_once_and_read_every_time(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path / "cache"), []

    def make(folder: Path) -> None:
        made.append(folder)
        write(10)(folder)

    first, again = (cache.get("toys", "a", make, mapped) for _ in range(2))
    assert first.tolist() == again.tolist() == list(range(10))
    assert len(made) == 1
    assert cache.paths("toys") == [tmp_path / "cache" / "toys" / "a"]
    assert cache.paths("others") == []
    (entry,) = cache.entries()
    assert entry.name == "toys/a" and entry.size == 138 and abs(entry.used - time.time()) < 60


def test_a_make_that_raises_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get("toys", "a", fail, mapped)
    assert cache.entries() == [] and leftovers(cache) == []
    assert cache.get("toys", "a", write(3), mapped).tolist() == [0, 1, 2]


def test_a_file_that_make_or_read_misses_is_their_own_error(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path), []

    def lacking(folder: Path) -> None:
        made.append((tmp_path / "missing").read_text())

    with pytest.raises(FileNotFoundError, match="missing"):
        cache.get("toys", "a", lacking, mapped)
    with pytest.raises(FileNotFoundError, match=r"data\.npy"):
        cache.get("toys", "a", lambda folder: made.append("a"), mapped)
    assert made == ["a"]


def test_entries_may_be_made_from_other_entries(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=200)

    def doubled(folder: Path) -> None:
        np.save(folder / "data.npy", 2 * cache.get("toys", "a", write(4), mapped))

    assert cache.get("doubles", "a", doubled, mapped).tolist() == [0, 2, 4, 6]
    assert names(cache) == ["a"]  # there is room for one


@settings(deadline=None, max_examples=60)
@given(uses=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=14), limit=st.integers(1, 12))
def test_the_least_recently_used_entries_make_room(uses: list[tuple[int, int]], limit: int) -> None:
    """Against a model: a list in order of use that loses its first ones, but never the one that was just made."""
    with TemporaryDirectory() as folder:
        cache, expected = Cache(Path(folder), limit), []
        for key, kind in uses:
            entry = (f"{key}{kind}", 1 + key * (key + 1) // 2)  # of 1, 2, 4, 7, 11 or 16 bytes
            cache.get("toys", entry[0], filled(entry[1]), lambda path: None)
            made = entry not in expected
            expected = [*(other for other in expected if other != entry), entry]
            while made and len(expected) > 1 and sum(size for _, size in expected) > limit:
                del expected[0]
        assert names(cache) == [name for name, _ in expected]
        assert leftovers(cache) == []


def test_an_entry_that_goes_soon_after_its_use_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = Cache(tmp_path, limit=10)
    for key in "ab":
        cache.get("toys", key, filled(6), lambda path: None)
    assert "removed toys/a (6 B), used 0 min ago" in capsys.readouterr().err
    os.utime(tmp_path / "toys" / "b", (0, 0))
    cache.get("toys", "c", filled(6), lambda path: None)
    assert capsys.readouterr().err == ""
    assert names(cache) == ["c"]


def test_the_newest_entry_stays_and_is_logged_where_it_alone_is_over_the_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = Cache(tmp_path, limit=10)
    for key in ("a", "large", "b", "large"):
        cache.get("toys", key, filled(11 if key == "large" else 6), lambda path: None)
        assert names(cache) == [key]
    assert "toys/large takes 11 B, more than the whole limit of 10 B" in capsys.readouterr().err
    assert [entry.name for entry in cache.prune()] == ["toys/large"]


def test_a_lower_limit_and_none(tmp_path: Path) -> None:
    for key in "abc":
        Cache(tmp_path).get("toys", key, filled(5), lambda path: None)
    assert Cache(tmp_path).prune() == []
    assert [entry.name for entry in Cache(tmp_path, limit=10).prune()] == ["toys/a"]
    assert [entry.name for entry in Cache(tmp_path, limit=1).prune()] == ["toys/b", "toys/c"]
    assert leftovers(Cache(tmp_path)) == []


def make_slowly(folder: Path, log: Path, barrier: Barrier) -> None:
    def make(place: Path) -> None:
        with log.open("a") as stream:
            stream.write("made\n")
        time.sleep(0.3)  # long enough for the other process to ask for the entry meanwhile
        write(100)(place)

    barrier.wait(PATIENCE)
    found = Cache(folder).get("toys", "a", make, mapped)
    with log.open("a") as stream:
        stream.write(f"read {found.sum()}\n")


def test_two_processes_that_want_the_same_entry_make_it_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    work = partial(make_slowly, tmp_path / "cache", log, PROCESSES.Barrier(2))
    assert at_once(work, work) == [0, 0]
    assert log.read_text().splitlines() == ["made", "read 4950", "read 4950"]


def die_while_making(folder: Path) -> None:
    def make(place: Path) -> None:
        (place / "data.npy").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    Cache(folder).get("toys", "a", make, mapped)


def test_a_maker_that_is_killed_leaves_no_entry_and_the_next_one_succeeds(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert at_once(partial(die_while_making, tmp_path)) == [-signal.SIGKILL]
    assert cache.entries() == [] and leftovers(cache) == [".a.tmp"]
    assert cache.get("toys", "a", write(3), mapped).tolist() == [0, 1, 2]
    assert leftovers(cache) == []


def test_what_is_mapped_stays_readable_after_another_process_removed_its_entry(tmp_path: Path) -> None:
    data = Cache(tmp_path).get("toys", "a", write(200), mapped)
    other = Cache(tmp_path, limit=400)
    assert at_once(partial(other.get, "toys", "b", write(200), mapped)) == [0]
    assert names(other) == ["b"]
    assert data.sum() == sum(range(200))


def churn(folder: Path, seed: int) -> None:
    cache, random = Cache(folder, limit=500), np.random.default_rng(seed)
    for key in random.integers(0, 6, 25):
        assert cache.get("toys", str(key), write(100), mapped).sum() == 4950


def test_processes_that_remove_each_others_entries_go_on(tmp_path: Path) -> None:
    assert at_once(*(partial(churn, tmp_path, seed) for seed in range(3))) == [0, 0, 0]
    cache = Cache(tmp_path, limit=500)
    cache.prune()
    assert leftovers(cache) == []
    assert 0 < len(cache.entries()) <= 2


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("1.5 TB", 1_500 * 10**9), ("512MiB", 2**29), (" 3kb", 3_000), ("0.5GiB", 2**29)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text, "--cache-limit") == size


@pytest.mark.parametrize(
    "text", ["", "20", "20G", "GB", "-1GB", "1e3GB", "20 GB free", "0GB", "٣GB", "nan GB", "1,5GB"]
)
def test_what_is_no_size_is_answered_with_an_example(text: str) -> None:
    with refused("size-unreadable") as caught:
        parse_size(text, "--cache-limit")
    assert "--cache-limit 20GB" in caught.value.hint


@given(st.integers(1, 999 * 10**12))
def test_a_size_in_words_is_the_size(size: int) -> None:
    text = size_text(size)
    assert len(text) <= 8
    if size >= 1_000:
        assert parse_size(text, "x") == pytest.approx(size, rel=0.006)


def test_pruning_removes_what_a_killed_maker_left(tmp_path: Path) -> None:
    assert at_once(partial(die_while_making, tmp_path)) == [-signal.SIGKILL]
    assert list(tmp_path.glob("toys/.*.tmp"))
    Cache(tmp_path).prune()
    assert not list(tmp_path.glob("toys/.*.tmp"))
