"""Choice of the frozen text encoder that `lexical` and `boosted` read, and its estimated cost; needs no torch until it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.cache import Cache
from core.classical.embeddings import FrozenTextEncoder
from core.data.catalog import Catalog
from core.encoders.presets import AUTO, TINY, choose
from core.hardware import Machine, detect

SETTING = "frozen_encoder"
"""Of light members: the encoder's name."""
# Coarse, as in the neural architectures: multiply-adds per weight and token, characters per token.
_FLOPS_PER_CORE, _FLOPS_PER_GPU, _CHARACTERS_PER_TOKEN = 1e11, 5e13, 4
_WIDTH = 768  # of most encoders


def settled_encoder(
    settings: Mapping[str, Any], machine: Machine, minutes: float | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings with `auto` replaced by the policy's choice, and what was chosen and why.

    The tiny encoder learns from scratch or not at all: frozen it says nothing, so a config that names it, or gets it by the
    policy, reads no encoder here. Raises UserError at once for an encoder that is named but cannot be had.
    """
    name = settings.get(SETTING)
    if name is None:
        return dict(settings), ()
    why = "named"
    if name == AUTO:
        from core.encoders.loading import available

        name, why = choose("text", machine, available(), minutes)
        why = f"auto: {why}"
    if name == TINY:
        return {**settings, SETTING: None}, (f"frozen encoder: none ({why}; {TINY} says nothing while frozen)",)
    from core.encoders.loading import locate

    locate(name, "text")
    return {**settings, SETTING: name}, (f"frozen encoder: {name} ({why})",)


def encoder_identity(name: str | None) -> dict[str, str]:
    """The content hash of the encoder's files, by part."""
    if name is None:
        return {}
    from core.encoders.loading import identity

    return {"text": identity(name, "text")}


def prepare_states(catalogs: Mapping[str, Catalog], name: str | None, max_length: int, cache: Cache) -> None:
    """Lets the encoder read every row once, before the trainings of the folds ask for parts of them."""
    if name is None:
        return
    reader = FrozenTextEncoder(name, encoder_identity(name)["text"], max_length, cache, detect().device)
    reader.states([text for catalog in catalogs.values() for text in catalog.texts])


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
