"""Weight files of an encoder folder, safetensors or `.bin`: one file, or shards listed in an index."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path

from safetensors import safe_open

from core.atomic_files import read_json
from core.errors import UserError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
BIN_SINGLE, BIN_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_SHARDS, _BIN_SHARDS = "model*.safetensors", "pytorch_model*.bin"


def is_weights(name: str) -> bool:
    """True for a file of safetensors with the weights of a model."""
    return fnmatchcase(name, _SHARDS)


def is_bin_weights(name: str) -> bool:
    """True for a file of PyTorch's old format with the weights of a model: a zip archive around a pickle."""
    return fnmatchcase(name, _BIN_SHARDS)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, sorted: those that the index lists need not be there; empty for a folder without any.

    Raises UserError for an index that lists nothing.
    """
    return _files(folder, SINGLE, INDEX, _SHARDS)


def bin_files(folder: Path) -> list[Path]:
    """As `weight_files`, of weights in PyTorch's old format (`core.encoders.bin_weights`)."""
    return _files(folder, BIN_SINGLE, BIN_INDEX, _BIN_SHARDS)


def are_whole(folder: Path) -> bool:
    """True where config.json and every file of the weights are there, in either format."""
    files = weight_files(folder) or bin_files(folder)
    return (folder / "config.json").is_file() and bool(files) and all(path.is_file() for path in files)


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name to shape of every tensor in the files, from their headers alone."""
    return dict(_headers(folder))


def count(folder: Path) -> int:
    """Number of values in the files, in any precision."""
    return sum(prod(shape) for shape in tensor_shapes(folder).values())


def _files(folder: Path, single: str, index: str, shards: str) -> list[Path]:
    if (folder / single).is_file():
        return [folder / single]
    return _listed(folder / index) if (folder / index).is_file() else sorted(folder.glob(shards))


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
