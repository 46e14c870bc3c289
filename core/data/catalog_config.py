"""Options of the catalog that a sweep reads: its files, what becomes of bad rows, and its folds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.command_config import CommandConfig, Flag
from core.errors import UserError

FoldGroups = Literal["auto", "on", "off"]


class PriceFormat(StrEnum):
    """Marks of thousands and decimals, by the example that a user types."""

    COMMA_POINT = "1,234.56"
    POINT_COMMA = "1.234,56"
    SPACE_COMMA = "1 234,56"
    SPACE_POINT = "1 234.56"
    APOSTROPHE_POINT = "1'234.56"
    APOSTROPHE_COMMA = "1'234,56"


def file_alone(role: str) -> UserError:
    """The error for one of the two files given without the other."""
    return UserError(
        f"--{role} was given alone",
        code="catalog-file-alone",
        hint="give both --train and --test: the members of a sweep price the test rows as well",
    )


class FileFormatConfig(CommandConfig):
    """Sheet and price format of tables, where their content does not say it all."""

    sheet: Annotated[str | None, Field(description="sheet of Excel files (the first)")] = None
    price_format: Annotated[PriceFormat | None, Field(description="how prices are written (found by the column)")] = (
        None
    )


class TableConfig(FileFormatConfig):
    """How a catalog's tables are read, where their content does not say it all."""

    columns: Annotated[
        str | None, Field(description="a shop's columns: id=sku,text=title+description,image=photo,price=final_price")
    ] = None
    ignore: Annotated[str | None, Field(description="columns to leave out, parted by commas")] = None

    kinds: Annotated[
        str | None,
        Flag(option="--as"),
        Field(
            description="types of columns, price_tag=category: number, yes-no, category, date, text or list (by content)"
        ),
    ] = None

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of the columns to leave out."""
        return tuple(filter(None, (name.strip() for name in (self.ignore or "").split(","))))


class CatalogConfig(CommandConfig):
    """Files of the catalog and how its rows are split into folds. No files: the workspace's own catalog, or the demo catalog."""

    train: Annotated[
        Path | None, Field(description="table: sample_id,catalog_content,image_link,price; others by --columns")
    ] = None
    test: Annotated[Path | None, Field(description="table: sample_id,catalog_content,image_link")] = None
    images: Annotated[Path | None, Field(description="folder of pictures, named by the links' last part")] = None
    folds: Annotated[int | None, Field(ge=2, description="k (5; 10 with 100 to 499 rows); made once per workspace")] = (
        None
    )
    fold_groups: Annotated[
        FoldGroups | None, Field(description="keep rows of one product in one fold (auto: as the test file does)")
    ] = None
    drop_bad: Annotated[bool, Field(description="drop bad training rows, with a count")] = False
    table: TableConfig = TableConfig()

    @model_validator(mode="after")
    def _files_together(self) -> Self:
        if self.train is None and self.test is not None:
            raise file_alone("test")
        if self.images is not None and self.train is None:
            raise UserError(
                "--images was given without a catalog",
                code="images-without-catalog",
                hint="give --train and --test as well",
            )
        return self
