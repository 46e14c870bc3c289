from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from core.command_config import CommandConfig, Flag, takes_flags


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class PaintConfig(CommandConfig):
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    coats: Annotated[int | None, Field(le=9)] = None
    colour: Annotated[Colour, Flag(any_case=True)] = Colour.RED
    ground: Colour = Colour.BLUE


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@takes_flags(PaintConfig)
def paint(config: PaintConfig) -> None:
    typer.echo(config.model_dump_json())


def test_help_shows_lower_and_upper_bounds() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert "0<=x<=1]" in shown and "[x<=9]" in shown


@pytest.mark.parametrize(
    ("flag", "value", "read"),
    [
        ("--share", "1", 1.0),
        ("--share", "1.1", None),
        ("--coats", "9", 9),
        ("--coats", "10", None),
        ("--colour", "Blue", "blue"),
        ("--ground", "red", "red"),
        ("--ground", "Red", None),
    ],
)
def test_bounds_and_the_case_of_choices(flag: str, value: str, read: object) -> None:
    done = CliRunner().invoke(app, [flag, value])
    assert done.exit_code == (2 if read is None else 0)
    assert read is None or json.loads(done.stdout)[flag[2:]] == read
