"""Encoder loading by short name, hub name or local folder; code from a repository never runs.

What needs `transformers` imports it where it is used: that takes two seconds, which every process of a sweep would spend.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn

from core.atomic_files import digest, digest_file, read_json
from core.console import warn
from core.encoders import tiny
from core.encoders.bin_weights import as_safetensors
from core.encoders.hub_cache import CONTENT, found
from core.encoders.hub_download import fetch, repository_of
from core.encoders.neobert import NeoBERT, NeoBERTConfig, config_from, load_published, unplaced
from core.encoders.presets import AUTO, PRESETS, TINY, TINY_VISION, Part, known
from core.encoders.weights import bin_files, count, tensor_shapes, weight_files
from core.errors import UserError, suggestion

_NEOBERT = "neobert"
_MATTER: dict[Part, str] = {"text": "text", "vision": "pictures"}
_SHOWN = 5
_VOCABULARIES = (
    "vocab.txt", "spm.model", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "merges.txt",
)  # fmt: skip


def load_encoder(name: str, part: Part | None = None) -> tuple[nn.Module, Tokenizer | None]:
    """(encoder, tokenizer) by short name, hub name or folder; vision encoders and bare folders have no tokenizer.

    A text encoder maps (input_ids, attention_mask) to (B, L, width) and has `width`, `max_positions`, `pad` and `spec`; a
    vision encoder maps pixels (B, 3, size, size) to (B, T, width) and has `width`, `size`, `mean`, `std` and `spec`. Weights
    are float32 whatever their precision on the disk. part: what the encoder must read; if not given, what it reads.
    Raises UserError for an unknown name, for one that is neither here nor to be had, and for files that do not fit.
    """
    from core.encoders import transformers_encoders

    folder = locate(name, part)
    with _reading(folder, part) as (reads, kind):
        if reads == "vision":
            return transformers_encoders.load_vision(folder), None
        tokenizer = _load_tokenizer(folder)
        if kind == _NEOBERT:
            _tell_left_out(folder)
            return _load_neobert(folder), tokenizer
        return transformers_encoders.load_text(folder, _tokenizer_limit(folder)), tokenizer


def max_positions(name: str) -> int:
    """Tokens of a text that the text encoder of that name reads at most: its `max_positions`, without its weights."""
    if name == TINY:
        return tiny.POSITIONS
    folder = locate(name, "text")
    return _max_positions(folder, tuple((path.name, *_stamp(path)) for path in sorted(folder.glob("*.json"))))


@lru_cache(maxsize=64)
def _max_positions(folder: Path, files: tuple[tuple[str, int, int], ...]) -> int:
    """files: the config's and the tokenizer's with their size and time of change, so that changed ones are read again."""
    from core.encoders import transformers_encoders

    with _reading(folder, "text") as (_, kind):
        if kind == _NEOBERT:
            return config_from(read_json(folder / "config.json")).max_length
        return transformers_encoders.positions(folder, _tokenizer_limit(folder))


def neobert_config(name: str) -> NeoBERTConfig | None:
    """Shape of the text encoder of that name if it is a NeoBERT, without its weights."""
    if name == TINY:
        return None
    folder = locate(name, "text")
    with _reading(folder, "text") as (_, kind):
        return config_from(read_json(folder / "config.json")) if kind == _NEOBERT else None


@contextmanager
def _reading(folder: Path, part: Part | None) -> Iterator[tuple[Part, str]]:
    """Part that the encoder in the folder reads, and its model type. Raises UserError where it is another part or damaged."""
    try:
        reads, kind = _reads(folder)
        if part not in (None, reads):
            raise UserError(
                f"the encoder in {folder} ({kind}) reads {_MATTER[reads]}, and a {part} encoder is asked for",
                code="encoder-wrong-input",
                hint=f"name it with --{reads}-encoder, or name a {part} encoder",
            )
        yield reads, kind
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(
            f"the {f'{part} ' if part else ''}encoder in {folder} cannot be loaded: {str(error).splitlines()[0]}",
            code="encoder-unloadable",
            hint="check that config.json and the safetensors belong together and are whole, or name another encoder",
        ) from error


def build_encoder(spec: dict[str, Any]) -> nn.Module:
    """An encoder as its `spec` describes it, with random weights: a saved model fills them from its own file."""
    kinds: dict[str, Callable[[], nn.Module]] = {
        "neobert": lambda: NeoBERT(NeoBERTConfig(**spec["config"])),
        "tiny-vision": tiny.TinyVision,
        "hub-text": lambda: _from_hub(spec),
        "hub-vision": lambda: _from_hub(spec),
    }
    return kinds[spec["kind"]]()


def _from_hub(spec: dict[str, Any]) -> nn.Module:
    from core.encoders import transformers_encoders

    return (
        transformers_encoders.build_text(spec)
        if spec["kind"] == "hub-text"
        else transformers_encoders.build_vision(spec)
    )


_MOVED: dict[str, Path] = {}


def moved(name: str, folder: Path) -> None:
    """Maps `name`, a folder of another machine, to a local folder; its name in configs stays the same."""
    _MOVED[name] = folder


def locate(name: str, part: Part | None = None) -> Path:
    """The folder with the encoder's files in safetensors: a local one, the hub's cache, or fetched into that cache now.

    What is here is found without a request. Raises UserError at once (within seconds) where it cannot be had.
    """
    local = _MOVED.get(name, Path(name).expanduser())
    if local.is_dir():
        return _checked(local)
    check_name(name, part)
    repository = repository_of(name)
    if found(repository) is None:
        fetch([name])
    folder = found(repository)
    assert folder is not None, "what was fetched is there"
    return _checked(folder)


def check_name(name: str, part: Part | None = None) -> None:
    """Raises UserError for a name that is neither a short name of this part with weights nor formed like a hub name."""
    if name in PRESETS and part not in (None, PRESETS[name].part):
        raise UserError(
            f"'{name}' is a {PRESETS[name].part} encoder", code="encoder-wrong-part", hint=suggestion(name, known(part))
        )
    if name in (AUTO, TINY, TINY_VISION) and name in known(part):
        raise UserError(
            f"'{name}' has no weights to load",
            code="encoder-random-weights",
            hint="name a folder, a hub name or one of " + ", ".join(sorted(PRESETS)),
        )
    if not is_hub_name(name):
        what = f"{part} encoder" if part else "encoder"
        raise UserError(
            f"unknown {what} '{name}' (and no such folder)", code="encoder-unknown", hint=suggestion(name, known(part))
        )


def is_hub_name(name: str) -> bool:
    """True for a short name with weights, and for what is formed like a name on the hub (`owner/name`)."""
    return name in PRESETS or re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None


def is_here(name: str) -> bool:
    """True for a folder, and for a name that needs no download."""
    return name in _MOVED or Path(name).expanduser().is_dir() or found(repository_of(name)) is not None


def check_encoder(name: str, part: Part | None = None) -> Path:
    """Folder of the encoder, loaded once on trial: raises here, before a sweep begins, what `load_encoder` would raise later."""
    folder = locate(name, part)
    _tried(folder, part, _stamps(folder))
    return folder


def outline_of(name: str, part: Part) -> nn.Module:
    """The encoder of that name on the meta device: every tensor has its shape, and none has numbers or takes memory."""
    own: dict[str, Callable[[], nn.Module]] = {
        TINY: lambda: tiny.text_encoder(tiny.VOCABULARY),
        TINY_VISION: tiny.TinyVision,
    }
    make = own.get(name)
    if make is None:
        folder = locate(name, part)
        make = partial(build_encoder, _tried(folder, part, _stamps(folder)))
    with torch.device("meta"):
        return make()


def _stamps(folder: Path) -> tuple[tuple[int, int], ...]:
    return tuple(_stamp(path) for path in sorted(folder.iterdir()) if path.suffix in CONTENT)


@lru_cache(maxsize=64)
def _tried(folder: Path, part: Part | None, stamps: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """The encoder's `spec`. Sizes and times of change are part of the key, so that changed files are tried again."""
    encoder: Any
    encoder, tokenizer = load_encoder(str(folder), part)
    if part == "text" and tokenizer is None:
        raise no_tokenizer(str(folder))
    spec: dict[str, Any] = encoder.spec
    return spec


def no_tokenizer(name: str) -> UserError:
    """The error of a text encoder that has no tokenizer beside its weights."""
    return UserError(
        f"the text encoder '{name}' has no tokenizer beside its weights",
        code="encoder-no-tokenizer",
        hint="put the tokenizer.json it was trained with into its folder",
    )


_AT: dict[str, Path] = {}


def stored_at(content: str, folder: Path) -> None:
    """Registers `folder` as a place of the encoder with that identity, wherever the one that is named may be."""
    _AT[content] = folder


def locate_same(name: str, part: Part, content: str) -> Path:
    """The folder of the encoder with that identity: where `stored_at` says, else what `name` is.

    Raises UserError where it cannot be had or is another one than it was.
    """
    stored = _AT.get(content)
    if stored is not None and stored.is_dir():
        return stored
    if identity(name, part) != content:
        raise UserError(
            f"the {part} encoder '{name}' is not the one that the model was trained with: its files have changed",
            code="encoder-changed",
            hint="put the files back that it had then, or train the model again",
        )
    return locate(name, part)


def copy_encoder(name: str, part: Part, folder: Path) -> None:
    """Copies what decides its identity into `folder`: whoever has the copy has the encoder."""
    folder.mkdir(parents=True)
    for path in _contents(name, part):
        shutil.copyfile(path, folder / path.name)


def available() -> frozenset[str]:
    """Presets whose weights are on this machine."""
    return frozenset(name for name, preset in PRESETS.items() if found(preset.hub) is not None)


def identity(name: str, part: Part) -> str:
    """Hash of the content of the encoder's config, weights and tokenizer."""
    return _digest_of(tuple((path, *_stamp(path)) for path in _contents(name, part)))


@lru_cache(maxsize=256)
def _digest_of(files: tuple[tuple[Path, int, int], ...]) -> str:
    return digest(*(part for path, *stamp in files for part in (path.name, _file_digest(path, *stamp))))


def _contents(name: str, part: Part) -> list[Path]:
    return sorted(path for path in locate(name, part).iterdir() if path.suffix in CONTENT)


def parameters(name: str, part: Part) -> float:
    """Rough number of an encoder's weights: a preset's known number, else its files'. Raises UserError for damaged files."""
    if name in PRESETS:
        return PRESETS[name].parameters * 1e6
    folder = locate(name, part)
    try:
        return float(count(folder))
    except SafetensorError as error:
        raise UserError(
            f"the weights in {folder} are damaged: {error}",
            code="encoder-damaged-weights",
            hint="copy or fetch the folder again, or name another encoder",
        ) from None


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, changed: int) -> str:
    """Size and time of change are part of the key, so that a changed file is read again."""
    return digest_file(path)


def _checked(folder: Path) -> Path:
    """The folder, or the one with its `.bin` weights in safetensors; raises UserError for a folder that is not whole."""
    files = weight_files(folder) or bin_files(folder)
    if not (folder / "config.json").is_file() or not files:
        raise UserError(
            f"{folder} is no encoder: it needs config.json and weights as model*.safetensors or pytorch_model*.bin",
            code="encoder-no-weights",
            hint="where it came from, load it with transformers and write it with `model.save_pretrained(folder)` and "
            "`tokenizer.save_pretrained(folder)`",
        )
    absent = [path.name for path in files if not path.is_file()]
    if absent:
        raise UserError(
            f"{folder} is not complete: its index lists {', '.join(absent)}, which is not there",
            code="encoder-incomplete",
            hint="copy the folder again, with all files that its index lists",
        )
    return folder if weight_files(folder) else as_safetensors(folder)


def _reads(folder: Path) -> tuple[Part, str]:
    """Part that the encoder in the folder reads, and its model type."""
    from core.encoders import transformers_encoders

    record = read_json(folder / "config.json")
    kind = str(record.get("model_type", ""))
    if kind == _NEOBERT:
        return "text", kind
    if "auto_map" in record and not transformers_encoders.is_known(kind):
        raise UserError(
            f"the encoder in {folder} ('{kind}') needs Python code from its repository, and such code is never run",
            code="encoder-remote-code",
            hint="name an encoder that transformers knows by itself; docs/encoders.md lists families",
        )
    return transformers_encoders.reads(folder), kind


@lru_cache(maxsize=64)
def _tell_left_out(folder: Path) -> None:
    """Warns, once per folder, of tensors that NeoBERT has no place for. Reads no weights."""
    extra = unplaced(config_from(read_json(folder / "config.json")), tensor_shapes(folder))
    if extra:
        names = f"{', '.join(extra[:_SHOWN])}{' ...' if len(extra) > _SHOWN else ''}"
        warn(f"the weights in {folder} hold {len(extra)} tensors that NeoBERT has no place for; left out: {names}")


def _load_neobert(folder: Path) -> NeoBERT:
    weights = {name: tensor for path in weight_files(folder) for name, tensor in load_file(path).items()}
    return load_published(config_from(read_json(folder / "config.json")), weights, str(folder))


def _load_tokenizer(folder: Path) -> Tokenizer | None:
    """The tokenizer beside the weights; None for a folder without one."""
    try:
        if (folder / "tokenizer.json").is_file():
            return Tokenizer.from_file(str(folder / "tokenizer.json"))
        if not any((folder / name).is_file() for name in _VOCABULARIES):
            return None
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False).backend_tokenizer
    except Exception as error:  # the tokenizers library raises nothing more exact
        raise UserError(
            f"the tokenizer in {folder} cannot be read: {str(error).splitlines()[0]}",
            code="encoder-damaged-tokenizer",
            hint="copy or fetch the folder again, with the tokenizer that it was trained with",
        ) from error


def _tokenizer_limit(folder: Path) -> int | None:
    """Most tokens that the folder's tokenizer is meant for; None without a limit."""
    settings = folder / "tokenizer_config.json"
    limit = read_json(settings).get("model_max_length") if settings.is_file() else None
    # transformers writes 1e30 for "no limit".
    return int(limit) if isinstance(limit, (int, float)) and limit < 1e9 else None
