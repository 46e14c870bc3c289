"""Parameter counts of the published shapes, in code and in the docs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from core.backbones import Line, lines
from core.encoders.presets import PRESETS
from core.encoders.shapes import SHAPES, count, outline
from tests.errors import refused
from tests.paths import ROOT


@pytest.fixture(scope="module")
def counted() -> dict[str, Line]:
    return {line.name.removeprefix("  its "): line for line in lines()}


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_figure_is_that_of_its_shape(name: str) -> None:
    network = outline(name)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    assert count(network) / 1e6 == pytest.approx(PRESETS[name].parameters, abs=0.5)


def test_every_preset_has_a_shape() -> None:
    assert SHAPES.keys() == PRESETS.keys()
    with refused("preset-unknown"):
        outline("neobret")


def test_neoberts_layers_by_hand(counted: dict[str, Line]) -> None:
    width, swiglu, layers, vocabulary = 768, 2048, 28, 30_522
    layer = 4 * width * width + 3 * width * swiglu + 2 * width
    assert counted["neobert"].parameters == vocabulary * width + layers * layer + width


def test_the_documented_networks_are_their_parts(counted: dict[str, Line]) -> None:
    text, multimodal = counted["text"], counted["multimodal"]
    assert text.frozen == 0
    assert text.parameters == counted["neobert"].parameters + (768 * 256 + 256) + (256 + 1)
    assert multimodal.frozen == counted["clip"].parameters
    assert counted["projection"].parameters == 512 * 768 + 768
    parts = ("neobert", "clip", "projection", "cross-attention", "head")
    assert multimodal.parameters == sum(counted[part].parameters for part in parts) + 768  # and the missing picture's


def test_the_command_and_the_docs_say_these_numbers(counted: dict[str, Line]) -> None:
    command = subprocess.run(
        [sys.executable, "-m", "core.backbones"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    docs = (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")
    for line in counted.values():
        assert f"{line.parameters:,}" in command.stdout
        assert f"{line.parameters:,}" in docs
