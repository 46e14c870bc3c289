"""Bundle folder: manifest, version, facts and hash checks on opening.

bundles/<name>-<number>-<hash>/
    manifest.json      sizes and SHA-256 of all other files; written last
    bundle.json        the facts below
    README.md          the model card
    stack/             the fitted stack (`ensemble.pipeline.serialization`)
    interval/          how true prices lie around the stack's (`serving.bundle.interval`)
    distances.npz      of members from each other, by which one that does not answer is filled in (`serving.bundle.predictor`)
    statistics.json    what the catalog looked like, for drift (`serving.bundle.reference_stats`)
    members/<id>/fold-<k>/   fold models, in the form that `serving.bundle.export_formats` wrote
    encoders/          frozen encoders, each stored once for all models that read it: graphs, or copies named by their content

The version is a number that counts up and a hash of the content; the same content is never written twice.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.atomic_files import digest, locked, read_json, sync, write_json
from core.data.column_mapping import TableColumns, columns_from
from core.data.price_scale import UNSCALED
from core.errors import UserError, some
from core.fields.reader import FEATURES_VERSION
from core.store.oof_store import CORE_VERSION

MANIFEST, FACTS, CARD = "manifest.json", "bundle.json", "README.md"
STACK, INTERVAL, DISTANCES, STATISTICS = "stack", "interval", "distances.npz", "statistics.json"
MEMBERS, ENCODERS = "members", "encoders"
FORMAT = 2
CODE = {"core": CORE_VERSION, "features": FEATURES_VERSION}
"""Versions that decide the prices of the same files: a bundle is only read by the code that it was written with."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
_AGAIN = "copy the bundle again, or write it again with `python -m serving.export`"


class AnswerLevel(StrEnum):
    """Members behind a price, the best first: the whole stack, some, those without a network, none (the best constant)."""

    STACK = "stack"
    MEMBERS = "members"
    LIGHT = "light"
    MEDIAN = "median"


@dataclass(frozen=True)
class MemberFacts:
    """A member in a bundle. form: export format of its models (`serving.bundle.export_formats`). light: needs no torch.
    pictures: reads images.

    folds: the numbers of its fold models. weight: in the stack's linear parts. smape: out of fold. difference: by how much,
    relatively, its prices from these files differ at most from the original's; worsened: points of SMAPE, where its form is
    evaluated by true prices.
    """

    id: str
    architecture: str
    form: str
    light: bool
    pictures: bool
    folds: tuple[int, ...]
    weight: float
    smape: float
    difference: float = 0.0
    worsened: float | None = None

    @property
    def folders(self) -> list[str]:
        """Folders of its fold models in the bundle."""
        return [f"{MEMBERS}/{self.id}/fold-{fold}" for fold in self.folds]


@dataclass(frozen=True)
class BundleFacts:
    """Facts of a bundle (`bundle.json`).

    catalog, folds: hashes of the data; fold_mode, k: how it was parted. rows: by role. nested: `smape`, `standard_error` and
    `interval` (95%) of the stack on rows that it was not fitted to. middle, low, high: the best constant price, and the
    prices that enclose the middle 80%, of the training rows. coverage: share of training rows whose price lies in an interval
    that was made without them; width: those intervals' mean width in log price. largest_difference: by how much, relatively,
    a price from these files differs from the original models' on `compared` test rows. code: versions that it needs.
    columns: record of its catalog's `TableColumns`; None for native columns alone. scale: that the models' and the stack's prices
    are divided by (`core.data.price_scale`); all prices here are in currency units.
    """

    catalog: str
    folds: str
    fold_mode: str
    k: int
    rows: dict[str, int]
    members: tuple[MemberFacts, ...]
    nested: dict[str, Any]
    middle: float
    low: float
    high: float
    coverage: float
    width: float
    stretch: float
    compared: int
    largest_difference: float
    code: dict[str, str]
    columns: dict[str, Any] | None = None
    scale: float = UNSCALED

    @property
    def table_columns(self) -> TableColumns:
        """Columns by which rows for this bundle are read."""
        return columns_from(self.columns)

    @property
    def image_readers(self) -> list[str]:
        """Ids of the members that read images."""
        return [member.id for member in self.members if member.pictures]


@dataclass(frozen=True)
class Bundle:
    """A bundle on the disk whose files match its manifest."""

    folder: Path
    name: str
    version: str
    facts: BundleFacts

    def path(self, *names: str) -> Path:
        return self.folder.joinpath(*names)


def open_bundle(folder: Path) -> Bundle:
    """Reads and checks a bundle; takes as long as hashing its files does.

    Raises UserError that names the file which is missing, too many or changed, and for one that other code has written.
    """
    if not (folder / MANIFEST).is_file():
        raise UserError(
            f"{folder} is no bundle: it has no {MANIFEST}",
            code="bundle-missing",
            hint="name a folder that `python -m serving.export` has written, such as runs/bundles/NAME-VERSION",
        )
    manifest = _json(folder / MANIFEST)
    if not isinstance(manifest, dict):
        raise _no_manifest(folder)
    if manifest.get("format") != FORMAT or manifest.get("code") != CODE:
        raise UserError(
            f"the bundle {folder} was written by another version of Pricestack (format {manifest.get('format')}, code "
            f"{manifest.get('code')}; this one is format {FORMAT}, code {CODE}), whose prices may be others",
            code="bundle-other-format",
            hint="write it again with `python -m serving.export`, or serve it with the version that wrote it",
        )
    name, version, files = (manifest.get(key) for key in ("name", "version", "files"))
    if not (isinstance(name, str) and isinstance(version, str) and isinstance(files, dict)):
        raise _no_manifest(folder)
    _check_files(folder, files)
    if version.rpartition("-")[2] != _content(name, files):
        raise UserError(
            f"{folder / MANIFEST} is damaged: {name} {version} is not what these files are called",
            code="bundle-renamed",
            hint=_AGAIN,
        )
    return Bundle(folder, name, version, read_facts(folder))


def read_facts(folder: Path) -> BundleFacts:
    record = _json(folder / FACTS)
    members = tuple(MemberFacts(**{**each, "folds": tuple(each["folds"])}) for each in record["members"])
    return BundleFacts(**{**record, "members": members})


def write_facts(folder: Path, facts: BundleFacts) -> None:
    usual = {"columns": None, "scale": UNSCALED}  # left out, as older versions did: the same content keeps its version
    record = {key: value for key, value in asdict(facts).items() if key not in usual or value != usual[key]}
    write_json(folder / FACTS, record)


def check_name(name: str) -> None:
    """Raises UserError for what is no name of a bundle."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"--name {name!r} is no name of a bundle",
            code="bundle-bad-name",
            hint="use up to 60 letters, digits, dots, dashes and underscores, beginning with a letter or digit",
        )


@contextmanager
def unfinished(home: Path) -> Iterator[Path]:
    """A folder beside the bundles to write one in; it is gone after the block unless `publish` has moved it.

    One writer at a time: another waits. What a killed writer has left is removed.
    """
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / ".lock"):
        for left in home.glob(".unfinished-*"):
            shutil.rmtree(left)
        folder = Path(tempfile.mkdtemp(dir=home, prefix=".unfinished-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, home: Path, name: str) -> tuple[Bundle, bool]:
    """Makes the folder a bundle of `home`: (the bundle, whether it is new). It is there whole or not at all.

    Where a bundle of this name has the same content, that one is the bundle.
    """
    files = {path: {"size": size, "sha256": sha} for path, size, sha in _contents(folder)}
    content = _content(name, files)
    there = bundle_folders(home, name)
    for known in there.values():
        if known.name.endswith(content):
            return open_bundle(known), False
    version = f"{max(there, default=0) + 1}-{content}"
    record = {"format": FORMAT, "code": CODE, "name": name, "version": version, "files": files}
    write_json(folder / MANIFEST, {**record, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
    folder.chmod(0o755)
    for path in (*folder.rglob("*"), folder):
        sync(path)
    final = home / f"{name}-{version}"
    folder.rename(final)
    sync(home)
    return Bundle(final, name, version, read_facts(final)), True


def _content(name: str, files: Mapping[str, dict[str, Any]]) -> str:
    """The hash in a version: of the name and of every file."""
    return digest(name, *(f"{path} {files[path]['sha256']}" for path in sorted(files)))[:12]


def bundle_folders(home: Path, name: str) -> dict[int, Path]:
    """Folders of the bundles of that name, by number."""
    pattern = re.compile(rf"{re.escape(name)}-(\d+)-[0-9a-f]{{12}}")
    found = ((pattern.fullmatch(path.name), path) for path in home.iterdir())
    return {int(match[1]): path for match, path in found if match}


def _contents(folder: Path) -> Iterator[tuple[str, int, str]]:
    """(path, size, SHA-256) of every file but the manifest, by path."""
    for path in _files(folder):
        with (folder / path).open("rb") as stream:
            yield path, (folder / path).stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()


def _files(folder: Path) -> list[str]:
    found = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return sorted(path for each in found if (path := each.relative_to(folder).as_posix()) != MANIFEST)


def _check_files(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    there = set(_files(folder))
    for what, code, paths in (
        ("lacks", "bundle-lost-files", files.keys() - there),
        ("has, but its manifest lacks,", "bundle-extra-files", there - files.keys()),
    ):
        if paths:
            raise UserError(f"the bundle {folder} {what} {some(sorted(paths))}", code=code, hint=_AGAIN)
    for path, size, sha in _contents(folder):
        if files[path] != {"size": size, "sha256": sha}:
            raise UserError(
                f"the bundle {folder} is damaged: {path} is not what its manifest says",
                code="bundle-changed-file",
                hint=_AGAIN,
            )


def _no_manifest(folder: Path) -> UserError:
    return UserError(
        f"{folder / MANIFEST} is damaged: it does not hold what a manifest does",
        code="bundle-bad-manifest",
        hint=_AGAIN,
    )


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}", code="bundle-bad-json", hint=_AGAIN) from None
