"""Space of one architecture's searched settings: lists and ranges of values, and the points to try first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass

from core.errors import UserError


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Range:
    """Values from `low` to `high`, both included, as a file has it: `{low: 1e-6, high: 1e-4, log: true}`.

    log: drawn evenly in the logarithm. step: distance of neighbouring values.
    A range of two whole numbers is one of whole numbers. Without a step it has no list of values and cannot be walked.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a logarithmic range begins above 0 and has no step")
        return self

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def values(self) -> tuple[float, ...] | None:
        """Every value, where there is a step; else None."""
        if self.step is None:
            return None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return tuple(self._typed(self.low + number * self.step) for number in range(count))

    def sample(self, random: Random) -> float:
        """One value, drawn evenly."""
        if (values := self.values) is not None:
            return random.choice(values)
        if self.log:
            drawn = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
        else:
            drawn = random.uniform(self.low, self.high + self.whole * (1 - 1e-9))
        return self._typed(min(max(math.floor(drawn) if self.whole else drawn, self.low), self.high))

    def __contains__(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            return False
        if self.whole and value != int(value):
            return False
        return self.step is None or any(math.isclose(value, each, rel_tol=1e-9) for each in self.values or ())

    def record(self) -> dict[str, Any]:
        """The range as it is written in a file."""
        kept = {"low": self.low, "high": self.high, "log": self.log or None, "step": self.step}
        return {key: value for key, value in kept.items() if value is not None}

    def _typed(self, value: float) -> float:
        return int(value) if self.whole else float(value)


Choices = tuple[Any, ...] | Range


@dataclass(frozen=True)
class Space:
    """values: the choices or the range of each searched setting, in the file's order. best: the point to try first, as trial 0.

    then: points to try next, before a sampler is asked: other kinds of model, which a stack gains most by.
    fixed: settings that all points share, unless the user fixes them otherwise.
    """

    source: str
    values: dict[str, Choices]
    best: dict[str, Any]
    then: tuple[dict[str, Any], ...] = ()
    fixed: dict[str, Any] = field(default_factory=dict)

    @property
    def points(self) -> float:
        """Number of points; infinite with a range without a step."""
        listed = [self.listed(name) for name in self.values]
        return math.inf if None in listed else math.prod(len(each or ()) for each in listed)

    def listed(self, name: str) -> tuple[Any, ...] | None:
        """Every value of a setting; None for a range without a step."""
        choices = self.values[name]
        return choices.values if isinstance(choices, Range) else choices

    def choices_of(self, names: Iterable[str]) -> dict[str, tuple[Any, ...]]:
        """Every value of those of these settings that are searched; none for a range without a step."""
        return {name: self.listed(name) or () for name in names if name in self.values}

    def check_finite(self, flag: str) -> None:
        """Raises UserError where a range has no step: its points cannot be walked one by one, which `flag` asks for."""
        endless = [name for name in self.values if self.listed(name) is None]
        if endless:
            raise UserError(
                f"{flag} cannot try every value of {', '.join(endless)} in {self.source}: "
                "a range without a step has no end of them",
                code="space-endless-grid",
                hint=f"give {endless[0]} a list or a `step`, or leave {flag} out",
            )

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every point once, the last setting changing fastest; only of a finite space."""
        self.check_finite("a grid")
        for choice in itertools.product(*(self.listed(name) or () for name in self.values)):
            yield dict(zip(self.values, choice, strict=True))

    def sample(self, random: Random) -> dict[str, Any]:
        """One point, drawn evenly."""
        return {
            name: choices.sample(random) if isinstance(choices, Range) else random.choice(choices)
            for name, choices in self.values.items()
        }

    def record(self) -> dict[str, Any]:
        """Values by setting, JSON-ready: a list, or a range's ends."""
        return {
            name: choices.record() if isinstance(choices, Range) else list(choices)
            for name, choices in self.values.items()
        }

    def highest(self, name: str, otherwise: Any) -> Any:
        """The largest value of a setting; `otherwise` where it is not searched."""
        choices = self.values.get(name)
        if choices is None:
            return otherwise
        return choices.high if isinstance(choices, Range) else max(choices)

    def lowest(self, name: str, otherwise: Any) -> Any:
        """The smallest value of a setting; `otherwise` where it is not searched."""
        choices = self.values.get(name)
        if choices is None:
            return otherwise
        return choices.low if isinstance(choices, Range) else min(choices)

    def renamed(self, name: str, choices: Mapping[Any, Any]) -> Space:
        """The space with each of a setting's choices replaced, in the points to try first too; equal ones become one."""

        def changed(point: Mapping[str, Any]) -> dict[str, Any]:
            return {key: choices[value] if key == name else value for key, value in point.items()}

        values = {**self.values, name: tuple(dict.fromkeys(choices.values()))}
        return replace(self, values=values, best=changed(self.best), then=tuple(map(changed, self.then)))

    def without(self, fixed: Mapping[str, Any]) -> Space:
        """The space that is left when the user has fixed some settings."""

        def left(settings: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in settings.items() if name not in fixed}

        return replace(self, values=left(self.values), best=left(self.best), then=tuple(map(left, self.then)))
