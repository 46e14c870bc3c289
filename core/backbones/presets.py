"""Short names for encoders, and what is known of them before they are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["text", "vision"]

TINY, TINY_VISION = "tiny", "tiny-vision"
"""Encoders with random weights, made on the spot and trained end to end; nothing is downloaded."""

AUTO = "auto"


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
    """Every short name that may be given for this part, or for any."""
    own: dict[Part, str] = {"text": TINY, "vision": TINY_VISION}
    tiny = list(own.values()) if part is None else [own[part]]
    return [AUTO, *tiny, *(name for name, preset in PRESETS.items() if part in (None, preset.part))]
