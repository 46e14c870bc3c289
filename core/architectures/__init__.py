"""Registry of architectures: `text`, `multimodal`, `lexical`, `boosted`. A new one is one module and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from core.errors import UserError, suggestion
from core.protocols.architecture import Architecture

# Loaded on first use: `lexical` and `boosted` must work without importing torch.
ARCHITECTURES: dict[str, str] = {
    "text": "core.architectures.text:TextArchitecture",
    "multimodal": "core.architectures.multimodal:MultimodalArchitecture",
    "lexical": "core.architectures.lexical:LexicalArchitecture",
    "boosted": "core.architectures.boosted:BoostedArchitecture",
}


def architecture(name: str) -> Architecture:
    """The architecture of that name. Raises UserError with the nearest name for an unknown one."""
    if name not in ARCHITECTURES:
        raise UserError(
            f"unknown architecture '{name}'", code="architecture-unknown", hint=suggestion(name, ARCHITECTURES)
        )
    module, _, attribute = ARCHITECTURES[name].partition(":")
    return cast(Architecture, getattr(import_module(module), attribute)())
