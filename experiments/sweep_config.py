"""Options of a whole sweep: the configs of its parts, from the command line or from keyword arguments (`SweepConfig.of`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from core.command_config import CommandConfig
from core.data.catalog_config import CatalogConfig
from core.errors import UserError
from core.store.workspace import default_folder
from experiments.execution.resource_config import ResourceConfig
from experiments.planning.budget import BudgetConfig
from experiments.search.search_config import SWEEP_PRESETS, SearchConfig
from experiments.tracking.tracking_config import TrackingConfig


class SweepConfig(CommandConfig):
    """Configs of a sweep's parts, checked as far as they can be without reading a file."""

    workspace: Annotated[Path, Field(default_factory=default_folder, description="folder that holds everything (runs)")]
    catalog: CatalogConfig = CatalogConfig()
    search: SearchConfig = SearchConfig()
    budget: BudgetConfig = BudgetConfig()
    resources: ResourceConfig = ResourceConfig()
    tracking: TrackingConfig = TrackingConfig()
    dry_run: Annotated[bool, Field(description="facts, space, plan and time; trains nothing")] = False

    @model_validator(mode="after")
    def _folds_of_preset(self) -> Self:
        name, folds = self.search.preset, self.catalog.folds
        if name is not None and folds not in (None, SWEEP_PRESETS[name].folds):
            raise UserError(
                f"--preset {name} is a split into {SWEEP_PRESETS[name].folds} folds, not --folds {folds}",
                code="preset-other-split",
                hint="leave --folds out",
            )
        return self
