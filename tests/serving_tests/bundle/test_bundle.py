from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.bundle.bundle import check_name, open_bundle, publish, unfinished, write_facts
from tests.errors import refused


def test_a_moved_bundle_is_read_with_its_facts(exported: Path) -> None:
    found = open_bundle(exported)
    assert (found.name, exported.name) == ("toy", f"toy-{found.version}")
    assert [member.architecture for member in found.facts.members] == ["boosted", "lexical"]
    assert found.facts.rows == {"train": 150, "test": 40}


def rewrite(name: str, edit: Callable[[str], str]) -> Callable[[Path], object]:
    """Damage to one file of a bundle."""
    return lambda folder: (folder / name).write_text(edit((folder / name).read_text()))


def in_manifest(**changes: object) -> Callable[[Path], object]:
    """Damage to the manifest's fields; None takes one away."""

    def edit(text: str) -> str:
        record = {**json.loads(text), **changes}
        return json.dumps({key: value for key, value in record.items() if value is not None})

    return rewrite("manifest.json", edit)


@pytest.mark.parametrize(
    ("harm", "code", "named"),
    [
        (rewrite("README.md", lambda text: text.replace("a", "b", 1)), "bundle-changed-file", "README.md"),
        (rewrite("statistics.json", lambda text: text + " "), "bundle-changed-file", "statistics.json"),
        (
            lambda folder: next(folder.glob("members/*/fold-1/lexical.json")).unlink(),
            "bundle-lost-files",
            "lexical.json",
        ),
        (lambda folder: (folder / "members" / "model.pkl").touch(), "bundle-extra-files", "members/model.pkl"),
        (rewrite("manifest.json", lambda text: "{"), "bundle-bad-json", "manifest.json"),
        (rewrite("manifest.json", lambda text: "[]"), "bundle-bad-manifest", "manifest.json"),
        (in_manifest(files=None), "bundle-bad-manifest", "manifest.json"),
        (in_manifest(name=["toy"]), "bundle-bad-manifest", "manifest.json"),
        (in_manifest(name="other"), "bundle-renamed", "other"),
        (in_manifest(version="9-0123456789ab"), "bundle-renamed", "9-0123456789ab"),
        (in_manifest(files={}), "bundle-extra-files", "README.md"),
        (in_manifest(code={"core": "1"}), "bundle-other-format", "'core': '1'"),
        (shutil.rmtree, "bundle-missing", "manifest.json"),
    ],
)
def test_a_damaged_bundle_is_refused_by_code_and_file(
    exported: Path, harm: Callable[[Path], object], code: str, named: str
) -> None:
    harm(exported)
    with refused(code) as caught:
        open_bundle(exported)
    assert named in caught.value.what and caught.value.hint


def write(home: Path, exported: Path, text: str) -> tuple[str, bool]:
    with unfinished(home) as folder:
        write_facts(folder, open_bundle(exported).facts)
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text(text)
        bundle, new = publish(folder, home, "shop")
    return bundle.version, new


def test_versions_count_up_and_the_same_content_is_written_once(exported: Path, tmp_path: Path) -> None:
    home = tmp_path / "bundles"
    first, second, third = (write(home, exported, text) for text in ("one", "two", "one"))
    assert [version.split("-")[0] for version, _ in (first, second)] == ["1", "2"]
    assert third == (first[0], False) and first[1] and second[1]
    assert sorted(path.name for path in home.iterdir()) == [".lock", f"shop-{first[0]}", f"shop-{second[0]}"]


def test_what_was_not_finished_is_no_bundle_and_is_cleared_away(exported: Path, tmp_path: Path) -> None:
    home = tmp_path / "bundles"
    with pytest.raises(RuntimeError), unfinished(home) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    (home / ".unfinished-killed").mkdir()  # as a killed writer leaves it
    write(home, exported, "one")
    assert len([path for path in home.iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "é", "x" * 61])
def test_names_are_plain(name: str) -> None:
    with refused("bundle-bad-name"):
        check_name(name)
