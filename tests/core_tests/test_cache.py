"""The cache: entries are made once, whole or absent, and the ones used longest ago make room."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cache import Cache, parse_size, size_text
from core.errors import UserError

PROCESSES = multiprocessing.get_context("fork")


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
    """Everything in the cache but complete entries and their locks."""
    complete = {entry.path for entry in cache.entries()}
    locks = {path.with_name(f".{path.name}.lock") for path in complete}
    return [path.name for path in cache.folder.glob("*/*") if path not in complete | locks]


def in_process(target: Callable[..., None], *arguments: object) -> int | None:
    """The exit code of `target(*arguments)` in a process of its own."""
    process = PROCESSES.Process(target=target, args=arguments)
    process.start()
    process.join(60)
    return process.exitcode


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
    assert list((tmp_path / "toys").iterdir()) == []
    assert cache.get("toys", "a", write(3), mapped).tolist() == [0, 1, 2]


def test_entries_may_be_made_from_other_entries(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=200)

    def doubled(folder: Path) -> None:
        np.save(folder / "data.npy", 2 * cache.get("toys", "a", write(4), mapped))

    assert cache.get("doubles", "a", doubled, mapped).tolist() == [0, 2, 4, 6]
    assert names(cache) == ["a"]  # there is room for one


@settings(deadline=None, max_examples=60)
@given(uses=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=14), limit=st.integers(1, 12))
def test_the_least_recently_used_entries_make_room(uses: list[tuple[int, int]], limit: int) -> None:
    """Against a model: what is within the limit is kept in order of use; of what is over it, the last that was used."""
    with TemporaryDirectory() as folder:
        cache, expected = Cache(Path(folder), limit), []
        for key, kind in uses:
            size, name = 1 + key * (key + 1) // 2, f"{key}{kind}"  # 1, 2, 4, 7, 11, 16
            cache.get("toys", name, filled(size), lambda path: None)
            if (name, size) in expected:
                expected.remove((name, size))
                expected.append((name, size))
                continue
            expected.append((name, size))
            last_large = next((entry for entry in reversed(expected) if entry[1] > limit), None)
            expected = [entry for entry in expected if entry[1] <= limit or entry == last_large]
            while sum(size for _, size in expected if size <= limit) > limit:
                expected.remove(next(entry for entry in expected if entry[1] <= limit))
        assert names(cache) == [name for name, _ in expected]
        assert leftovers(cache) == []


def test_an_entry_that_goes_soon_after_its_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = Cache(tmp_path, limit=10)
    for key in "ab":
        cache.get("toys", key, filled(6), lambda path: None)
    assert "removed toys/a (6 B), used 0 min ago" in capsys.readouterr().err
    os.utime(tmp_path / "toys" / "b", (0, 0))
    cache.get("toys", "c", filled(6), lambda path: None)
    assert capsys.readouterr().err == ""
    assert names(cache) == ["c"]


def keep_large(folder: Path, ready: Connection) -> None:
    for _ in range(2):
        Cache(folder, limit=10).get("toys", "large", filled(11), lambda path: None)
    ready.send("used")
    ready.recv()


def test_an_entry_over_the_limit_stays_while_a_process_that_used_it_lives(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache, (ours, theirs) = Cache(tmp_path, limit=10), PROCESSES.Pipe()
    process = PROCESSES.Process(target=keep_large, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() == "used"
    assert capfd.readouterr().err.count("more than the whole limit of 10 B") == 1
    for key in "ab":
        cache.get("toys", key, filled(6), lambda path: None)
        assert names(cache) == ["large", key]
    ours.send("go")
    process.join(60)
    assert [entry.name for entry in cache.prune()] == ["toys/large"]
    assert names(cache) == ["b"]


def test_a_lower_limit_and_none(tmp_path: Path) -> None:
    for key in "abc":
        Cache(tmp_path).get("toys", key, filled(5), lambda path: None)
    assert Cache(tmp_path).prune() == []
    assert [entry.name for entry in Cache(tmp_path, limit=10).prune()] == ["toys/a"]
    assert [entry.name for entry in Cache(tmp_path, limit=1).prune()] == ["toys/b", "toys/c"]
    assert list((tmp_path / "toys").iterdir()) == []


def make_slowly(folder: Path, log: Path, barrier: Barrier) -> None:
    def make(place: Path) -> None:
        with log.open("a") as stream:
            stream.write("made\n")
        time.sleep(0.3)  # long enough for the other process to ask for the entry meanwhile
        write(100)(place)

    barrier.wait(60)
    found = Cache(folder).get("toys", "a", make, mapped)
    with log.open("a") as stream:
        stream.write(f"read {found.sum()}\n")


def test_two_processes_that_want_the_same_entry_make_it_once(tmp_path: Path) -> None:
    barrier, log = PROCESSES.Barrier(2), tmp_path / "log"
    processes = [PROCESSES.Process(target=make_slowly, args=(tmp_path / "cache", log, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert log.read_text().splitlines() == ["made", "read 4950", "read 4950"]


def die_while_making(folder: Path) -> None:
    def make(place: Path) -> None:
        (place / "data.npy").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    Cache(folder).get("toys", "a", make, mapped)


def test_a_maker_that_is_killed_leaves_no_entry_and_the_next_one_succeeds(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert in_process(die_while_making, tmp_path) == -signal.SIGKILL
    assert cache.entries() == [] and leftovers(cache)
    assert cache.get("toys", "a", write(3), mapped).tolist() == [0, 1, 2]
    assert leftovers(cache) == []


def test_pruning_removes_what_a_killed_maker_left(tmp_path: Path) -> None:
    assert in_process(die_while_making, tmp_path) == -signal.SIGKILL
    Cache(tmp_path).prune()
    assert list((tmp_path / "toys").iterdir()) == []


def sum_when_told(folder: Path, pipe: Connection) -> None:
    data = Cache(folder).get("toys", "a", write(200), mapped)
    pipe.send("mapped")
    pipe.recv()
    pipe.send(int(data.sum()))


def test_what_is_mapped_stays_readable_after_its_entry_was_removed(tmp_path: Path) -> None:
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=sum_when_told, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() == "mapped"
    cache = Cache(tmp_path, limit=400)
    cache.get("toys", "b", write(200), mapped)
    assert names(cache) == ["b"]
    ours.send("go")
    assert ours.recv() == sum(range(200))
    process.join(60)


def churn(folder: Path, seed: int) -> None:
    cache, random = Cache(folder, limit=500), np.random.default_rng(seed)
    for key in random.integers(0, 6, 25):
        assert cache.get("toys", str(key), write(100), mapped).sum() == 4950


def test_processes_that_remove_each_others_entries_go_on(tmp_path: Path) -> None:
    processes = [PROCESSES.Process(target=churn, args=(tmp_path, seed)) for seed in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert leftovers(Cache(tmp_path)) == []
    assert sum(entry.size for entry in Cache(tmp_path).entries()) <= 500


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
    with pytest.raises(UserError, match="is no size") as caught:
        parse_size(text, "--cache-limit")
    assert "--cache-limit 20GB" in caught.value.cure


@given(st.integers(1, 999 * 10**12))
def test_a_size_in_words_is_the_size(size: int) -> None:
    text = size_text(size)
    assert len(text) <= 8
    if size >= 1_000:
        assert parse_size(text, "x") == pytest.approx(size, rel=0.006)
