"""Options of the search: architectures, their space, fixed settings, encoders, sampler, pruner, seed and the studies' storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BeforeValidator, Field, model_validator

from core.architectures import ARCHITECTURES, architecture
from core.command_config import CommandConfig, Flag
from core.errors import UserError, suggestion
from core.protocols.architecture import Architecture

ALL = "all"

_ENCODER_FLAGS = ("text_encoder", "vision_encoder")


def encoder_flag(architecture: str, setting: str) -> str:
    """Command-line option that names the encoder of that setting."""
    return f"--{setting.replace('_', '-')}" if setting in _ENCODER_FLAGS else f"--set {architecture}.{setting}=NAME"


_one_or_more = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)


class SearchConfig(CommandConfig):
    """Choices among configs: whose, from which space, by which sampler, and where the trials are kept."""

    architectures: Annotated[
        tuple[str, ...],
        _one_or_more,
        Field(description="text, multimodal, lexical, boosted, or all"),
        Flag(argument=True, shown=ALL),
    ] = (ALL,)
    grid: Annotated[bool, Field(description="every point of the space, once")] = False
    sampler: Annotated[str, Field(description="tpe | random | grid | gp")] = "tpe"
    pruner: Annotated[str, Field(description="asha | hyperband | median | none")] = "asha"
    seed: Annotated[int, Field(description="of folds, samplers and trainings")] = 0
    text_encoder: Annotated[
        str | None, Field(description="hub name, folder, or auto neobert modernbert deberta-v3 rexbert tiny")
    ] = None
    vision_encoder: Annotated[str | None, Field(description="hub name, folder, or auto clip siglip tiny-vision")] = None
    offline: Annotated[bool, Field(description="download no encoder; what is here runs instead")] = False
    settings: Annotated[
        tuple[str, ...],
        _one_or_more,
        Field(description="fix a setting (architecture.key=value for one)"),
        Flag(option="--set", metavar="KEY=VALUE"),
    ] = ()
    space: Annotated[Path | None, Field(description="another search space: its name (text-tiny) or a YAML file")] = None
    storage: Annotated[
        str | None,
        Field(
            description="sqlite:///FILE, postgresql+psycopg://USER@HOST/DB or a journal FILE (SQLite in the workspace)"
        ),
    ] = None
    fresh: Annotated[bool, Field(description="a new study; deletes nothing")] = False

    @model_validator(mode="after")
    def _space_of_one(self) -> Self:
        if self.space is not None and len(self.names()) != 1:
            raise UserError(
                f"--space is one architecture's, but the sweep has {', '.join(self.names())}",
                code="space-of-several-architectures",
                hint="name one architecture",
            )
        return self

    @property
    def sampler_name(self) -> str:
        """The sampler in use: `--grid` is one."""
        return "grid" if self.grid else self.sampler

    def names(self) -> tuple[str, ...]:
        """The architectures, `all` spelled out, each once, in the order given."""
        given = ARCHITECTURES if ALL in self.architectures else self.architectures
        for name in given:
            if name not in ARCHITECTURES:
                raise UserError(
                    f"unknown architecture '{name}'",
                    code="unknown-architecture",
                    hint=suggestion(name, [*ARCHITECTURES, ALL]),
                )
        return tuple(dict.fromkeys(given))

    def kinds(self) -> list[Architecture]:
        """The architectures themselves, in the order of `names`."""
        return [architecture(name) for name in self.names()]

    def fixed_settings(self, kinds: Sequence[Architecture]) -> dict[str, dict[str, Any]]:
        """By architecture the settings that the user fixed: encoders and `--set key=value` or `--set architecture.key=value`.

        Raises UserError for a key that none of the architectures has, and for one without a value.
        """
        settings: dict[str, dict[str, Any]] = {kind.name: {} for kind in kinds}
        for key in _ENCODER_FLAGS:
            if (value := getattr(self, key)) is not None:
                _assign(settings, kinds, key, value)
        for text in self.settings:
            key, equals, raw = text.partition("=")
            if not equals or not key:
                raise UserError(
                    f"--set {text} has no value",
                    code="setting-without-value",
                    hint="write --set key=value, e.g. --set dropout=0.3",
                )
            try:
                value = yaml.safe_load(raw)
            except yaml.YAMLError:
                value = raw
            _assign(settings, kinds, key.strip(), value)
        return settings


def _assign(settings: Mapping[str, dict[str, Any]], kinds: Sequence[Architecture], key: str, value: Any) -> None:
    prefix, dot, rest = key.partition(".")
    chosen = [kind for kind in kinds if kind.name == prefix] if dot else list(kinds)
    name = rest if dot else key
    takers = [kind for kind in chosen if name in kind.Config.model_fields]
    if not takers:
        known = {field for kind in chosen or kinds for field in kind.Config.model_fields}
        owners = ", ".join(kind.name for kind in chosen or kinds)
        raise UserError(
            f"no setting '{key}' in {owners}", code="unknown-architecture-setting", hint=suggestion(name, known)
        )
    for kind in takers:
        settings[kind.name][name] = value
