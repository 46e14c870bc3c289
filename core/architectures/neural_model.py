"""What the networks of `text` and `multimodal` have in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.architectures.neural_config import NeuralConfig
from core.encoders.presets import Part
from core.nn import losses
from core.nn.heads import FieldBranch, PriceHead
from core.nn.layers import add_adapters, depths, merge_adapters, still_modules
from core.nn.losses import PriceNetwork

Encoders = dict[Part, nn.Module]


class Network(PriceNetwork):
    """Encoders, a branch for the fields, and a head. Frozen encoders and layers take no gradient and no dropout.

    width: of what the head takes, without the branch. numbers: that the branch reads of a row.
    """

    def __init__(self, encoders: Encoders, config: NeuralConfig, width: int, numbers: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({str(part): encoder for part, encoder in encoders.items()})
        self.config = config
        self.still: list[nn.Module] = [self.encoders[part] for part in config.frozen()]
        for encoder in self.still:
            encoder.requires_grad_(False)
        self.branch = None
        if config.has_branch:
            self.branch = FieldBranch(numbers, config.categories, config.category_dropout, config.dropout)
            width += FieldBranch.WIDTH
        self.head = PriceHead(
            width, config.regressor_width, config.regressor_depth, config.dropout, config.head, config.bins
        )

    def prepare_encoder(self) -> None:
        """Before training: which of the text encoder's weights learn, and whether adapters learn in their place."""
        if self.config.freeze_text:
            return
        encoder, frozen = self.encoders["text"], self.config.frozen_layers
        if self.config.lora_rank:
            add_adapters(encoder, self.config.lora_rank, frozen)
        if frozen:
            self.still += still_modules(encoder, frozen)

    def finish_encoder(self) -> None:
        """After training: the encoder as it was built, with what has been learnt."""
        if self.config.lora_rank and not self.config.freeze_text:
            merge_adapters(self.encoders["text"])

    def say(self, state: Tensor, numbers: Tensor | None, words: Tensor | None) -> Tensor:
        """The head's outputs for (B, width) states beside the rows' fields."""
        if self.branch is not None:
            state = torch.cat([state, self.branch(numbers, words).to(state.dtype)], dim=1)
        return self.head(state)

    def loss(self, outputs: Tensor, target: Tensor, of_point: losses.Loss) -> Tensor:
        return self.head.loss(outputs, target, of_point)

    def point(self, outputs: Tensor) -> Tensor:
        return self.head.point(outputs)

    def rates(self) -> dict[str, float]:
        names = [name for name, _ in self.named_parameters()]
        rates = {name: self.config.head_rate for name in names if not name.startswith("encoders.")}
        if self.config.layer_decay < 1 and not self.config.freeze_text:
            depth = depths(self.encoders["text"])
            top = max(depth.values())
            rates |= {f"encoders.text.{name}": self.config.layer_decay ** (top - at) for name, at in depth.items()}
        return rates

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        for module in self.still:
            module.eval()
        return self
