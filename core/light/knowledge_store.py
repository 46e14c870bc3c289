"""Knowledge on disk: JSON and arrays, no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.files import read_json, write_json
from core.light import neighbours as near
from core.light import targets as target
from core.light.embeddings import TextReader
from core.light.inputs import load_inputs
from core.light.knowledge import Knowledge, Priced
from core.light.linear import Linear
from core.light.store import load_arrays, save_arrays, sparse_arrays, sparse_from


def save_knowledge(knowledge: Knowledge, folder: Path) -> None:
    """Writes everything but the encoder itself, which is named by its files' hash."""
    priced, reader = knowledge.priced, knowledge.reader
    knowledge.inputs.save(folder)
    write_json(folder / "targets.json", priced.targets.record())
    arrays: dict[str, NDArray[Any]] = {"components": knowledge.components, "telling": knowledge.telling}
    arrays |= {**_of_linear(priced.ridge, "ridge"), **neighbour_arrays(priced.neighbours, "near")}
    if reader is not None and priced.near_states is not None and priced.state_ridge is not None:
        write_json(folder / "reader.json", reader.record)
        arrays |= {**_of_linear(priced.state_ridge, "state"), **neighbour_arrays(priced.near_states, "state near")}
        arrays |= {"state mean": knowledge.state_mean, "state components": knowledge.state_components}
    save_arrays(folder / "knowledge.npz", arrays)


def load_knowledge(folder: Path, reader: TextReader | None = None) -> Knowledge:
    """Reads back what `save_knowledge` wrote. reader: the training's own, which knows its cache; else one without."""
    arrays, path = load_arrays(folder / "knowledge.npz"), folder / "reader.json"
    if reader is None and path.exists():
        reader = TextReader(**read_json(path))
    states = reader is not None
    priced = Priced(
        target.targets_from_record(read_json(folder / "targets.json")),
        _linear_from(arrays, "ridge"),
        neighbours_from(arrays, "near"),
        neighbours_from(arrays, "state near") if states else None,
        _linear_from(arrays, "state") if states else None,
    )
    own = (arrays["state mean"], arrays["state components"]) if states else (None, None)
    return Knowledge(load_inputs(folder), arrays["components"], arrays["telling"], priced, reader, *own)


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


def _of_linear(linear: Linear, name: str) -> dict[str, NDArray[Any]]:
    return {f"{name} coefficients": linear.coefficients, f"{name} intercept": np.array(linear.intercept)}


def _linear_from(arrays: dict[str, NDArray[Any]], name: str) -> Linear:
    return Linear(arrays[f"{name} coefficients"], float(arrays[f"{name} intercept"]))
