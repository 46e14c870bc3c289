"""Which encoder `auto` stands for: a stated policy, decided by a pure function.

1. With a GPU: the first of the documented encoders whose weights are on this machine.
2. Without: the smallest encoder on this machine, if one fine-tuning of it fits into the time budget; without a budget
   nobody has said that hours are fine, so none does.
3. Else the tiny encoder. `auto` never downloads: what runs must not depend on the network's mood.
"""

from __future__ import annotations

from collections.abc import Collection

from core.backbones.presets import PRESETS, TINY, TINY_VISION, Part
from core.hardware import Machine

_ORDER: dict[Part, tuple[str, ...]] = {
    "text": ("neobert", "rexbert", "deberta-v3", "modernbert"),
    "vision": ("clip", "siglip"),
}
# Fine-tuning on some 3,000 rows of 60 tokens for 5 epochs, at 30 GFLOP/s per core, takes about 3 core-minutes per million
# parameters (6 FLOPs per parameter and token).
CORE_MINUTES_PER_MILLION = 3.0


def choose(part: Part, machine: Machine, available: Collection[str], minutes: float | None) -> tuple[str, str]:
    """(name, reason) of the encoder for this part. available: presets whose weights are on this machine."""
    tiny = TINY if part == "text" else TINY_VISION
    candidates = [name for name in _ORDER[part] if name in available]
    if not candidates:
        return tiny, f"the weights of none of {', '.join(_ORDER[part])} are on this machine"
    if machine.has_gpu:
        return candidates[0], "the first of the documented encoders whose weights are here, and there is a GPU"
    smallest = min(candidates, key=lambda name: PRESETS[name].parameters)
    needed = CORE_MINUTES_PER_MILLION * PRESETS[smallest].parameters / machine.cores
    if minutes is None:
        return tiny, f"there is no GPU, and one training of {smallest} may take {needed:.0f} minutes or more"
    if minutes < needed:
        return tiny, f"there is no GPU, and {minutes:g} minutes do not cover the {needed:.0f} of training {smallest}"
    return smallest, f"there is no GPU, but {minutes:g} minutes cover the {needed:.0f} of one training"
