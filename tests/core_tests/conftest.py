"""Fixtures that several tests of core share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core_tests.image_toys import noise


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        noise(60 + number, 40, number).save(folder / f"{number}.jpg")
    noise(30, 50, 9).save(folder / "tall.png")
    return folder
