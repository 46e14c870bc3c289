"""Serialization of a fitted stack without pickle: JSON, arrays and LightGBM text, equal to the last bit.

<folder>/<hash>.npz      its arrays
<folder>/<hash>.txt      a LightGBM booster each
<folder>/record.json     everything else; it names the others and is written last

Files are named by their content and removed only when no record names them: a writer that is stopped leaves the old stack or
the new one. What can be stored are dataclasses decorated with `stored` (`ensemble.matrix.stored_types`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import lightgbm
import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats
from core.atomic_files import atomic_path, digest, read_json, write_json
from core.data.catalog import Catalog
from core.errors import UserError
from core.fields.reader import FEATURES_VERSION
from core.store.oof_store import CORE_VERSION
from ensemble.matrix.level_one import MemberQuantiles, Rows
from ensemble.matrix.matrix import Matrix
from ensemble.matrix.row_features import RowFeatureReader
from ensemble.matrix.stored_types import STORED_TYPES, stored
from ensemble.methods.fixed import Blend
from ensemble.pipeline.nested_cv import Stacked
from ensemble.pipeline.postprocessing import STEPS

Kind = TypeVar("Kind")

STACK = "stack"
"""The folder in a workspace."""
_RECORD = "record.json"
_FORMAT = 1
_VERSIONS = {"format": _FORMAT, "core": CORE_VERSION, "features": FEATURES_VERSION}


@stored("Stack")
@dataclass(frozen=True, eq=False)
class Stack:
    """A fitted stack with what it needs to know of its rows.

    members: m ids, in the order of the columns. fingerprints: m hashes of the predictions that it was fitted to. reader: of the
    rows' features. catalog, folds: hashes of the data behind it. quantiles: places of the p members whose quantiles a
    post-processing step reads, none where no step does.
    """

    members: tuple[str, ...]
    fingerprints: tuple[str, ...]
    stacked: Stacked
    reader: RowFeatureReader
    catalog: str
    folds: str
    quantiles: tuple[int, ...] = ()

    def rows(self, prices: Floats, catalog: Catalog, quantiles: Sequence[Floats] = ()) -> Rows:
        """The rows of a catalog whose members' prices are (n, m). quantiles: of the p members, (n, 9) prices each, or none."""
        known = MemberQuantiles.of(self.quantiles, quantiles) if len(quantiles) else None
        return Rows(prices, self.reader.read(catalog), known)

    @property
    def without_quantiles(self) -> Stacked:
        """For rows whose members did not give them: the same without the post-processing step that reads them."""
        recipe = self.stacked.recipe
        kept = {name: step for name, step in recipe.steps.items() if not STEPS[name].needs_quantiles}
        return replace(self.stacked, recipe=replace(recipe, steps=kept))

    @property
    def used(self) -> NDArray[np.bool_]:
        """(m,) members that a price can depend on: blends look at what has weight, everything else at all of them."""
        used = np.full(len(self.members), any(STEPS[name].reads_members for name in self.stacked.recipe.steps))
        for each in self.stacked.fitted.values():
            used |= each.weights != 0 if isinstance(each, Blend) else True
        return used

    def narrowed(self) -> Stack:
        """The same prices from the used members alone."""
        used = self.used
        if used.all():
            return self
        fitted = {
            name: Blend(each.weights[used], each.space, each.offset) if isinstance(each, Blend) else each
            for name, each in self.stacked.fitted.items()
        }
        members, prints = (
            tuple(name for name, kept in zip(names, used, strict=True) if kept)
            for names in (self.members, self.fingerprints)
        )
        return replace(self, members=members, fingerprints=prints, stacked=replace(self.stacked, fitted=fitted))

    def save(self, folder: Path) -> None:
        save(self, folder)


def stack_of(matrix: Matrix, stacked: Stacked) -> Stack:
    """The stack fitted to a workspace's matrix, with its reader of row features. Raises ValueError for one made of tables."""
    if matrix.reader is None:
        raise ValueError("the features of this matrix cannot be read from a catalog")
    prints = matrix.fingerprints
    given = matrix.quantiles if any(STEPS[name].needs_quantiles for name in stacked.recipe.steps) else None
    return Stack(
        matrix.names,
        tuple(prints[name] for name in matrix.names),
        stacked,
        matrix.reader,
        matrix.catalog,
        matrix.folds_hash,
        () if given is None else tuple(given[0].members.tolist()),
    )


def load_stack(folder: Path) -> Stack:
    """The stack in a folder. Raises UserError for what `load` refuses."""
    return load(folder, Stack)


def save(value: Any, folder: Path) -> None:
    """Writes an object of a stored dataclass; whatever else was in the folder is gone afterwards."""
    writer = _Writer()
    record = {**_VERSIONS, "value": writer.encode(value)}
    stream = io.BytesIO()
    np.savez(stream, *writer.arrays)
    arrays = stream.getvalue()
    contents = {f"{digest(arrays)}.npz": arrays}
    texts = [text.encode() for text in writer.boosters]
    names = [f"{digest(text)}.txt" for text in texts]
    contents |= dict(zip(names, texts, strict=True))
    for name, content in contents.items():
        if not (folder / name).exists():
            with atomic_path(folder / name) as temporary:
                temporary.write_bytes(content)
    write_json(folder / _RECORD, {**record, "arrays": next(iter(contents)), "boosters": names})
    for path in folder.iterdir():
        if path.name not in {_RECORD, *contents}:
            path.unlink()


def load(folder: Path, kind: type[Kind]) -> Kind:
    """Reads back what `save` wrote.

    Raises UserError for a folder without, for one of another version, and for files that are missing or damaged.
    """
    if not (folder / _RECORD).exists():
        raise UserError(
            f"{folder} holds no fitted stack", code="stored-stack-missing", hint="run `python -m ensemble.stack` first"
        )
    record = read_json(folder / _RECORD)
    for what, own in _VERSIONS.items():
        if record.get(what) != own:
            raise UserError(
                f"{folder} was written by another version of Pricestack ({what} {record.get(what)}, not {own})",
                code="stored-stack-other-version",
                hint="run `python -m ensemble.stack` again with this version, or use the version that wrote it",
            )
    with np.load(io.BytesIO(_content(folder, record["arrays"])), allow_pickle=False) as stored:
        arrays = [stored[f"arr_{place}"] for place in range(len(stored.files))]
    boosters = [_content(folder, name).decode() for name in record["boosters"]]
    value = _Reader(folder, arrays, boosters).decode(record["value"])
    if not isinstance(value, kind):
        raise UserError(
            f"{folder} holds a {type(value).__name__}, not a {kind.__name__}",
            code="stored-stack-wrong-kind",
            hint="name another folder",
        )
    return value


def _content(folder: Path, name: str) -> bytes:
    path = folder / name
    content = path.read_bytes() if path.exists() else b""
    if digest(content) != path.stem:
        raise UserError(
            f"{path} is {'damaged' if path.exists() else 'missing'}",
            code="stored-stack-damaged",
            hint="run `python -m ensemble.stack` again, or restore the folder from a copy",
        )
    return content


@dataclass
class _Writer:
    """Objects as JSON; arrays and boosters are put aside and stand there by their places."""

    arrays: list[NDArray[Any]] = field(default_factory=list)
    boosters: list[str] = field(default_factory=list)

    def encode(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, np.ndarray):
            self.arrays.append(value)
            return {"array": len(self.arrays) - 1}
        if isinstance(value, lightgbm.Booster):
            self.boosters.append(value.model_to_string())
            return {"booster": len(self.boosters) - 1, "best_iteration": value.best_iteration}
        if isinstance(value, tuple):
            return [self.encode(item) for item in value]
        if isinstance(value, dict):
            return {"entries": {name: self.encode(item) for name, item in value.items()}, "order": list(value)}
        kind = type(value)
        name = next((name for name, stored_kind in STORED_TYPES.items() if stored_kind is kind), None)
        if name is None:
            raise TypeError(f"{kind.__name__} has no stored form: decorate it with ensemble.matrix.stored_types.stored")
        return {"kind": name, **{each.name: self.encode(getattr(value, each.name)) for each in fields(kind)}}


@dataclass
class _Reader:
    """The way back from what `_Writer` made."""

    folder: Path
    arrays: list[NDArray[Any]]
    boosters: list[str]

    def decode(self, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(self.decode(item) for item in value)
        if not isinstance(value, Mapping):
            return value
        if "array" in value:
            return self.arrays[value["array"]]
        if "booster" in value:
            booster = lightgbm.Booster(model_str=self.boosters[value["booster"]])
            booster.best_iteration = value["best_iteration"]
            return booster
        if "entries" in value:  # JSON is written sorted, and post-processing steps are applied in their order
            return {name: self.decode(value["entries"][name]) for name in value["order"]}
        kind = STORED_TYPES.get(value["kind"])
        if kind is None:
            raise UserError(
                f"{self.folder} holds a {value['kind']}, which this version of Pricestack does not know",
                code="stored-stack-unknown-kind",
                hint="run `python -m ensemble.stack` again with this version",
            )
        return kind(**{name: self.decode(item) for name, item in value.items() if name != "kind"})
