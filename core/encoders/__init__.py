"""Text and image encoders behind one call: `load_encoder(name_or_folder)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from core.encoders.presets import Part


def load_encoder(name: str, part: Part | None = None) -> tuple[nn.Module, Tokenizer | None]:
    """(encoder, tokenizer or None) by short name, hub name or folder: `core.encoders.loading.load_encoder`."""
    from core.encoders import loading  # here, so that short names and the policy of `auto` need no torch

    return loading.load_encoder(name, part)
