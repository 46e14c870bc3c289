"""Configs of stacking and of its command line: each flag of `python -m ensemble.stack` is declared here or in ScreeningConfig."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from core.command_config import CommandConfig, Flag
from core.data.catalog_config import FileFormatConfig
from core.errors import UserError
from ensemble.matrix.screening import ScreeningConfig
from ensemble.methods.method_registry import check_methods


class StackConfig(CommandConfig):
    """Settings of a stack. `StackConfig()` tries every method and step; `StackConfig.of(seed=1, drop=["a"])` takes flat names.

    methods: combination methods to try, None for all. seed: of folds and boosters. screening: members to take. folds, groups,
    features, table: for tables of predictions alone; a workspace has its own folds, and fields of its texts.
    """

    folds: Annotated[
        int | None, Field(description="Folds to make for --oof; a workspace has its own (5, or a group each).")
    ] = None
    groups: Annotated[
        str | None,
        Field(
            description="Column of --oof: rows of one value are one product and stay in one fold; empty ones are alone."
        ),
    ] = None
    features: Annotated[
        tuple[str, ...],
        Flag(metavar="COLUMN"),
        Field(description="Column of --oof and --test that is no member but describes the row; repeatable."),
    ] = ()
    table: FileFormatConfig = FileFormatConfig()
    screening: ScreeningConfig = ScreeningConfig()
    methods: Annotated[
        tuple[str, ...] | None,
        Flag(text=True),
        Field(description="Combination methods to try, with commas between them (all of them)."),
    ] = None
    seed: Annotated[int, Field(ge=0, description="Seed of folds and boosters.")] = 0

    @field_validator("methods", mode="before")
    @classmethod
    def _known_methods(cls, value: Any) -> Any:
        if value is None:
            return None
        return check_methods([name.strip() for name in value.split(",")] if isinstance(value, str) else value)


class StackCommandConfig(CommandConfig):
    """Flags of `python -m ensemble.stack`: inputs, output and the stack's own config."""

    workspace: Annotated[Path | None, Field(description="Folder of the workspace (PRICESTACK_WORKSPACE or runs).")] = (
        None
    )
    oof: Annotated[Path | None, Field(description="Out-of-fold predictions made anywhere, with --test.")] = None
    test: Annotated[Path | None, Field(description="The same members' test predictions, with --oof.")] = None
    out: Annotated[Path | None, Field(description="The submission to write (submission.csv in the workspace).")] = None
    stack: StackConfig = StackConfig()
    quiet: Annotated[bool, Field(description="Print only the submission's path.")] = False

    @model_validator(mode="after")
    def _together(self) -> Self:
        """Raises UserError for options that exclude or need each other."""
        if (self.oof is None) != (self.test is None):
            raise UserError(
                "--oof and --test belong together",
                code="stack-oof-without-test",
                hint="give both, or neither to stack the workspace's members",
            )
        if self.oof is not None and self.workspace is not None:
            raise UserError(
                "--workspace and --oof exclude each other",
                code="stack-workspace-and-oof",
                hint="give either a workspace or two tables",
            )
        stack = self.stack
        for_tables = (stack.folds, stack.groups, stack.features or None, stack.table.sheet, stack.table.price_format)
        if self.oof is None and any(each is not None for each in for_tables):
            raise UserError(
                "--folds, --groups, --features, --sheet and --price-format are for --oof",
                code="stack-needs-oof",
                hint="leave them out: a workspace has its own folds, and fields of its texts",
            )
        return self
