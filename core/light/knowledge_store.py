"""Knowledge on disk: JSON and arrays, no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.atomic_files import read_json, write_json
from core.fields.field_table import load_arrays, loaded_once, save_arrays, sparse_arrays, sparse_from
from core.light import neighbours as near
from core.light import targets as target
from core.light.embeddings import TextReader
from core.light.inputs import load_inputs
from core.light.knowledge import Knowledge, Priced, Reading
from core.light.linear import Linear


def save_knowledge(knowledge: Knowledge, folder: Path) -> None:
    """Writes everything but the encoder itself, which is named by its files' hash."""
    priced, reading = knowledge.priced, knowledge.reading
    knowledge.inputs.save(folder)
    write_json(folder / "targets.json", priced.targets.record())
    arrays: dict[str, NDArray[Any]] = {"components": knowledge.components, "telling": knowledge.telling}
    arrays |= {**linear_arrays(priced.ridge, "ridge"), **neighbour_arrays(priced.neighbours, "near")}
    if reading is not None and priced.by_states is not None:
        ridge, neighbours = priced.by_states
        write_json(folder / "reader.json", reading.reader.record)
        arrays |= {**linear_arrays(ridge, "state"), **neighbour_arrays(neighbours, "state near")}
        arrays |= {"state mean": reading.mean, "state components": reading.components}
    save_arrays(folder / "knowledge.npz", arrays)


def load_knowledge(folder: Path, reader: TextReader | None = None) -> Knowledge:
    """Reads back what `save_knowledge` wrote. reader: the training's own, which knows its cache; else one without."""
    if reader is not None:
        return _load(folder, reader)
    files = [folder / name for name in ("inputs.json", "inputs.npz", "targets.json", "knowledge.npz", "reader.json")]
    return loaded_once("knowledge", [path for path in files if path.exists()], lambda: _load(folder, None))


def _load(folder: Path, reader: TextReader | None) -> Knowledge:
    arrays, path = load_arrays(folder / "knowledge.npz"), folder / "reader.json"
    by_states, reading = None, None
    if path.exists():
        by_states = linear_from(arrays, "state"), neighbours_from(arrays, "state near")
        reader = reader or TextReader(**read_json(path))
        reading = Reading(reader, arrays["state mean"], arrays["state components"])
    priced = Priced(
        target.targets_from_record(read_json(folder / "targets.json")),
        linear_from(arrays, "ridge"),
        neighbours_from(arrays, "near"),
        by_states,
    )
    return Knowledge(load_inputs(folder), arrays["components"], arrays["telling"], priced, reading)


def neighbour_arrays(neighbours: near.Neighbours, name: str) -> dict[str, NDArray[Any]]:
    """Neighbours as arrays for `save_arrays`, under names that begin with `name`."""
    arrays: dict[str, NDArray[Any]] = {
        f"{name} prices": neighbours.log_prices,
        f"{name} amounts": neighbours.log_amounts,
        f"{name} count": np.array(neighbours.count),
    }
    if isinstance(neighbours.references, np.ndarray):
        return arrays | {f"{name} references": neighbours.references}
    return arrays | sparse_arrays(neighbours.references, f"{name} references")


def neighbours_from(arrays: dict[str, NDArray[Any]], name: str) -> near.Neighbours:
    """The neighbours that `neighbour_arrays` took apart."""
    dense = arrays.get(f"{name} references")
    references = sparse_from(arrays, f"{name} references") if dense is None else dense
    prices, amounts, count = (arrays[f"{name} {part}"] for part in ("prices", "amounts", "count"))
    return near.Neighbours(references, prices, amounts, int(count))


def linear_arrays(linear: Linear, name: str) -> dict[str, NDArray[Any]]:
    """A linear model as arrays for `save_arrays`, under names that begin with `name`."""
    return {f"{name} coefficients": linear.coefficients, f"{name} intercept": np.array(linear.intercept)}


def linear_from(arrays: dict[str, NDArray[Any]], name: str) -> Linear:
    """The linear model that `linear_arrays` took apart."""
    return Linear(arrays[f"{name} coefficients"], float(arrays[f"{name} intercept"]))
