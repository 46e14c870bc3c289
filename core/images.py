"""`python -m core.images`: draws a contact sheet of augmented images, and fetches a catalog's pictures by their links."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from core.atomic_files import atomic_path
from core.console import progress, run, say
from core.data.catalog_config import TableConfig
from core.errors import UserError

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    preview: Annotated[bool, typer.Option("--preview", help="Draw the contact sheet.")] = False,
    images: Annotated[
        Path | None, typer.Option(help="Folder of pictures; the demo shop's pictures if not given.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, max=50, help="Rows: so many pictures.")] = 6,
    views: Annotated[int, typer.Option(min=0, max=20, help="Columns: so many augmented views of each picture.")] = 5,
    random_erase: Annotated[float, typer.Option(min=0, max=1, help="Probability of an erased rectangle.")] = 0.2,
    mixup_alpha: Annotated[float, typer.Option(min=0.01, max=10, help="lambda ~ Beta(alpha, alpha).")] = 0.3,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same sheet.")] = 0,
    size: Annotated[int, typer.Option(min=16, max=512, help="Side of a picture in pixels.")] = 224,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("preview.png"),
) -> None:
    """Shows what training sees of pictures: originals at the left, augmented views, and MixUp with its lambda and price.

    \b
    Examples:
      python -m core.images --preview
      python -m core.images --preview --images images/ --pictures 8 --seed 3
      python -m core.images --preview --random-erase 1 --views 8 --out erased.png
      python -m core.images fetch --train train.csv --test test.csv --images images/
    """
    if context.invoked_subcommand is not None:
        return
    if not preview:
        raise UserError("nothing was asked for", code="preview-not-asked", hint="add --preview to draw a contact sheet")
    if out.suffix.lower() != ".png":
        raise UserError(
            f"the contact sheet is a PNG, and {out} does not end in .png",
            code="preview-not-png",
            hint="name it like preview.png",
        )
    # Here, so that --help needs no torch.
    from core.inputs.images.preview import PreviewSettings, contact_sheet, demo_samples, folder_samples

    samples = demo_samples(pictures, size, seed) if images is None else folder_samples(images, pictures, size, seed)
    sheet = contact_sheet(samples, PreviewSettings(views, random_erase, mixup_alpha, seed))
    with atomic_path(out) as temporary:
        sheet.save(temporary, format="PNG")
    say(str(out))


@app.command()
def fetch(
    train: Annotated[Path, typer.Option(help="Training table, as a sweep takes it.")],
    test: Annotated[Path, typer.Option(help="Test table, as a sweep takes it.")],
    images: Annotated[Path, typer.Option(help="Folder for the pictures; what is there is not fetched again.")],
    size: Annotated[int, typer.Option(min=16, max=4096, help="Longest side of a saved picture in pixels.")] = 256,
    workers: Annotated[int, typer.Option(min=1, max=128, help="Fetches at a time, at most 6 of one host.")] = 16,
    columns: Annotated[str | None, typer.Option(help="A shop's columns: id=sku,image=photo,...")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count links, files and hosts.")] = False,
) -> None:
    """Fetches the pictures behind a catalog's links into the folder that `--images` of a sweep names.

    Only public addresses are fetched from. Run it again to go on; fetch-report.csv in the folder says what is missing and why.
    """
    # Here, so that --help needs no pandas and no HTTP client.
    from core.data.reading import read_catalogs
    from core.inputs.images.catalog_fetch import LIMITS, REPORT, CatalogFetch, plan_fetch
    from core.inputs.images.image_fetcher import ImageFetcher

    read = read_catalogs(train, test, None, drop_bad=True, table=TableConfig(columns=columns))
    plan = plan_fetch((read.train, read.test), images)
    hosts = ", ".join(f"{host} ({count:,})" for host, count in plan.hosts.most_common(5))
    say(
        f"{plan.links:,} links, {plan.distinct:,} distinct, {plan.there:,} already there, {len(plan.wanted):,} to fetch"
    )
    if hosts:
        say(f"{len(plan.hosts):,} hosts: {hosts}{', ...' if len(plan.hosts) > 5 else ''}")
    if dry_run:
        return
    work = CatalogFetch(images, size, ImageFetcher(LIMITS.model_copy(update={"fetches": workers})), workers)
    with progress("pictures") as advance:
        missing = work.run(plan, advance)
    counts = ", ".join(f"{count:,} {state}" for state, count in Counter(each.state for each in missing).most_common())
    if plan.wanted and not work.fetched + plan.there:
        raise UserError(
            f"no picture could be fetched ({counts})",
            code="fetch-nothing",
            hint=f"see {images / REPORT}, and whether this machine reaches the internet",
        )
    say(f"{work.fetched:,} fetched, {len(missing):,} failed{f' ({counts})' if counts else ''}: {images / REPORT}")


if __name__ == "__main__":
    run(app)
