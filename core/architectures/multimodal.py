"""`multimodal`: the text's state asks the picture's patches by cross-attention; the same head as `text`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from core.architectures import base
from core.architectures.neural import Encoders, Network, NeuralArchitecture, NeuralConfig, NeuralModel
from core.architectures.text import TextExamples, text_examples
from core.augment import Triple, augment, mixup, normalise
from core.backbones.loading import load_encoder
from core.backbones.presets import AUTO, TINY_VISION, Part
from core.backbones.tiny import TinyVision
from core.cache import Cache
from core.catalog import Catalog, Strings
from core.console import progress
from core.heads import CrossAttention, Pooling, heads_for
from core.pixels import Pixels, load_pixels, prepare_pixels
from core.tokens import Rows
from core.trainer import Batch, Examples


class MultimodalConfig(NeuralConfig):
    """Settings of `multimodal`; defaults are the documented ones."""

    vision_encoder: str = Field(AUTO, description="short name, hub name or folder of the vision encoder")
    freeze_vision: bool | None = Field(
        None, description="keep the vision encoder's weights; null: unless it is tiny-vision"
    )
    image_tokens: Literal["patches", "pooled"] = Field(
        "patches", description="what the text asks: all patches or their mean"
    )
    augment: bool = Field(True, description="crop, flip, turn, recolour and erase pictures in training")
    random_erase: float = Field(0.2, ge=0, le=1, description="probability of an erased rectangle")
    use_mixup: bool = Field(False, description="mix pictures and prices of two rows in training")
    mixup_alpha: float = Field(0.3, gt=0, le=10, description="lambda ~ Beta(alpha, alpha)")
    learning_rate: float = Field(1e-5, gt=0, le=1, description="highest, after warm-up")
    epochs: int = Field(12, ge=1, le=10_000, description="passes over the rows on which the schedule is laid out")
    max_length: int = Field(512, ge=8, le=100_000, description="tokens read of each text, if the encoder reads so many")
    weight_decay: float = Field(0.05, ge=0, le=1, description="AdamW's; norms and biases have none")
    regressor_width: int = Field(512, ge=1, le=65_536, description="neurons per hidden layer of the head")
    regressor_depth: int = Field(2, ge=1, le=16, description="hidden layers of the head")

    def encoders(self) -> dict[Part, str]:
        return {"text": self.text_encoder, "vision": self.vision_encoder}

    def frozen(self) -> set[Part]:
        # Random weights that never learn would be of no use.
        keep = self.vision_encoder != TINY_VISION if self.freeze_vision is None else self.freeze_vision
        return super().frozen() | ({"vision"} if keep else set())

    def without_effect(self) -> set[str]:
        unused = super().without_effect()
        if not self.use_mixup:
            unused |= {"mixup_alpha"}
        return unused if self.augment else unused | {"random_erase"}


@dataclass(frozen=True, eq=False)
class MultimodalExamples:
    """Catalog rows as token and picture batches (`core.trainer.Examples`)."""

    text: TextExamples
    pixels: Pixels
    mean: Triple
    std: Triple
    config: MultimodalConfig

    @property
    def ids(self) -> Strings:
        return self.text.ids

    @property
    def prices(self) -> NDArray[np.float64] | None:
        return self.text.prices

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.text.lengths

    def batch(self, rows: Rows, generator: torch.Generator | None) -> Batch:
        text = self.text.batch(rows, generator)
        targets = text.targets
        raw = torch.from_numpy(self.pixels.take(rows))
        if generator is not None and self.config.augment:
            pixels = augment(raw, self.config.random_erase, generator, self.mean, self.std)
        else:
            pixels = normalise(raw, self.mean, self.std)
        if generator is not None and self.config.use_mixup and targets is not None:
            pixels, targets = mixup(pixels, targets, self.config.mixup_alpha, generator)
        has_picture = torch.from_numpy(self.pixels.index[rows] >= 0)
        return Batch({**text.inputs, "pixels": pixels, "has_picture": has_picture}, targets)


class MultimodalNetwork(Network):
    """(B, L) ids and mask, (B, 3, S, S) pixels and (B,) has_picture to z (B,)."""

    def __init__(self, encoders: Encoders, config: MultimodalConfig) -> None:
        width, seen = (int(getattr(encoders[part], "width")) for part in ("text", "vision"))  # noqa: B009
        super().__init__(encoders, config, width)
        self.pooled = config.image_tokens == "pooled"
        self.pooling = Pooling(config.pooling, width)
        self.projection = nn.Linear(seen, width)
        self.no_picture = nn.Parameter(torch.zeros(width))
        self.attention = CrossAttention(width, heads_for(width))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixels: Tensor, has_picture: Tensor) -> Tensor:
        query = self.pooling(self.encoders["text"](input_ids, attention_mask), attention_mask)
        tokens = self.encoders["vision"](pixels)
        if self.pooled:
            tokens = tokens.mean(dim=1, keepdim=True)
        tokens = self.projection(tokens)
        tokens = tokens + (~has_picture)[:, None, None].to(tokens.dtype) * self.no_picture
        return self.head(self.attention(query, tokens))


class MultimodalArchitecture(NeuralArchitecture):
    """Reads the text and the picture."""

    name: ClassVar[str] = "multimodal"
    summary: ClassVar[str] = "text and vision encoders joined by cross-attention, with a regression head"
    Config: ClassVar[type[base.Config]] = MultimodalConfig

    def prepare(self, catalogs: Mapping[str, Catalog], config: Any, cache: Cache, *, drop_bad: bool) -> tuple[str, ...]:
        name = config.vision_encoder
        size = TinyVision.size if name == TINY_VISION else int(getattr(load_encoder(name, "vision")[0], "size"))  # noqa: B009
        with progress("decoding pictures") as advance:
            bad = prepare_pixels(catalogs, cache, size, drop_bad=drop_bad, progress=advance)
        return (f"{bad} pictures could not be decoded and count as missing",) if bad else ()

    def network(self, encoders: Encoders, config: MultimodalConfig) -> MultimodalNetwork:
        return MultimodalNetwork(encoders, config)

    def examples(self, model: NeuralModel, catalog: Catalog) -> Examples:
        vision: Any = model.network.encoders["vision"]
        config: Any = model.config
        pixels = _pixels(catalog, model.cache, vision.size, model.threads)
        return MultimodalExamples(text_examples(model, catalog), pixels, vision.mean, vision.std, config)


def _pixels(catalog: Catalog, cache: Cache | None, size: int, threads: int | None) -> Pixels:
    if cache is not None:
        return load_pixels(catalog, cache, size, threads=threads)
    with TemporaryDirectory() as folder:
        pixels = load_pixels(catalog, Cache(Path(folder)), size, threads=threads)
        return replace(pixels, array=np.array(pixels.array))
