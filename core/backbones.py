"""`python -m core.backbones`: counts the parameters of the encoder presets and of the documented networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import typer
from rich.table import Table
from torch import nn

from core.architectures.multimodal import MultimodalConfig, MultimodalNetwork
from core.architectures.neural_model import NeuralConfig
from core.architectures.text import TextNetwork
from core.console import console, run
from core.encoders.presets import PRESETS
from core.encoders.shapes import count, outline
from core.protocols.architecture import make_config

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_STATED = {"neobert": "110 M in the challenge document"}
_DOCUMENTED = {"text_encoder": "neobert", "fields": "none", "head": "point"}


@dataclass(frozen=True)
class Line:
    """Parameters of one network. frozen: of those, how many training keeps. stated: what is written of them elsewhere."""

    name: str
    what: str
    parameters: int
    frozen: int
    stated: str = ""


def lines() -> Iterator[Line]:
    """The presets, then the two architectures as documented: NeoBERT, frozen CLIP ViT-B/32, and their heads."""
    for name, preset in PRESETS.items():
        stated = _STATED.get(name, f"{preset.parameters:g} M in its preset")
        yield Line(name, f"{preset.part} encoder, {preset.hub}", count(outline(name)), 0, stated)
    with torch.device("meta"):
        text = TextNetwork({"text": outline("neobert")}, make_config(NeuralConfig, _DOCUMENTED))
        config = make_config(MultimodalConfig, {**_DOCUMENTED, "vision_encoder": "clip"})
        multimodal = MultimodalNetwork({"text": outline("neobert"), "vision": outline("clip")}, config)
    networks: tuple[tuple[str, str, nn.Module], ...] = (
        ("text", "NeoBERT, head", text),
        ("multimodal", "NeoBERT, CLIP, projection, cross-attention, head", multimodal),
        ("  its projection", "", multimodal.projection),
        ("  its cross-attention", "", multimodal.attention),
        ("  its head", "", multimodal.head),
    )
    for name, what, network in networks:
        yield Line(name, what, count(network), count(network, trainable=False))


@app.command()
def main() -> None:
    """Counts the parameters of the presets and of the documented networks, without their weights.

    \b
    Examples:
      python -m core.backbones
    """
    table = Table(box=None, pad_edge=False)
    for name in ("network", "parameters", "trained", "frozen", "what", "stated"):
        table.add_column(name, justify="right" if name in ("parameters", "trained", "frozen") else "left")
    for line in lines():
        numbers = (line.parameters, line.parameters - line.frozen, line.frozen)
        table.add_row(line.name, *(f"{number:,}" for number in numbers), line.what, line.stated)
    console.print(table)


if __name__ == "__main__":
    run(app)
