"""`python -m serving.predict`: prices the rows of a table of any size with a bundle."""

from __future__ import annotations

import typer

from core.command_config import takes_flags
from core.console import progress, run, say, warn
from serving.bundle.bundle import AnswerLevel
from serving.engine.batch_job import BatchJob

_HELP = """
Prices the rows of a table (sample_id, catalog_content, image_link, or the columns it was trained on) with a bundle.

Examples:

  python -m serving.predict --bundle runs/bundles/runs-1-0a1b2c3d4e5f --in test.csv --out prices.csv

  python -m serving.predict --bundle B --in test.csv --out prices.csv --details --images images/

The whole file is checked before the first row is priced. Files may be larger than the memory. Whoever stops the command
and types it again goes on where it stopped: finished rows wait beside --out until all are there.
"""

app = typer.Typer(add_completion=False)


@app.command(help=_HELP)
@takes_flags(BatchJob)
def main(job: BatchJob) -> None:
    from serving.engine.batch import price_file

    try:
        with progress("pricing") as report:
            done = price_file(job, report, lambda note: warn(f"note: {note}"))
    except KeyboardInterrupt:
        if job.parts.exists():
            warn(f"the finished rows wait in {job.parts}: the same command goes on where it stopped")
        raise
    if done.resumed:
        say(f"{done.resumed:,} rows were there from before")
    say(f"{done.rows:,} rows priced by {done.bundle}: {job.out}")
    fallen = {level: count for level, count in done.levels.items() if level != AnswerLevel.STACK}
    if fallen:
        listed = ", ".join(f"{count:,} rows by {level}" for level, count in fallen.items())
        warn(f"not by the whole stack: {listed}; the messages above say which member failed, and why")


if __name__ == "__main__":
    run(app)
