"""`python -m core.demo`: writes a demo catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.console import progress, run, say
from core.demo.generate import FEWEST, MOST, make_demo

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    rows: Annotated[
        int, typer.Option(min=FEWEST, max=MOST, help="Products in all; a fifth of them is the test file.")
    ] = FEWEST,
    seed: Annotated[int, typer.Option(help="The same seed makes the same catalog.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder to make.")] = Path("demo-catalog"),
    pictures: Annotated[
        int | None, typer.Option(min=0, help="Draw at most so many pictures; all if not given.")
    ] = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Draw pictures, or none.")] = True,
) -> None:
    """Makes a seeded demo catalog in the native format: train.csv, test.csv, images/ and, for measuring, test_prices.csv.

    \b
    Examples:
      python -m core.demo
      python -m core.demo --rows 20000 --seed 7 --out shop
      python -m core.demo --rows 200000 --pictures 5000 --out large
      python -m core.demo --no-images --out texts
    """
    with progress("demo catalog") as advance:
        paths = make_demo(out, rows, seed, advance, pictures if images else 0)
    for path in (paths.train, paths.test, paths.test_prices, paths.images):
        say(str(path))


if __name__ == "__main__":
    run(app)
