"""`python -m serving.predict`: prices the rows of a CSV file of any size with a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.console import progress, run, say, warn
from core.errors import UserError

_HELP = """
Prices the rows of a CSV file (sample_id, catalog_content, image_link) with a bundle.

Examples:

  python -m serving.predict --bundle runs/bundles/runs-1-0a1b2c3d4e5f --in test.csv --out prices.csv

  python -m serving.predict --bundle B --in test.csv --out prices.csv --details --images images/

The whole file is checked before the first row is priced. Files may be larger than the memory. Whoever stops the command
and types it again goes on where it stopped: finished rows wait beside --out until all are there.
"""

app = typer.Typer(add_completion=False)


@app.command(help=_HELP)
def main(
    bundle: Annotated[Path, typer.Option(help="Folder that serving.export has written.")],
    source: Annotated[Path, typer.Option("--in", help="The rows to price; names that end in .gz are unpacked.")],
    out: Annotated[Path, typer.Option(help="Where the prices go.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the pictures.")] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also the 80% interval (low, high), and which members answered (level).")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="Rows that are priced together.")] = 1_024,
) -> None:
    from serving.engine.batch import BatchJob, price_file

    if out.resolve() == source.resolve():
        raise UserError(f"--out {out} is the input", code="predict-out-is-input", hint="name another file with --out")
    job = BatchJob(bundle, source, out, images, details, rows)
    try:
        with progress("pricing") as tell:
            done = price_file(job, tell, lambda note: warn(f"note: {note}"))
    except KeyboardInterrupt:
        if job.parts.exists():
            warn(f"the finished rows wait in {job.parts}: the same command goes on where it stopped")
        raise
    if done.resumed:
        say(f"{done.resumed:,} rows were there from before")
    say(f"{done.rows:,} rows priced by {done.bundle}: {out}")
    fallen = {level: count for level, count in done.levels.items() if level != "stack"}
    if fallen:
        listed = ", ".join(f"{count:,} rows by {level}" for level, count in fallen.items())
        warn(f"not by the whole stack: {listed}; the messages above say which member failed, and why")


if __name__ == "__main__":
    run(app)
