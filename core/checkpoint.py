"""Weights beside a readable JSON. The JSON is written last: where it is, the weights are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.errors import UserError
from core.files import atomic_path, read_json, write_json


def write(folder: Path, name: str, network: nn.Module, record: dict[str, Any]) -> None:
    """Writes `name`.safetensors with the network's weights, then `name`.json with `record`, each atomically."""
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}
    with atomic_path(folder / f"{name}.safetensors") as temporary:
        save_file(state, temporary)
    write_json(folder / f"{name}.json", record)


def read(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(weights, record) that `write` wrote. Raises UserError where they are not whole."""
    record, weights = folder / f"{name}.json", folder / f"{name}.safetensors"
    if not (record.exists() and weights.exists()):
        raise UserError(
            f"{folder} holds no saved model: {name}.json or {name}.safetensors is missing",
            cure="name the folder of a trained model, or train it again",
        )
    return load_file(weights), read_json(record)


def remove(folder: Path, name: str) -> None:
    """Removes what `write` wrote, the record first."""
    for suffix in ("json", "safetensors"):
        (folder / f"{name}.{suffix}").unlink(missing_ok=True)
