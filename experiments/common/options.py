"""What the user asked of a sweep, and the settings that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from core.architectures import ARCHITECTURES, architecture
from core.errors import UserError, suggestion
from core.protocols.architecture import Architecture

FoldGroups = Literal["auto", "on", "off"]
ALL = "all"
DEFAULT_TRIALS, DEFAULT_MEMBERS = 8, 2
"""Per architecture, where no time budget decides."""
MOST_MEMBERS = 6
"""Where time decides, so many best trials of an architecture keep their model: others that become members train one fold more."""


@dataclass(frozen=True)
class Options:
    """The flags of `python -m experiments.sweep`, checked for what can be checked without reading a file.

    cache_limit: bytes, None as in `Workspace.cache`. memory: bytes for everything; None: what is free on this machine.
    """

    architectures: tuple[str, ...]
    workspace: Path
    train: Path | None = None
    test: Path | None = None
    images: Path | None = None
    trials: int | None = None
    minutes: float | None = None
    members: int | None = None
    folds: int | None = None
    fold_groups: FoldGroups | None = None
    grid: bool = False
    sampler: str = "tpe"
    pruner: str = "asha"
    seed: int = 0
    text_encoder: str | None = None
    vision_encoder: str | None = None
    settings: tuple[str, ...] = ()
    space: Path | None = None
    max_concurrent: int | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    workers_per_trial: int = 1
    storage: str | None = None
    address: str | None = None
    storage_path: str | None = None
    dry_run: bool = False
    fresh: bool = False
    drop_bad: bool = False
    cache_limit: int | None = None
    memory: int | None = None
    tracking: str | None = None
    quiet: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        if (self.train is None) != (self.test is None):
            raise UserError(
                f"--{'train' if self.test is None else 'test'} was given alone",
                hint="give both --train and --test: the members of a sweep price the test rows as well",
            )
        if self.images is not None and self.train is None:
            raise UserError("--images was given without a catalog", hint="give --train and --test as well")
        if self.minutes is not None and self.minutes <= 0:
            raise UserError(
                f"--minutes {self.minutes:g} leaves no time to train anything",
                hint="give a positive number of minutes, or leave the flag out; --dry-run shows the plan without training",
            )
        if self.memory is not None and self.address is not None:
            raise UserError(
                "--memory is this machine's, but with --address trainings run on the cluster's nodes",
                hint="leave --memory out, and say with --max-concurrent how many trainings run at once",
            )
        if self.space is not None and len(self.names()) != 1:
            raise UserError(
                f"--space is one architecture's, but the sweep has {', '.join(self.names())}",
                hint="name one architecture",
            )

    def names(self) -> tuple[str, ...]:
        """The architectures, `all` spelled out, each once, in the order given."""
        given = ARCHITECTURES if ALL in self.architectures else self.architectures
        for name in given:
            if name not in ARCHITECTURES:
                raise UserError(f"unknown architecture '{name}'", hint=suggestion(name, [*ARCHITECTURES, ALL]))
        return tuple(dict.fromkeys(given))

    @property
    def wanted_members(self) -> int | None:
        """Configs to cross-validate per architecture; None: as many as lower the stack's SMAPE while there is time."""
        return DEFAULT_MEMBERS if self.members is None and self.minutes is None else self.members

    @property
    def wanted_trials(self) -> int | None:
        """Different configs to try per architecture; None: as many as the time allows (or the grid has)."""
        if self.trials is not None or self.grid or self.minutes is not None:
            return self.trials
        return DEFAULT_TRIALS


def user_settings(options: Options, kinds: Sequence[Architecture]) -> dict[str, dict[str, Any]]:
    """Per architecture, the settings that the user fixed: encoders and `--set key=value` or `--set architecture.key=value`.

    Raises UserError for a key that none of the architectures has, and for one without a value.
    """
    settings: dict[str, dict[str, Any]] = {kind.name: {} for kind in kinds}
    for key, value in (("text_encoder", options.text_encoder), ("vision_encoder", options.vision_encoder)):
        if value is not None:
            _assign(settings, kinds, key, value)
    for text in options.settings:
        key, equals, raw = text.partition("=")
        if not equals or not key:
            raise UserError(f"--set {text} has no value", hint="write --set key=value, e.g. --set dropout=0.3")
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
        raise UserError(f"no setting '{key}' in {owners}", hint=suggestion(name, known))
    for kind in takers:
        settings[kind.name][name] = value


def architectures_of(options: Options) -> list[Architecture]:
    return [architecture(name) for name in options.names()]
