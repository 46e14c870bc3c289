"""Options of the search: architectures, their space, fixed settings, encoders, sampler, pruner, seed and the studies' storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, Field, model_validator

from core.architectures import ARCHITECTURES, architecture
from core.command_config import CommandConfig, Flag
from core.errors import UserError, suggestion
from core.protocols.architecture import Architecture, make_config
from search_spaces import load_space

ALL = "all"

_ENCODER_FLAGS = ("text_encoder", "vision_encoder")


def encoder_flag(architecture: str, setting: str) -> str:
    """Command-line option that names the encoder of that setting."""
    return f"--{setting.replace('_', '-')}" if setting in _ENCODER_FLAGS else f"--set {architecture}.{setting}=NAME"


@dataclass(frozen=True)
class SweepPreset:
    """A baseline by name. architectures: those with a space `ARCHITECTURE-PRESET`. folds, seed: of its split and trainings."""

    architectures: tuple[str, ...]
    folds: int
    seed: int


PresetName = Literal["documented"]
SWEEP_PRESETS: dict[PresetName, SweepPreset] = {"documented": SweepPreset(("text", "multimodal"), folds=10, seed=42)}


def _default_seed(given: Mapping[str, Any]) -> int:
    preset = given.get("preset")
    return SWEEP_PRESETS[preset].seed if preset else 0


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
    preset: Annotated[
        PresetName | None, Field(description="the documented text and multimodal networks to the letter")
    ] = None
    seed: Annotated[int, Flag(shown="0; 42 with --preset documented")] = Field(
        default_factory=_default_seed, description="of folds, samplers and trainings"
    )
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

    @model_validator(mode="after")
    def _preset_has_its_own(self) -> Self:
        if self.preset is None:
            return self
        preset = SWEEP_PRESETS[self.preset]
        if others := [name for name in self.names() if name not in preset.architectures]:
            raise UserError(
                f"--preset {self.preset} is of {' and '.join(preset.architectures)}, not of {', '.join(others)}",
                code="preset-other-architecture",
                hint=f"sweep the others without it: python -m experiments.sweep {preset.architectures[0]} --preset {self.preset}",
            )
        if self.space is not None:
            raise UserError(
                f"--preset {self.preset} has a search space of its own, not {self.space}",
                code="preset-with-space",
                hint="leave --preset or --space out",
            )
        if self.seed != preset.seed:
            raise UserError(
                f"--preset {self.preset} is a split and trainings by seed {preset.seed}, not by --seed {self.seed}",
                code="preset-other-seed",
                hint="leave --seed out",
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

    def space_name(self, kind: Architecture) -> str | Path | None:
        """The space that `--space` or the preset names; None where the architecture's encoders decide."""
        return f"{kind.name}-{self.preset}" if self.preset else self.space

    def fixed_settings(self, kinds: Sequence[Architecture]) -> dict[str, dict[str, Any]]:
        """By architecture the settings that are not searched: those fixed in its space, and above them the user's.

        Raises UserError for a key that none of the architectures has, and for one without a value.
        """
        named = {kind.name: self.space_name(kind) for kind in kinds}
        spaces = {kind.name: load_space(name, kind.Config) for kind in kinds if (name := named[kind.name]) is not None}
        return {
            name: {**(spaces[name].fixed if name in spaces else {}), **own}
            for name, own in self.given_settings(kinds).items()
        }

    def changes(self, kind: Architecture) -> dict[str, tuple[Any, Any]]:
        """Settings in which the user departs from the preset's first point: (the preset's value, the user's)."""
        if self.preset is None:
            return {}
        space = load_space(f"{kind.name}-{self.preset}", kind.Config)
        point, given = {**space.fixed, **space.best}, self.given_settings(self.kinds())[kind.name]
        literal, asked = (
            make_config(kind.Config, each).model_dump(mode="json") for each in (point, {**point, **given})
        )
        learnt = given.keys() - kind.Config.not_learnt
        return {key: (literal[key], asked[key]) for key in sorted(learnt) if literal[key] != asked[key]}

    def given_settings(self, kinds: Sequence[Architecture]) -> dict[str, dict[str, Any]]:
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
