"""Search spaces: YAML files with the values that each setting may take, and their reader (docs/search_spaces.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from core.errors import UserError, suggestion
from core.protocols.architecture import Config, make_config
from search_spaces.space import Choices, Range, Space

__all__ = ["FOLDER", "Choices", "Range", "Space", "load_space"]

FOLDER = Path(__file__).parent
_KEYS = {"fixed", "values", "best", "then", "initial_points"}


def load_space(name: str | Path, kind: type[Config]) -> Space:
    """The space of that name (`text`), or of a YAML file. Keys and values are checked against the config's fields.

    Raises UserError for a missing or unreadable file, an unknown key (with the nearest name), a value that the config refuses,
    and a `best` or initial point that lies outside the values. Points of `then` and `initial_points` are written as what they
    change of `best`; without `best` the first initial point is the best.
    """
    path = Path(name)
    shipped = FOLDER / f"{name}.yaml"
    if not (isinstance(name, Path) and path.is_file()):
        if not shipped.is_file():
            known = sorted(file.stem for file in FOLDER.glob("*.yaml"))
            raise UserError(f"no search space {name}", code="space-missing", hint=suggestion(path.stem, known))
        path = shipped
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not readable as YAML: {error}",
            code="space-not-yaml",
            hint="compare it with search_spaces/text.yaml",
        ) from None
    return _checked(f"search_spaces/{path.name}" if path == shipped else str(name), content, kind)


def _checked(source: str, content: Any, kind: type[Config]) -> Space:
    if not isinstance(content, dict) or not isinstance(content.get("values"), dict) or set(content) - _KEYS:
        raise UserError(
            f"{source} must have the key `values` (setting: list of choices, or range) and, if wanted, `fixed`, `best`, `then` "
            "and `initial_points`",
            code="space-bad-keys",
            hint="compare it with search_spaces/text.yaml",
        )
    values = {key: _choices(source, key, given, kind) for key, given in content["values"].items()}
    best, then = _first_points(source, content, values)
    best, *then = ({key: _number(kind, key, value) for key, value in point.items()} for point in (best, *then))
    for point in (best, *then):
        for key, value in point.items():
            if value not in values.get(key, ()):
                raise UserError(
                    f"{source}: best or an initial point has {key}={value!r}, which is not among its choices",
                    code="space-not-a-choice",
                    hint=f"add it to `values: {key}`",
                )
    return Space(source, values, best, tuple(then), _fixed(source, content.get("fixed") or {}, values, kind))


def _fixed(source: str, given: Any, values: Mapping[str, Any], kind: type[Config]) -> dict[str, Any]:
    if not isinstance(given, dict) or given.keys() & values.keys():
        raise UserError(
            f"{source}: `fixed` must give one value to settings that `values` does not list",
            code="space-bad-fixed",
            hint="write `fixed: {setting: value}`, and list what is searched in `values`",
        )
    for key in given:
        _check_known(source, key, kind)
    return {key: _number(kind, key, value) for key, value in given.items()}


def _check_known(source: str, key: Any, kind: type[Config]) -> None:
    if key not in kind.model_fields:
        raise UserError(
            f"{source}: unknown setting '{key}'",
            code="space-unknown-setting",
            hint=suggestion(str(key), kind.model_fields),
        )


def _choices(source: str, key: Any, given: Any, kind: type[Config]) -> Choices:
    _check_known(source, key, kind)
    if isinstance(given, dict):
        try:
            found = TypeAdapter(Range).validate_python(given)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f"{source}: the range of `{key}`: {'.'.join(map(str, first['loc']))} {first['msg']}".replace(
                    ":  ", ": "
                ),
                code="space-bad-range",
                hint=f"write `{key}: {{low: 1e-6, high: 1e-4, log: true}}` or `{key}: {{low: 2, high: 12, step: 2}}`",
            ) from None
        for end in (found.low, found.high):
            make_config(kind, {key: end})
        return found
    if not isinstance(given, list) or not given:
        raise UserError(
            f"{source}: `{key}` must list at least one choice",
            code="space-no-choices",
            hint=f"write `{key}: [value, value]`, or a range `{key}: {{low: ..., high: ...}}`",
        )
    return tuple(_number(kind, key, choice) for choice in given)


def _number(kind: type[Config], key: str, choice: Any) -> Any:
    """The choice, checked; YAML reads `1e-5` as text, which a numeric setting makes a number."""
    if key not in kind.model_fields:
        return choice
    settled = getattr(make_config(kind, {key: choice}), key)
    return settled if isinstance(choice, str) and isinstance(settled, (int, float)) else choice


def _first_points(
    source: str, content: Mapping[str, Any], values: Mapping[str, Choices]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    best, lists = dict(content.get("best") or {}), [content.get(key) or [] for key in ("then", "initial_points")]
    readable = all(isinstance(each, list) and all(isinstance(point, dict) for point in each) for each in lists)
    if readable and not best and lists[1]:
        best, *lists[1] = lists[1]
    if best and set(best) != set(values):
        raise UserError(
            f"{source}: best lacks {sorted(set(values) - set(best))}",
            code="space-best-incomplete",
            hint="give one value for every setting",
        )
    if not readable or (any(lists) and not best):
        raise UserError(
            f"{source}: `then` and `initial_points` must list settings that they change of `best`",
            code="space-bad-initial-points",
            hint="write `initial_points: [{setting: value}]`",
        )
    return best, [{**best, **each} for listed in lists for each in listed]
