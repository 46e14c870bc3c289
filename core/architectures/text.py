"""`text`: an encoder of the catalog text, pooled to one state, and a regression head."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core import losses
from core.architectures import base
from core.architectures.neural import Encoders, Network, NeuralArchitecture, NeuralConfig, NeuralModel
from core.catalog import Catalog, Strings
from core.heads import Pooling
from core.tokens import Rows, Tokens, tokenise
from core.trainer import Batch, Examples


@dataclass(frozen=True, eq=False)
class TextExamples:
    """Catalog rows as token batches (`core.trainer.Examples`)."""

    ids: Strings
    prices: NDArray[np.float64] | None
    tokens: Tokens
    max_length: int

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        return self.tokens.lengths(self.max_length)

    def batch(self, rows: Rows, generator: torch.Generator | None) -> Batch:
        ids, mask = self.tokens.batch(rows, self.max_length)
        known = None if self.prices is None else torch.from_numpy(losses.targets(self.prices[rows])).float()
        return Batch({"input_ids": ids, "attention_mask": mask}, known)


def text_examples(model: NeuralModel, catalog: Catalog) -> TextExamples:
    """The catalog's texts as this model's text encoder reads them."""
    encoder: Any = model.network.encoders["text"]
    tokens = tokenise(catalog.texts.tolist(), model.tokenizer, encoder.pad, model.cache)
    return TextExamples(catalog.ids, catalog.prices, tokens, min(model.config.max_length, encoder.max_positions))


class TextNetwork(Network):
    """(B, L) ids and mask to z (B,)."""

    def __init__(self, encoders: Encoders, config: NeuralConfig) -> None:
        width: Any = encoders["text"].width
        super().__init__(encoders, config, width)
        self.pooling = Pooling(config.pooling, width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.encoders["text"](input_ids, attention_mask)
        return self.head(self.pooling(states, attention_mask))


class TextArchitecture(NeuralArchitecture):
    """Reads the text alone."""

    name: ClassVar[str] = "text"
    summary: ClassVar[str] = "a text encoder, fine-tuned, with a regression head"
    Config: ClassVar[type[base.Config]] = NeuralConfig

    def network(self, encoders: Encoders, config: NeuralConfig) -> TextNetwork:
        return TextNetwork(encoders, config)

    def examples(self, model: NeuralModel, catalog: Catalog) -> Examples:
        return text_examples(model, catalog)
