"""Frozen pydantic configs and the command lines built from them: each flag is declared once, as a field of its part's config."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature
from typing import Annotated, Any, Literal, Self, TypeVar, get_origin

import typer
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from core.errors import UserError, suggestion


@dataclass(frozen=True)
class Flag:
    """Command-line form of a field where `--field-name` does not say it all: metadata in the field's `Annotated` type.

    name: of the keyword argument. option: as typed. text: read as text, which the config parses. any_case: choices are taken in
    upper and lower case. argument: positional. shown: text in place of the default.
    """

    name: str | None = None
    option: str | None = None
    metavar: str | None = None
    envvar: str | None = None
    text: bool = False
    any_case: bool = False
    argument: bool = False
    shown: str | None = None


class CommandConfig(BaseModel):
    """Settings of one part of a command, or of several parts: fields that are configs themselves. Frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, **values: Any) -> Self:
        """The config from flat keyword arguments, those of its parts too; None: the default.

        Raises UserError for an unknown name, with the nearest known one, and for a value that the field does not allow.
        """
        known = {each.name: each for each in _options(cls)}
        nested: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise UserError(f"unknown option '{name}'", code="unknown-option", hint=suggestion(name, known))
            place = nested
            for part in known[name].path[:-1]:
                place = place.setdefault(part, {})
            if value is not None:
                place[known[name].path[-1]] = value
        try:
            return cls.model_validate(nested)
        except ValidationError as error:
            first = error.errors()[0]
            name = next(each.name for each in known.values() if first["loc"][: len(each.path)] == each.path)
            raise UserError(
                f"bad value for {name}: {first['msg']} (given: {first['input']!r})",
                code="bad-option-value",
                hint=f"choose another value for {name}",
            ) from None


ConfigT = TypeVar("ConfigT", bound=CommandConfig)
Result = TypeVar("Result")


def takes_flags(
    config: type[ConfigT], order: Sequence[str] = ()
) -> Callable[[Callable[[ConfigT], Result]], Callable[..., Result]]:
    """Decorator for a typer command whose one parameter is a config: its flags are the config's fields.

    order: names in the order of `--help`; those that it lacks follow.
    """
    options = list(_options(config))
    options.sort(key=lambda each: order.index(each.name) if each.name in order else len(order))

    def decorate(main: Callable[[ConfigT], Result]) -> Callable[..., Result]:
        @wraps(main)
        def command(**values: Any) -> Result:
            return main(config.of(**values))

        parameters = [each.parameter() for each in options]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


@dataclass(frozen=True)
class _Option:
    """A field as an option. path: names of the parts that lead to the field, and its own."""

    name: str
    path: tuple[str, ...]
    field: FieldInfo
    flag: Flag

    def parameter(self) -> Parameter:
        """The parameter of a typer command."""
        field, flag = self.field, self.flag
        kind: Any = field.annotation
        default = Parameter.empty if field.is_required() else field.get_default()
        shown: Any = True if flag.shown is None else flag.shown
        if get_origin(kind) is tuple:
            kind, default = list[str] | None, None
        elif flag.text or field.default_factory is not None:
            kind, default = (str if flag.text else kind) | None, None
        if flag.argument:
            info: Any = typer.Argument(help=field.description, metavar=flag.metavar, show_default=shown)
        else:
            info = typer.Option(
                flag.option or f"--{self.name.replace('_', '-')}",
                help=field.description,
                min=_bound(field, "ge"),
                max=_bound(field, "le"),
                case_sensitive=not flag.any_case,
                metavar=flag.metavar,
                envvar=flag.envvar,
                show_default=shown,
            )
        return Parameter(self.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def _bound(field: FieldInfo, name: Literal["ge", "le"]) -> Any:
    return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)


def _options(config: type[CommandConfig], path: tuple[str, ...] = ()) -> Iterator[_Option]:
    for key, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, CommandConfig):
            yield from _options(field.annotation, (*path, key))
        else:
            flag = next((each for each in field.metadata if isinstance(each, Flag)), Flag())
            yield _Option(flag.name or key, (*path, key), field, flag)
