"""The contact sheet of augmented pictures, through the command that draws it."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.inputs.images import preview
from core.inputs.images.preview import PreviewSettings, contact_sheet, demo_samples, folder_samples
from tests.errors import refused
from tests.paths import ROOT

Typed = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        Image.new("RGB", (40 + number, 30), (80 * number, 120, 40)).save(images / f"{number}.jpg")
    (images / "notes.txt").write_text("no picture")
    return images


def test_the_command_draws_the_demos_images_and_prints_the_path(tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"
    line = [sys.executable, "-m", "core.images", "--preview", "--pictures", "2", "--views", "3"]
    line += ["--size", "160", "--out", str(out)]
    assert subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout == f"{out}\n"
    with Image.open(out) as sheet:
        assert sheet.format == "PNG" and sheet.width > 5 * 160 and sheet.height > 2 * 160


def test_the_command_draws_a_folder_and_passes_over_what_is_no_image(
    typed: Typed, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sheet.png"
    printed = typed("core.images", "--preview", "--images", folder, "--size", 32, "--views", 1, "--out", out)
    assert "notes.txt is passed over: not a picture" in printed
    assert out.is_file()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--seed", "1"], "preview-not-asked"),
        (["--preview", "--out", "sheet.jpg"], "preview-not-png"),
        (["--preview", "--images", "absent"], "images-unreadable"),
    ],
)
def test_the_command_reports_what_is_missing(typed: Typed, words: list[str], code: str) -> None:
    assert f"[{code}]" in typed("core.images", *words, code=2)


def test_the_same_seed_draws_the_same_sheet_and_another_one_another() -> None:
    samples = demo_samples(3, 32, seed=0)
    first, again, other = (
        np.asarray(contact_sheet(samples, PreviewSettings(views=2, random_erase=0.5, mixup_alpha=0.3, seed=seed)))
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_captions_tell_the_mixture_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(preview, "_drawn", lambda columns, prices: shown.extend(columns[-1][2]))
    samples = demo_samples(12, 16, seed=2)
    contact_sheet(samples, PreviewSettings(views=0, random_erase=0.0, mixup_alpha=2.0, seed=4))
    mixed = 0
    for own, caption in zip(samples, shown, strict=True):
        found = re.fullmatch(r"lambda ([\d.]+) with (\d+)\nmixed price ([\d,.]+)", caption)
        if found is None:
            assert caption == f"with itself\nmixed price {own.price:,.2f}"
            continue
        share, partner, price = float(found[1]), samples[int(found[2]) - 1], float(found[3].replace(",", ""))
        logs = share * math.log1p(own.price) + (1 - share) * math.log1p(partner.price)
        assert math.log1p(price) == pytest.approx(logs, abs=0.005 * abs(math.log(own.price / partner.price)) + 0.01)
        mixed += 1
    assert mixed >= 8


def test_a_folders_pictures_are_drawn_with_the_seed(folder: Path) -> None:
    first, again = (folder_samples(folder, 2, 16, seed=5) for _ in range(2))
    assert [sample.name for sample in first] == [sample.name for sample in again]
    (folder / "empty").mkdir()
    with refused("preview-no-image"):
        folder_samples(folder / "empty", 2, 16, seed=0)
