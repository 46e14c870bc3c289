"""Options of a sweep's budget: minutes, trials and members."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from core.command_config import CommandConfig
from core.errors import UserError

DEFAULT_TRIALS, DEFAULT_MEMBERS = 8, 2
"""Per architecture, where no time budget decides."""
MOST_MEMBERS = 6
"""Best trials of an architecture that keep their model where time decides: others that become members train one fold more."""


class BudgetConfig(CommandConfig):
    """Time for everything, and trials and members of each architecture."""

    trials: Annotated[int | None, Field(ge=1, description="different configs per architecture, in all runs (8)")] = None
    minutes: Annotated[float | None, Field(description="time for everything, members included")] = None
    members: Annotated[
        int | None,
        Field(
            ge=1,
            description="best configs per architecture to cross-validate (2; with --minutes as many as help the stack)",
        ),
    ] = None

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.minutes is not None and self.minutes <= 0:
            raise UserError(
                f"--minutes {self.minutes:g} leaves no time to train anything",
                code="no-minutes",
                hint="give a positive number of minutes, or leave the flag out; --dry-run shows the plan without training",
            )
        return self

    @property
    def wanted_members(self) -> int | None:
        """Configs to cross-validate per architecture; None: as many as lower the stack's SMAPE while there is time."""
        return DEFAULT_MEMBERS if self.members is None and self.minutes is None else self.members

    def wanted_trials(self, grid: bool) -> int | None:
        """Different configs to try per architecture; None: as many as the time allows (or the grid has)."""
        if self.trials is not None or grid or self.minutes is not None:
            return self.trials
        return DEFAULT_TRIALS
