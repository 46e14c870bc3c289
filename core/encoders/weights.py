"""Safetensors files of an encoder folder: one file, or shards listed in an index."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

from safetensors import safe_open

from core.atomic_files import read_json
from core.errors import UserError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, sorted: those that the index lists need not be there; empty for a folder without any.

    Raises UserError for an index that lists nothing.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        return _listed(folder / INDEX)
    return sorted(folder.glob("model*.safetensors"))


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name to shape of every tensor in the files, from their headers alone."""
    return dict(_headers(folder))


def count(folder: Path) -> int:
    """Number of values in the files, in any precision."""
    return sum(prod(shape) for shape in tensor_shapes(folder).values())


def _listed(index: Path) -> list[Path]:
    try:
        return sorted({index.parent / name for name in read_json(index)["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{index} is no index of weights",
            code="encoder-bad-index",
            hint="copy the folder again; the file may be cut short",
        ) from None


def _headers(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    for path in weight_files(folder):
        with safe_open(path, framework="numpy") as tensors:
            for name in tensors.keys():  # noqa: SIM118, safe_open is no mapping
                yield name, tuple(tensors.get_slice(name).get_shape())
