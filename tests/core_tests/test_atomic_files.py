from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from core.atomic_files import atomic_path, digest, digest_json, link, locked, read_json, write_json, write_text


def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "value.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="power"), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("power cut")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_appears_only_after_the_block_in_folders_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "value.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_files_get_the_mode_that_the_user_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "value.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "value.txt").stat().st_mode & 0o777 == 0o640


def test_json_comes_back_and_nan_is_refused_before_anything_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"b": [1, None], "a": "☃"})
    assert read_json(path) == {"a": "☃", "b": [1, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": "☃", "b": [1, None]}


def test_digests_see_where_parts_end() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert digest("a") == digest(b"a")
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1}) != digest_json({"a": 1, "b": 3})


def test_a_lock_has_one_holder_and_is_free_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path) as held, locked(path, wait=False) as second:
        assert held and not second
    with locked(path, wait=False) as free:
        assert free


def test_a_link_is_the_same_file_and_outlives_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("weights")
    link(tmp_path / "one", tmp_path / "folder" / "two")
    assert (tmp_path / "folder" / "two").samefile(tmp_path / "one")
    (tmp_path / "one").unlink()
    assert (tmp_path / "folder" / "two").read_text() == "weights"
    with pytest.raises(FileNotFoundError):
        link(tmp_path / "one", tmp_path / "three")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_where_there_are_no_links_a_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "one").write_text("weights")
    link(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two").read_text() == "weights" and not (tmp_path / "two").samefile(tmp_path / "one")


def test_many_strings_have_the_digest_of_their_text() -> None:
    strings = np.array([f"über {number}" for number in range(10_000)], dtype=object)
    assert digest(strings, b"x") == digest("\x1f".join(strings), b"x")
    assert digest(strings[:0]) == digest("")
