"""Checkpoints: weights beside a readable JSON that is written last, and the last two training states.

A training in progress also keeps states, `state-<number>`, the last two of them: a process killed while it writes one leaves
the one before.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor, nn

from core.atomic_files import atomic_path, read_json, write_json
from core.errors import UserError
from core.protocols.architecture import Group

log = logging.getLogger(__name__)

Saved = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors and their record."""

_KEPT = 2
_STATE = "state-"


def write(folder: Path, name: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Writes `name`.safetensors, then `name`.json with `record`, each atomically."""
    write_tensors(folder / f"{name}.safetensors", tensors)
    write_json(folder / f"{name}.json", dict(record))


def read(folder: Path, name: str) -> Saved:
    """(tensors, record) that `write` wrote. Raises UserError where they are not whole."""
    record, weights = folder / f"{name}.json", folder / f"{name}.safetensors"
    if not (record.exists() and weights.exists()):
        raise UserError(
            f"{folder} holds no saved model: {name}.json or {name}.safetensors is missing",
            code="checkpoint-missing",
            hint="name the folder of a trained model, or train it again",
        )
    try:
        return read_tensors(weights), read_json(record)
    except ValueError as error:
        raise _damaged(weights, error) from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes them as safetensors, atomically."""
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads what `write_tensors` wrote. Raises UserError where it is not whole."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"the saved model {path} is damaged: {error}",
        code="checkpoint-damaged",
        hint="train it again, or restore it from a copy",
    )


def remove(folder: Path, name: str) -> None:
    """Removes what `write` wrote, the record first."""
    for suffix in ("json", "safetensors"):
        (folder / f"{name}.{suffix}").unlink(missing_ok=True)


def learnt(network: nn.Module) -> dict[str, Tensor]:
    """The network's tensors by name, without weights that do not learn: those are where they came from."""
    frozen = {name for name, weights in network.named_parameters() if not weights.requires_grad}
    return {name: tensor for name, tensor in network.state_dict().items() if name not in frozen}


def write_state(folder: Path, number: int, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Keeps the state of a training after `number` steps, and of the older ones the last."""
    write(folder, f"{_STATE}{number}", tensors, record)
    for name in _states(folder)[_KEPT:]:
        remove(folder, name)


def read_state(folder: Path, training: str) -> Saved | None:
    """The newest whole state whose record says that it is of this `training`, or None. A damaged one is logged and skipped."""
    for name in _states(folder):
        try:
            tensors, record = read(folder, name)
        except UserError as error:
            log.warning("%s", error.what)
            continue
        if record.get("training") == training:
            return tensors, record
    return None


def shared(group: Group, found: Saved | None) -> Saved | None:
    """Copies what rank 0 of the group has read to all ranks."""
    if group.size == 1:
        return found
    record = group.share(None if found is None else json.dumps(found[1]).encode())
    tensors = group.share(None if found is None else save(found[0]))
    return None if record is None or tensors is None else (load(tensors), json.loads(record))


def remove_states(folder: Path) -> None:
    """Removes every state: the training is over."""
    for name in _states(folder):
        remove(folder, name)


def _states(folder: Path) -> list[str]:
    """Names of the states in the folder, the newest first."""
    numbers = [int(path.stem.removeprefix(_STATE)) for path in folder.glob(f"{_STATE}*.json")]
    return [f"{_STATE}{number}" for number in sorted(numbers, reverse=True)]
