"""Old `.bin` weights: read without running code, and kept as safetensors beside the hub's cache."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from core.atomic_files import digest, locked, sync, write_json
from core.encoders.hub_cache import CONTENT, cache_folder
from core.encoders.weights import BIN_INDEX, INDEX, SINGLE, bin_files
from core.errors import UserError, some

_VERSION = "1"
_ZIP = b"PK\x03\x04"
"""First bytes of a file as torch.save has written it since 2020; before, it was a pickle alone."""
_WRAPPERS = ("state_dict", "model")
"""Keys under which training scripts store a model's tensors beside other things."""


def converted_folder() -> Path:
    """Folder of all weights that were converted, beside the hub's cache."""
    return cache_folder().parent / "pricestack-encoders"


def as_safetensors(folder: Path) -> Path:
    """Folder with the same encoder in safetensors: written once, and made anew where a file has changed.

    Raises UserError for files that are damaged or hold anything but tensors: such a file could run code when it is opened.
    """
    files = bin_files(folder)
    others = [path for path in sorted(folder.iterdir()) if path.suffix in CONTENT]
    stamps = [f"{path.name}|{path.stat().st_size}|{path.stat().st_mtime_ns}" for path in (*files, *others)]
    name = f"{_label(folder)}-{digest(_VERSION, str(folder.resolve()), *stamps)[:16]}"
    target = converted_folder() / name
    if target.is_dir():
        return target
    converted_folder().mkdir(parents=True, exist_ok=True)
    with locked(converted_folder() / f".{name}.lock"):
        if not target.is_dir():  # another process may have written it meanwhile
            _convert(files, others, target)
    return target


def _label(folder: Path) -> str:
    """Readable part of the name: the repository's for a snapshot of the hub's cache."""
    return folder.parent.parent.name if folder.parent.name == "snapshots" else folder.resolve().name


def _convert(files: list[Path], others: list[Path], target: Path) -> None:
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        places: dict[str, str] = {}
        size = 0
        for number, path in enumerate(files, 1):
            name = SINGLE if len(files) == 1 else f"model-{number:05}-of-{len(files):05}.safetensors"
            tensors = _read(path)
            save_file(tensors, made / name, metadata={"format": "pt"})
            sync(made / name)
            places |= dict.fromkeys(tensors, name)
            size += sum(tensor.nbytes for tensor in tensors.values())
        if len(files) > 1:
            write_json(made / INDEX, {"metadata": {"total_size": size}, "weight_map": places})
        for path in others:
            if path.name != BIN_INDEX:
                shutil.copyfile(path, made / path.name)
        made.chmod(0o755)
        made.replace(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of one file by name, each with memory of its own."""
    with path.open("rb") as file:
        zipped = file.read(len(_ZIP)) == _ZIP
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError:
        raise _unsafe(path, zipped) from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, AttributeError, IndexError) as error:
        raise UserError(
            f"{path} cannot be read, it may be cut short: {str(error).splitlines()[0]}",
            code="encoder-damaged-bin",
            hint="copy or fetch the file again, or name another encoder",
        ) from None
    return {name: tensor.clone().contiguous() for name, tensor in _tensors(path, stored).items()}


def _unsafe(path: Path, zipped: bool) -> UserError:
    asked = sorted(get_unsafe_globals_in_checkpoint(path)) if zipped else []
    what = f"it asks for {some(asked)}" if asked else "it holds more than tensors, or is damaged"
    return UserError(
        f"{path} is refused, as opening it could run code: {what}",
        code="encoder-unsafe-bin",
        hint="take safetensors from a source that you trust, or name another encoder",
    )


def _tensors(path: Path, stored: Any) -> Mapping[str, Tensor]:
    """The state dictionary in what the file holds: whole, or beside other things of a training."""
    for key in _WRAPPERS:
        if isinstance(stored, dict) and isinstance(stored.get(key), dict):
            stored = stored[key]
    tensors = (
        {name: each for name, each in stored.items() if isinstance(each, Tensor)} if isinstance(stored, dict) else {}
    )
    if not tensors:
        raise UserError(
            f"{path} holds no weights by name",
            code="encoder-bin-without-weights",
            hint="name a folder whose pytorch_model.bin is a model's state dictionary",
        )
    return tensors
