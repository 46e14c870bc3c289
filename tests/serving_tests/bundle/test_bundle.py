from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import UserError
from serving.bundle.bundle import check_name, open_bundle, publish, unfinished, write_facts
from tests.errors import refused


def test_a_bundle_may_be_moved_and_says_what_it_is(exported: Path) -> None:
    found = open_bundle(exported)
    assert (found.name, exported.name) == ("toy", f"toy-{found.version}")
    assert [member.architecture for member in found.facts.members] == ["boosted", "lexical"]
    assert found.facts.rows == {"train": 150, "test": 40}


def change(folder: Path) -> None:
    (folder / "README.md").write_text((folder / "README.md").read_text().replace("a", "b", 1))


def lengthen(folder: Path) -> None:
    with (folder / "statistics.json").open("a") as stream:
        stream.write(" ")


def remove(folder: Path) -> None:
    next(folder.glob("members/*/fold-1/lexical.json")).unlink()


def add(folder: Path) -> None:
    (folder / "members" / "model.pkl").write_bytes(b"")


def damage_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


def edited(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        record = {**json.loads((folder / "manifest.json").read_text()), **changes}
        (folder / "manifest.json").write_text(
            json.dumps({key: value for key, value in record.items() if value is not None})
        )

    return edit


def age(folder: Path) -> None:
    record = json.loads((folder / "manifest.json").read_text())
    record["code"]["core"] = "1"
    (folder / "manifest.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (change, r"is damaged: README\.md is not what its manifest says"),
        (lengthen, r"is damaged: statistics\.json is not"),
        (remove, r"lacks members/lexical-\w+/fold-1/lexical\.json"),
        (add, r"has, but its manifest lacks, members/model\.pkl"),
        (damage_manifest, r"manifest\.json is damaged"),
        (no_manifest, r"manifest\.json is damaged: it does not hold what a manifest does"),
        (edited(files=None), r"manifest\.json is damaged: it does not hold"),
        (edited(name=["toy"]), r"manifest\.json is damaged: it does not hold"),
        (edited(name="other"), r"manifest\.json is damaged: other 1-\w+ is not what these files are called"),
        (edited(version="9-0123456789ab"), r"manifest\.json is damaged: toy 9-0123456789ab is not what"),
        (edited(files={}), r"has, but its manifest lacks,"),
        (age, r"written by another version of Pricestack .*'core': '1'"),
        (shutil.rmtree, "is no bundle: it has no manifest.json"),
    ],
)
def test_what_is_not_as_it_was_written_is_refused_by_name(
    exported: Path, harm: Callable[[Path], object], says: str
) -> None:
    harm(exported)
    with pytest.raises(UserError, match=says):
        open_bundle(exported)


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
