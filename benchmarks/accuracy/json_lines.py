"""JSON Lines files of benchmark results in `data/`: read and append, so that finished measurements are not repeated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The file's objects; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_line(path: Path, record: Mapping[str, Any]) -> None:
    """Writes one object more."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record, default=float) + "\n")
