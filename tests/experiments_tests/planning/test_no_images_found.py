"""A folder in which no row finds its picture: said with an example, and no network is trained on black squares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.commands import run
from tests.core_tests.image_toys import noise

SWEEP = "experiments.sweep"


@pytest.fixture
def flags(tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]) -> list[object]:
    """A catalog whose links name no file of its folder."""
    files = toy_files()
    for path in files:
        table = pd.read_csv(path, dtype=str)
        table.assign(image_link=[f"https://shop.example/{name}.jpg" for name in table["sample_id"]]).to_csv(
            path, index=False
        )
    (tmp_path / "images").mkdir()
    noise(8, 8).save(tmp_path / "images" / "IMG_1.png")
    return [
        "--train",
        files[0],
        "--test",
        files[1],
        "--images",
        tmp_path / "images",
        "--workspace",
        tmp_path / "runs",
        "--dry-run",
    ]


def test_a_sweep_of_images_ends_before_training(flags: list[object]) -> None:
    output = run(SWEEP, "multimodal", *flags, code=2)
    assert "[images-none-found]" in output and "looks for" in output and "IMG_1.png" in output
    assert "python -m core.images fetch --train" in output


def test_all_goes_on_without_the_architecture_that_reads_images(flags: list[object]) -> None:
    output = run(SWEEP, "all", *flags)
    assert "multimodal is left out of `all`" in output
