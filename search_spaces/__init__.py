"""Search spaces: YAML files with the values that each setting may take, and their reader."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.errors import UserError, suggestion
from core.protocols.architecture import Config, make_config

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Space:
    """values: the choices of each searched setting, in the file's order. best: the point to try first, as trial 0.

    then: points to try next, before a sampler is asked: other kinds of model, which a stack gains most by.
    """

    source: str
    values: dict[str, tuple[Any, ...]]
    best: dict[str, Any]
    then: tuple[dict[str, Any], ...] = ()

    @property
    def points(self) -> int:
        return math.prod(len(choices) for choices in self.values.values())

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every point once, the last setting changing fastest."""
        for choice in itertools.product(*self.values.values()):
            yield dict(zip(self.values, choice, strict=True))

    def without(self, fixed: Mapping[str, Any]) -> Space:
        """The space that is left when the user has fixed some settings."""

        def left(settings: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in settings.items() if name not in fixed}

        return Space(self.source, left(self.values), left(self.best), tuple(map(left, self.then)))


def load_space(name: str | Path, kind: type[Config]) -> Space:
    """The space of that name (`text`), or of a YAML file. Keys and values are checked against the config's fields.

    Raises UserError for a missing or unreadable file, an unknown key (with the nearest name), a value that the config refuses,
    and a `best` or `then` that lies outside the ranges. Each point of `then` is written as what it changes of `best`.
    """
    path = name if isinstance(name, Path) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in FOLDER.glob("*.yaml"))
        raise UserError(f"no search space {path}", code="space-missing", hint=suggestion(path.stem, known))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not readable as YAML: {error}",
            code="space-not-yaml",
            hint="compare it with search_spaces/text.yaml",
        ) from None
    return _checked(str(name) if isinstance(name, Path) else f"search_spaces/{path.name}", content, kind)


def _checked(source: str, content: Any, kind: type[Config]) -> Space:
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("values"), dict)
        or set(content) - {"values", "best", "then"}
    ):
        raise UserError(
            f"{source} must have the keys `values` (setting: list of choices) and, if wanted, `best` and `then`",
            code="space-bad-keys",
            hint="compare it with search_spaces/text.yaml",
        )
    values, best = content["values"], content.get("best") or {}
    for key, choices in values.items():
        if key not in kind.model_fields:
            raise UserError(
                f"{source}: unknown setting '{key}'",
                code="space-unknown-setting",
                hint=suggestion(str(key), kind.model_fields),
            )
        if not isinstance(choices, list) or not choices:
            raise UserError(
                f"{source}: `{key}` must list at least one choice",
                code="space-no-choices",
                hint=f"write `{key}: [value, value]`",
            )
        for choice in choices:
            make_config(kind, {key: choice})
    if best and set(best) != set(values):
        raise UserError(
            f"{source}: best lacks {sorted(set(values) - set(best))}",
            code="space-best-incomplete",
            hint="give one value for every setting",
        )
    changes = content.get("then") or []
    if changes and not (best and isinstance(changes, list) and all(isinstance(each, dict) for each in changes)):
        raise UserError(
            f"{source}: `then` must list settings that it changes of `best`",
            code="space-bad-initial-points",
            hint="write `then: [{setting: value}]`",
        )
    then = tuple({**best, **each} for each in changes)
    for point in (best, *then):
        for key, value in point.items():
            if value not in values.get(key, []):
                raise UserError(
                    f"{source}: best or then has {key}={value!r}, which is not among its choices",
                    code="space-not-a-choice",
                    hint=f"add it to `values: {key}`",
                )
    return Space(source, {key: tuple(choices) for key, choices in values.items()}, best, then)
