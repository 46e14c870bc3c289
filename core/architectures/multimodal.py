"""`multimodal` architecture: the text state attends to the image patches by cross-attention; the same head as `text`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from core.architectures.neural_architecture import PATCHES, NeuralArchitecture, NeuralModel, Runtime
from core.architectures.neural_model import Encoders, NeuralConfig
from core.architectures.text import TextEncodingNetwork, TextExamples, text_examples
from core.arrays import RowIndices
from core.cache import Cache
from core.console import progress
from core.data.catalog import MOST_IMAGES, Catalog, Strings
from core.encoders.loading import load_encoder
from core.encoders.presets import AUTO, TINY_VISION, Part
from core.encoders.tiny import TinyVision
from core.inputs.augment import Triple, augment, mixup, normalise
from core.inputs.frozen_features import AugmentedViews, FrozenEncoder, ImageFeatures, image_features
from core.inputs.images.files import Padding
from core.inputs.pixels import Pixels, load_pixels, prepare_pixels
from core.nn.heads import HEADS, AttentionDirection, CrossAttention, heads_for
from core.protocols import architecture
from core.training.batching import Batch, Examples


class MultimodalConfig(NeuralConfig):
    """Settings of `multimodal`; its grid is the documented one."""

    added_later: ClassVar[Mapping[str, Any]] = {
        **NeuralConfig.added_later,
        "padding": "white",
        "attention_heads": HEADS,
        "attention_depth": 1,
        "attention_direction": AttentionDirection.TEXT_ASKS_PICTURE,
        "images_per_product": 1,
    }

    vision_encoder: str = Field(AUTO, description="short name, hub name or folder of the vision encoder")
    freeze_vision: bool | None = Field(None, description="keep its weights; null: unless it is tiny-vision")
    image_tokens: Literal["patches", "pooled"] = Field("patches", description="all that the text asks, or their mean")
    images_per_product: int = Field(
        1,
        ge=1,
        le=MOST_IMAGES,
        description="first pictures that are read of those that image_link lists (JSON, or parted by |)",
    )
    attention_heads: int = Field(
        HEADS,
        ge=1,
        le=64,
        description=f"of the cross-attention; must divide the text encoder's width ({HEADS}: or fewer)",
    )
    attention_depth: int = Field(1, ge=1, le=3, description="blocks of cross-attention, one after the other")
    attention_direction: AttentionDirection = Field(
        AttentionDirection.TEXT_ASKS_PICTURE, description="who asks whom in the cross-attention"
    )
    padding: Padding = Field("white", description="colour of the bars that make an image square")
    augment: bool = Field(True, description="crop, flip, turn, recolour and erase images in training")
    cached_views: int = Field(4, ge=0, le=64, description="augmented views per image that a frozen encoder reads once")
    """0, and always with use_mixup: it reads images augmented anew on every step."""
    random_erase: float = Field(0.2, ge=0, le=1, description="probability of an erased rectangle")
    use_mixup: bool = Field(False, description="mix pixels and prices of two rows in training")
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
        keep = self._keeps_by_default if self.freeze_vision is None else self.freeze_vision
        return super().frozen() | ({"vision"} if keep else set())

    def read_once(self) -> set[Part]:
        # A picture asks all states of a text; the cache keeps the pooled one alone.
        return super().read_once() - ({"text"} if self._picture_asks else set())

    @property
    def _picture_asks(self) -> bool:
        return self.attention_direction == AttentionDirection.BOTH

    @property
    def _keeps_by_default(self) -> bool:
        return self.vision_encoder != TINY_VISION  # random weights that never learn would be of no use

    @property
    def live_pixels(self) -> bool:
        """True if training needs pixels: the vision encoder learns, or sees on every step what it never saw before."""
        return "vision" not in self.frozen() or self.use_mixup or (self.augment and not self.cached_views)

    @property
    def views(self) -> AugmentedViews:
        """The augmented views that training reads from the cache."""
        fixed = self.augment and not self.live_pixels
        return AugmentedViews(self.cached_views, self.random_erase) if fixed else AugmentedViews()

    def frozen_passes(self, part: Part) -> int:
        if part == "text":
            return super().frozen_passes(part)
        return self.epochs if self.live_pixels else 1 + self.views.count

    def per_row(self, part: Part) -> int:
        return self.images_per_product if part == "vision" else super().per_row(part)

    def memory_key(self) -> str:
        several = f", {self.images_per_product} pictures" if self.images_per_product > 1 else ""
        return super().memory_key() + several

    def without_effect(self) -> dict[str, str]:
        unused, frozen = super().without_effect(), "vision" in self.frozen()
        if frozen == self._keeps_by_default:
            unused["freeze_vision"] = f"where it is what {self.vision_encoder} has by default"
        if self.use_mixup:
            unused["cached_views"] = "with use_mixup"
        else:
            unused["mixup_alpha"] = "without use_mixup"
        if not self.augment:
            unused |= dict.fromkeys(("cached_views", "random_erase"), "without augment")
        if self.image_tokens == "pooled" and self.images_per_product == 1 and not self._picture_asks:
            unused["attention_heads"] = "with image_tokens=pooled"  # all heads take the only token whole
        if not frozen:
            unused["cached_views"] = "without freeze_vision"
        return unused


@dataclass(frozen=True, eq=False)
class MultimodalExamples:
    """Catalog rows as token and image batches (`core.training.batching.Examples`).

    features: of a frozen vision encoder, None to have it read pixels. Rows to be predicted never need pixels where there
    are features.
    """

    text: TextExamples
    pixels: Pixels
    features: ImageFeatures | None
    mean: Triple
    std: Triple
    config: MultimodalConfig

    @property
    def ids(self) -> Strings:
        return self.text.ids

    @property
    def prices(self) -> NDArray[np.float64] | None:
        return self.text.prices

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of the texts, and image patches: those of further pictures, or all where the texts' states are known."""
        pictures = self.config.images_per_product
        if self.text.states is None:
            return self.text.lengths + (pictures - 1) * PATCHES
        return np.full(len(self.ids), pictures * PATCHES, dtype=np.int64)

    def batch(self, rows: RowIndices, generator: torch.Generator | None) -> Batch:
        text = self.text.batch(rows, generator)
        has_picture = torch.from_numpy(self.pixels.index[rows] >= 0)
        if self.features is not None and (generator is None or not self.config.live_pixels):
            picture, targets = {"features": self.features.take(rows, generator)}, text.targets
        else:
            pixels, targets = self._pixels(rows, text.targets, generator)
            picture = {"pixels": pixels}
        return Batch({**text.inputs, **picture, "has_picture": has_picture}, targets)

    def _pixels(
        self, rows: RowIndices, targets: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        """(B, 3, S, S) or (B, K, 3, S, S) images and (B,) targets, with training's random changes where a generator asks."""
        taken = torch.from_numpy(self.pixels.take(rows))
        raw = taken.flatten(0, -4)
        if generator is not None and self.config.augment:
            pixels = augment(raw, self.config.random_erase, generator, self.mean, self.std)
        else:
            pixels = normalise(raw, self.mean, self.std)
        pixels = pixels.unflatten(0, taken.shape[:-3])
        if generator is None:
            return pixels, targets
        if self.config.use_mixup and targets is not None:
            return mixup(pixels, targets, self.config.mixup_alpha, generator)
        return pixels, targets


class MultimodalNetwork(TextEncodingNetwork):
    """Text (`TextEncodingNetwork.read`), image and fields to the head's outputs.

    has_picture (B,), and either pixels (B, 3, S, S) or features (B, T, seen) that the frozen vision encoder gave before.
    Of up to K pictures per row (B, K), (B, K, 3, S, S) and (B, K, T, seen): all their patches together are asked.
    With `attention_direction` `both`, the head takes the mean of the text's state and of the picture's.
    """

    def __init__(self, encoders: Encoders, config: MultimodalConfig, numbers: int = 0) -> None:
        super().__init__(encoders, config, numbers)
        seen = int(getattr(encoders["vision"], "width"))  # noqa: B009
        self.pooled = config.image_tokens == "pooled"
        self.projection = nn.Linear(seen, self.width)
        self.no_picture = nn.Parameter(torch.zeros(self.width))
        heads, direction = heads_for(self.width, config.attention_heads), config.attention_direction
        gated = direction == AttentionDirection.GATED
        self.attention = CrossAttention(self.width, heads, gated=gated)
        further = range(1, config.attention_depth)
        self.further = nn.ModuleList(CrossAttention(self.width, heads, gated=gated) for _ in further)
        asked = range(config.attention_depth if direction == AttentionDirection.BOTH else 0)
        self.picture_asks = nn.ModuleList(CrossAttention(self.width, heads) for _ in asked)

    def forward(
        self, has_picture: Tensor, pixels: Tensor | None = None, features: Tensor | None = None, **text: Tensor
    ) -> Tensor:
        """text: the inputs of `TextNetwork.forward`."""
        states, mask = None, text.get("attention_mask")
        if len(self.picture_asks):
            states = self.encoders["text"](text["input_ids"], mask)
            state = self.pooling(states, mask)
        else:
            state = self.read(text.get("input_ids"), mask, text.get("states"))
        tokens = self.projection(self.features(pixels) if features is None else features.float())
        seen = None
        if has_picture.dim() == 2:
            tokens, seen = joined(tokens, has_picture)
            has_picture = has_picture[:, 0]
        tokens = tokens + (~has_picture)[:, None, None].to(tokens.dtype) * self.no_picture
        for block in (self.attention, *self.further):
            state = block(state, tokens, seen)
        if states is not None:
            picture = tokens.mean(dim=1) if seen is None else masked_mean(tokens, seen)
            for block in self.picture_asks:
                picture = block(picture, states, mask)
            state = (state + picture) / 2
        return self.predict_head(state, text.get("numbers"), text.get("words"))

    def features(self, pixels: Tensor | None) -> Tensor:
        """(B, T, width) of (B, 3, S, S) pixels, or (B, K, T, width) of (B, K, 3, S, S): what the text asks."""
        assert pixels is not None, "there are pixels where there are no features"
        several = pixels.dim() == 5
        tokens: Tensor = self.encoders["vision"](pixels.flatten(0, 1) if several else pixels)
        tokens = tokens.mean(dim=1, keepdim=True) if self.pooled else tokens
        return tokens.unflatten(0, pixels.shape[:2]) if several else tokens


def joined(tokens: Tensor, has_picture: Tensor) -> tuple[Tensor, Tensor]:
    """(B, K * T, width) tokens of a row's K pictures, (B, K, T, width), and the mask (B, K * T) of those that are there.

    has_picture (B, K): a row's pictures come first. A row without any has its first, black square, as it has alone.
    """
    there = torch.cat([torch.ones_like(has_picture[:, :1]), has_picture[:, 1:]], dim=1)
    return tokens.flatten(1, 2), there[:, :, None].expand(tokens.shape[:3]).flatten(1)


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """(B, width) means of the tokens (B, T, width) where the mask (B, T) is true."""
    weights = mask[:, :, None].to(tokens.dtype)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)


class MultimodalArchitecture(NeuralArchitecture):
    """Architecture that reads the text and the image."""

    name: ClassVar[str] = "multimodal"
    summary: ClassVar[str] = "text and vision encoders joined by cross-attention, with a regression head"
    Config: ClassVar[type[architecture.Config]] = MultimodalConfig
    reads_images: ClassVar[bool] = True
    encoder_settings: ClassVar[tuple[str, ...]] = ("text_encoder", "vision_encoder")

    def prepare(self, catalogs: Mapping[str, Catalog], config: Any, cache: Cache, *, drop_bad: bool) -> tuple[str, ...]:
        name = config.vision_encoder
        size = TinyVision.size if name == TINY_VISION else int(getattr(load_encoder(name, "vision")[0], "size"))  # noqa: B009
        with progress("decoding images") as advance:
            bad = prepare_pixels(
                catalogs, cache, size, padding=config.padding, most=config.images_per_product, drop_bad=drop_bad,
                progress=advance,
            )  # fmt: skip
        return (f"{bad} images could not be decoded and count as missing",) if bad else ()

    def network(self, encoders: Encoders, config: MultimodalConfig, numbers: int = 0) -> MultimodalNetwork:
        return MultimodalNetwork(encoders, config, numbers)

    def examples(self, model: NeuralModel, catalog: Catalog) -> Examples:
        vision: Any = model.network.encoders["vision"]
        config: Any = model.config
        run = model.runtime
        pixels = _pixels(catalog, run, vision.size, config)
        features = None
        if run.cache is not None and "vision" in config.read_once():
            frozen = FrozenEncoder(vision, run.cache, run.device, run.threads, config.precision, run.check_time)
            features = image_features(pixels, frozen, config.views, pooled=config.image_tokens == "pooled")
        return MultimodalExamples(text_examples(model, catalog), pixels, features, vision.mean, vision.std, config)


def _pixels(catalog: Catalog, run: Runtime, size: int, config: MultimodalConfig) -> Pixels:
    padding, most = config.padding, config.images_per_product
    load = partial(load_pixels, catalog, size=size, padding=padding, most=most, threads=run.threads)
    if run.cache is not None:
        return load(cache=run.cache)

    def decoded() -> Pixels:
        with TemporaryDirectory() as folder:
            pixels = load(cache=Cache(Path(folder)))
            return replace(pixels, array=np.array(pixels.array))

    return catalog.derived(("pixels", size, padding, most), decoded)
