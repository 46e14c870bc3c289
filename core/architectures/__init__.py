"""Registry of architectures: `text`, `multimodal`, `lexical`, `boosted`. A new one is one module and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import cast

from core.errors import UserError, suggestion
from core.protocols.architecture import Architecture


@dataclass(frozen=True)
class Registered:
    """Architecture in the registry, and facts of it that are asked before its module is imported: networks load torch.

    path: `module:class`. is_network, reads_images: as the class declares them (`core.protocols.architecture.Architecture`).
    """

    path: str
    is_network: bool = False
    reads_images: bool = False


ARCHITECTURES: dict[str, Registered] = {
    "text": Registered("core.architectures.text:TextArchitecture", is_network=True),
    "multimodal": Registered(
        "core.architectures.multimodal:MultimodalArchitecture", is_network=True, reads_images=True
    ),
    "lexical": Registered("core.architectures.lexical:LexicalArchitecture"),
    "boosted": Registered("core.architectures.boosted:BoostedArchitecture"),
}


def architecture(name: str) -> Architecture:
    """The architecture of that name. Raises UserError with the nearest name for an unknown one."""
    if name not in ARCHITECTURES:
        raise UserError(
            f"unknown architecture '{name}'", code="architecture-unknown", hint=suggestion(name, ARCHITECTURES)
        )
    module, _, attribute = ARCHITECTURES[name].path.partition(":")
    return cast(Architecture, getattr(import_module(module), attribute)())
