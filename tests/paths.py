"""Paths that tests share: the checkout, and the data beside it that tests skip without."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
