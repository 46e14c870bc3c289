"""`pricestack.sweep`: keyword arguments become the command's own config."""

from __future__ import annotations

from pathlib import Path

import pytest

import pricestack
from experiments.sweep_config import SweepConfig
from tests.errors import refused


def test_keyword_arguments_are_the_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[SweepConfig] = []
    monkeypatch.setattr("experiments.run.sweep", lambda config: not seen.append(config))
    assert pricestack.sweep(["lexical"], workspace=tmp_path, trials=2, dry_run=True)
    assert seen == [SweepConfig.of(architectures=("lexical",), workspace=tmp_path, trials=2, dry_run=True)]


def test_an_unknown_option_is_refused_before_anything_runs() -> None:
    with refused("unknown-option") as caught:
        pricestack.sweep(trails=2)
    assert "did you mean 'trials'" in caught.value.hint
