"""Frozen text encoder of classical models: its choice and cost, and mean-pooled states, cached by text.

cache/embeddings-<encoder>/<key>/states.npz   texts: (m,) hashes of texts, sorted; states: (m, width) float16

A training fold asks for a part of a catalog's rows, in its own order: so states are looked up by text, not by catalog. Needs no
torch until a text is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from core.arrays import Floats, load_arrays, save_arrays
from core.atomic_files import digest
from core.cache import Cache
from core.cache.entries import RowCache
from core.data.catalog import Catalog
from core.encoders.presets import AUTO, TINY, choose
from core.errors import UserError
from core.hardware import Machine, detect
from core.protocols.architecture import Architecture, Context, Limit, Resolution

if TYPE_CHECKING:
    from core.inputs.tokens import Tokens

SETTING = "frozen_encoder"
"""Of light members: the encoder's name."""
# Coarse, as in the neural architectures: multiply-adds per weight and token, characters per token.
_FLOPS_PER_CORE, _FLOPS_PER_GPU, _CHARACTERS_PER_TOKEN = 1e11, 5e13, 4
_WIDTH = 768  # of most encoders
_FILE, _VERSION = "states.npz", "1"
_REMEMBERED = 32 * 2**20
"""Bytes of states kept in memory by readers without a cache: of 20,000 texts."""


@dataclass(frozen=True)
class FrozenTextEncoder:
    """An encoder whose weights stay as they are. content: the hash of its files (`core.encoders.loading.identity`).

    max_length: tokens read of each text. cache: None to compute every time.
    """

    name: str
    content: str
    max_length: int
    cache: Cache | None = None
    device: str = "cpu"
    threads: int | None = None

    def states(self, texts: Sequence[str]) -> Floats:
        """(n, width) states of length 1. Raises UserError where the encoder cannot be had or is another one than it was."""
        hashes = np.array([digest(text)[:32] for text in texts], dtype="S32")
        wanted, first, back = np.unique(hashes, return_index=True, return_inverse=True)
        known, found = self._known(wanted)
        missing = np.flatnonzero(~known)
        if len(missing) or found is None:
            new = self._computed([texts[first[place]] for place in missing], wanted[missing])
            found = np.zeros((len(wanted), new.shape[1]), np.float16) if found is None else found
            found[missing] = new
        states = found[back].astype(np.float64)
        return np.asarray(states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-9))

    @property
    def record(self) -> dict[str, Any]:
        """For JSON: what names the states."""
        return {"name": self.name, "content": self.content, "max_length": self.max_length}

    @cached_property
    def _kind(self) -> str:
        return f"embeddings-{digest(_VERSION, self.content, str(self.max_length))[:16]}"

    def _known(self, wanted: NDArray[np.bytes_]) -> tuple[NDArray[np.bool_], NDArray[np.float16] | None]:
        """Mask of these sorted hashes that are cached, and their states (m, width), None where there is no entry."""
        known, states = np.zeros(len(wanted), np.bool_), None
        for path in self.cache.paths(self._kind) if self.cache is not None else ():
            try:
                arrays = load_arrays(path / _FILE)
            except FileNotFoundError:
                continue  # another process needed the room between our two looks
            places = np.minimum(np.searchsorted(arrays["texts"], wanted), len(arrays["texts"]) - 1)
            there = arrays["texts"][places] == wanted
            states = np.zeros((len(wanted), arrays["states"].shape[1]), np.float16) if states is None else states
            states[there] = arrays["states"][places[there]]
            known |= there
        return known, states

    def _computed(self, texts: list[str], hashes: NDArray[np.bytes_]) -> NDArray[np.float16]:
        if self.cache is None:
            memory = _memory(self._kind)
            return memory.rows(hashes.astype(str).tolist(), lambda places: self._read([texts[at] for at in places]))

        def write(folder: Path) -> None:
            save_arrays(folder / _FILE, {"texts": hashes, "states": self._read(texts)})

        def read(folder: Path) -> NDArray[np.float16]:
            states: NDArray[np.float16] = load_arrays(folder / _FILE)["states"]
            return states

        return self.cache.get(self._kind, digest(hashes.tobytes()), write, read)

    def _read(self, texts: list[str]) -> NDArray[np.float16]:
        # Here, so that models without an encoder need no torch.
        from core.encoders.loading import locate_same
        from core.inputs.frozen_features import FrozenEncoder, text_states
        from core.inputs.tokens import tokenise
        from core.training.batching import MicroBatchSize

        load = _load if self.cache is not None else _load_to_stay
        module, tokenizer = load(str(locate_same(self.name, "text", self.content)))
        if tokenizer is None:
            raise UserError(
                f"the text encoder '{self.name}' has no tokenizer beside its weights",
                code="frozen-encoder-no-tokenizer",
                hint="put the tokenizer.json it was trained with into its folder",
            )
        tokens: Tokens = tokenise(texts, tokenizer, module.pad, None)
        length = min(self.max_length, module.max_positions)
        with TemporaryDirectory() as folder:  # kept by text, above, and not a second time by catalog
            frozen = FrozenEncoder(module, Cache(Path(folder)), self.device, self.threads)
            return np.array(
                text_states(tokens, length, MicroBatchSize.by_device(self.device, None).tokens, frozen, "mean")
            )


@lru_cache(maxsize=8)
def _memory(kind: str) -> RowCache:
    """Of readers without a cache: in a service, models of all folds read the same texts."""
    return RowCache(_REMEMBERED)


def _load(folder: str) -> tuple[Any, Any]:
    from core.encoders.loading import load_encoder

    return load_encoder(folder, "text")


_load_to_stay = lru_cache(maxsize=2)(_load)


def reader_for(name: str, max_length: int, context: Context) -> FrozenTextEncoder:
    """The reader of the encoder of that name, folder or hub name, for a training."""
    from core.encoders.loading import identity

    content = identity(name, "text")
    return FrozenTextEncoder(name, content, max_length, context.cache, context.device, context.threads)


class ClassicalArchitecture(Architecture):
    """Base class of classical architectures. `config.encoder` names the frozen encoder that reads the texts, if any does."""

    encoder_settings: ClassVar[tuple[str, ...]] = (SETTING,)

    def resolve(self, settings: Mapping[str, Any], machine: Machine, minutes: float | None) -> Resolution:
        """Replaces `auto` by the policy's choice. Raises UserError at once for an encoder that is named but cannot be had.

        The tiny encoder learns from scratch or not at all: frozen it says nothing, so a config that names it, or gets it by the
        policy, reads no encoder here.
        """
        name, why = settings.get(SETTING), "named"
        if name is None:
            return Resolution(dict(settings), self.name)
        from core.encoders.loading import available, check_encoder

        if name == AUTO:
            name, why = choose("text", machine, available(), minutes)
            why = f"auto: {why}"
        if name == TINY:
            note = f"frozen encoder: none ({why}; {TINY} says nothing while frozen)"
            return Resolution({**settings, SETTING: None}, self.name, (note,))
        check_encoder(name, "text")
        return Resolution({**settings, SETTING: name}, self.name, (f"frozen encoder: {name} ({why})",))

    def uses_gpu(self, settings: Mapping[str, Any]) -> bool:
        config: Any = self.Config.model_validate(dict(settings))
        return config.encoder is not None

    def identity(self, config: Any) -> dict[str, str]:
        if config.encoder is None:
            return {}
        from core.encoders.loading import identity

        return {"text": identity(config.encoder, "text")}

    def limits(self, config: Any) -> dict[str, Limit]:
        if config.encoder is None:
            return {}
        from core.encoders.loading import max_positions

        return {"max_length": Limit(max_positions(config.encoder), config.encoder)}

    def prepare(self, catalogs: Mapping[str, Catalog], config: Any, cache: Cache, *, drop_bad: bool) -> tuple[str, ...]:
        """Lets the encoder read every row once; every other feature is learnt from the training rows of a fold."""
        if config.encoder is not None:
            content = self.identity(config)["text"]
            reader = FrozenTextEncoder(config.encoder, content, config.max_length, cache, detect().device)
            reader.states([text for catalog in catalogs.values() for text in catalog.texts])
        return ()


def states_memory(catalog: Catalog, name: str | None) -> int:
    """Roughly the bytes of the catalog's states: in eight bytes, in four copies at most; 0 without an encoder."""
    return 0 if name is None else 32 * len(catalog) * _WIDTH


def reading_seconds(catalog: Catalog, name: str | None, max_length: int, machine: Machine) -> float:
    """A rough guess of the seconds in which the encoder reads the catalog once; 0 without one."""
    if name is None:
        return 0.0
    from core.encoders.loading import parameters

    tokens = np.minimum(np.array([len(text) for text in catalog.texts]) / _CHARACTERS_PER_TOKEN + 2, max_length).sum()
    speed = _FLOPS_PER_GPU if machine.has_gpu else _FLOPS_PER_CORE * machine.cores
    return 2.0 * parameters(name, "text") * float(tokens) / speed
