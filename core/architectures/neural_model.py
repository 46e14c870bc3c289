"""Configs and network parts shared by `text` and `multimodal`: encoder, fields, head, loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.encoders.presets import AUTO, Part
from core.fields.learnt_fields import LABELLED
from core.nn import losses
from core.nn.heads import FieldBranch, HeadName, PoolingName, PriceHead
from core.nn.layers import add_adapters, depths, merge_adapters, still_modules
from core.nn.losses import PriceNetwork
from core.training.trainer_config import TrainerConfig

FieldsName = Literal["none", "dense", "tokens", "both"]


class NeuralConfig(TrainerConfig):
    """Settings that `text` and `multimodal` have in common."""

    added_later: ClassVar[Mapping[str, Any]] = {LABELLED: False, "text_prefix": ""}

    text_encoder: str = Field(AUTO, description="short name, hub name or folder of the text encoder")
    freeze_text: bool = Field(False, description="keep the text encoder's weights as they are: cheap, read once")
    frozen_layers: int = Field(0, ge=0, description="keep the embeddings and so many lowest layers as they are")
    layer_decay: float = Field(1.0, gt=0, le=1, description="each layer learns at so much of the rate of the one above")
    lora_rank: int = Field(0, ge=0, le=1024, description="rank of changes to the encoder's matrices; 0: all of them")
    head_rate: float = Field(1.0, gt=0, le=1e4, description="times the learning rate for all that is not encoder")
    max_length: int = Field(625, ge=8, le=100_000, description="tokens read of each text, if the encoder reads so many")
    text_prefix: str = Field(
        "", max_length=1_000, description="put before each text, as embedding models ask: `query: `"
    )
    pooling: PoolingName = Field("mean", description="how the text encoder's states become one")
    dropout: float = Field(0.4, ge=0, lt=1, description="in the regression head")
    regressor_width: int = Field(256, ge=1, le=65_536, description="neurons per hidden layer of the head")
    regressor_depth: int = Field(1, ge=1, le=16, description="hidden layers of the head")
    head: HeadName = Field("both", description="prediction of a price: one number, bins of log price, or both")
    bins: int = Field(64, ge=8, le=1024, description="of log price")
    fields: FieldsName = Field("dense", description="fields beside the text: a branch of the network, tokens before it")
    labelled_fields: bool = Field(
        False, description="the branch also reads the numbers of labelled lines of any name (`Baujahr: 2004`)"
    )
    categories: int = Field(16, ge=0, le=256, description="numbers per embedded word field (brand, kind) of the branch")
    category_dropout: float = Field(0.1, ge=0, lt=1, description="share of these words that training hides")

    def encoders(self) -> dict[Part, str]:
        """The encoder's name for each part of the architecture."""
        return {"text": self.text_encoder}

    def frozen(self) -> set[Part]:
        """The parts whose encoders keep their weights."""
        return {"text"} if self.freeze_text else set()

    def read_once(self) -> set[Part]:
        """The parts whose encoders answer to a row the same whenever they are asked without augmentation."""
        return self.frozen() - ({"text"} if self.pooling == "attention" else set())

    def frozen_passes(self, part: Part) -> int:
        """Number of times a frozen encoder reads each row in a training: once where its states are cached."""
        return 1 if part in self.read_once() else self.epochs

    def per_row(self, part: Part) -> int:
        """The most inputs that an encoder reads of one row."""
        return 1

    @property
    def has_branch(self) -> bool:
        return self.fields in ("dense", "both")

    @property
    def has_line(self) -> bool:
        return self.fields in ("tokens", "both")

    def without_effect(self) -> dict[str, str]:
        unused = super().without_effect()
        if self.freeze_text:
            unused |= dict.fromkeys(("frozen_layers", "layer_decay", "lora_rank"), "with freeze_text")
        if self.head == "point":
            unused["bins"] = "with head=point"
        if self.head == "bins":
            unused |= dict.fromkeys(("loss", *losses.loss_parameters()), "with head=bins")
        if not self.categories:
            unused["category_dropout"] = "without categories"
        if not self.has_branch:
            unread = ("categories", "category_dropout", LABELLED)
            unused |= dict.fromkeys(unread, f"with fields={self.fields}")
        return unused

    def memory_key(self) -> str:
        parts = [f"{name}{' (frozen)' if part in self.frozen() else ''}" for part, name in self.encoders().items()]
        how = f", {self.frozen_layers} layers frozen" if self.frozen_layers else ""
        how += f", LoRA {self.lora_rank}" if self.lora_rank else ""
        return f"{' + '.join(parts)}{how}, {self.max_length} tokens"


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

    def predict_head(self, state: Tensor, numbers: Tensor | None, words: Tensor | None) -> Tensor:
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
