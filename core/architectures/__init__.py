"""Registry of architectures: `text`, `multimodal`, `lexical`, `boosted`. A new one is one module and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import cast

from core.errors import UserError, suggestion
from core.protocols.architecture import Architecture


@dataclass(frozen=True)
class Registered:
    """Architecture in the registry, and facts of it that are asked before its module is imported: networks load torch.

    path: `module:class`. is_network, reads_images: as the class declares them (`core.protocols.architecture.Architecture`).
    encoder_choices: settings of its config that name its encoders or freeze them; a suggested search keeps their values.
    """

    path: str
    is_network: bool = False
    reads_images: bool = False
    encoder_choices: tuple[str, ...] = ()


ARCHITECTURES: dict[str, Registered] = {
    "text": Registered(
        "core.architectures.text:TextArchitecture", is_network=True, encoder_choices=("text_encoder", "freeze_text")
    ),
    "multimodal": Registered(
        "core.architectures.multimodal:MultimodalArchitecture",
        is_network=True,
        reads_images=True,
        encoder_choices=("text_encoder", "vision_encoder", "freeze_text", "freeze_vision"),
    ),
    "lexical": Registered("core.architectures.lexical:LexicalArchitecture", encoder_choices=("frozen_encoder",)),
    "boosted": Registered("core.architectures.boosted:BoostedArchitecture", encoder_choices=("frozen_encoder",)),
}


def architecture(name: str) -> Architecture:
    """The architecture of that name. Raises UserError with the nearest name for an unknown one."""
    if name not in ARCHITECTURES:
        raise UserError(
            f"unknown architecture '{name}'", code="architecture-unknown", hint=suggestion(name, ARCHITECTURES)
        )
    return cast(Architecture, resolve_name(ARCHITECTURES[name].path)())
