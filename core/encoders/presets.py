"""Encoder presets: short names, hub names, sizes; and the policy by which `auto` picks one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from core.hardware import Machine

Part = Literal["text", "vision"]

TINY, TINY_VISION = "tiny", "tiny-vision"
"""Encoders with random weights, made on the spot and trained end to end; nothing is downloaded."""

RANDOM = frozenset({TINY, TINY_VISION})

AUTO = "auto"

HIGHEST_PRETRAINED_RATE = 5e-5
"""Highest learning rate of the documented grids: random weights learn nothing at such rates."""


@dataclass(frozen=True)
class Preset:
    """hub: the repository. parameters: how many, in millions."""

    hub: str
    part: Part
    parameters: float


PRESETS: dict[str, Preset] = {
    "neobert": Preset("chandar-lab/NeoBERT", "text", 222),
    "modernbert": Preset("answerdotai/ModernBERT-base", "text", 149),
    "deberta-v3": Preset("microsoft/deberta-v3-base", "text", 184),
    "rexbert": Preset("thebajajra/RexBERT-base", "text", 149),
    "clip": Preset("openai/clip-vit-base-patch32", "vision", 88),
    "siglip": Preset("google/siglip-base-patch16-224", "vision", 93),
}


def known(part: Part | None = None) -> list[str]:
    """Short names that may be given for this part, or for any."""
    own: dict[Part, str] = {"text": TINY, "vision": TINY_VISION}
    tiny = list(own.values()) if part is None else [own[part]]
    return [AUTO, *tiny, *(name for name, preset in PRESETS.items() if part in (None, preset.part))]


_ORDER: dict[Part, tuple[str, ...]] = {
    "text": ("neobert", "rexbert", "deberta-v3", "modernbert"),
    "vision": ("clip", "siglip"),
}
DOCUMENTED: dict[Part, str] = {part: names[0] for part, names in _ORDER.items()}
"""The encoders of the documented network, which `auto` is on a GPU."""


def part_of(setting: str) -> Part:
    """What the encoder reads that this config field names (`text_encoder`, `vision_encoder`, `frozen_encoder`)."""
    return "vision" if setting.startswith("vision") else "text"


# Fine-tuning on some 3,000 rows of 60 tokens for 5 epochs, at 30 GFLOP/s per core, takes about 3 core-minutes per million
# parameters (6 FLOPs per parameter and token).
CORE_MINUTES_PER_MILLION = 3.0


def choose(part: Part, machine: Machine, available: Collection[str], minutes: float | None) -> tuple[str, str]:
    """(name, reason) of the encoder for this part. available: presets whose weights are on this machine."""
    tiny = TINY if part == "text" else TINY_VISION
    candidates = [name for name in _ORDER[part] if name in available]
    if not candidates:
        return tiny, f"the weights of none of {', '.join(_ORDER[part])} are on this machine; {_how(DOCUMENTED[part])}"
    if machine.has_gpu:
        if candidates[0] == DOCUMENTED[part]:
            return candidates[0], "the documented encoder, and there is a GPU"
        return candidates[0], f"there is a GPU, and {DOCUMENTED[part]} is not on this machine; {_how(DOCUMENTED[part])}"
    smallest = min(candidates, key=lambda name: PRESETS[name].parameters)
    needed = CORE_MINUTES_PER_MILLION * PRESETS[smallest].parameters / machine.cores
    if minutes is None:
        return tiny, f"there is no GPU, and one training of {smallest} may take {needed:.0f} minutes or more"
    if minutes < needed:
        return tiny, f"there is no GPU, and {minutes:g} minutes do not cover the {needed:.0f} of training {smallest}"
    return smallest, f"there is no GPU, but {minutes:g} minutes cover the {needed:.0f} of one training"


def _how(name: str) -> str:
    return f"`python -m core.encoders fetch {name}` downloads it"
