"""`python -m core.images --preview`: draws a contact sheet of augmented images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.atomic_files import atomic_path
from core.console import run, say
from core.errors import UserError

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.command()
def main(
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
    """
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


if __name__ == "__main__":
    run(app)
