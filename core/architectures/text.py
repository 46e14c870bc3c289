"""`text` architecture: a text encoder, pooling to one state, and a regression head on log price."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.architectures.neural_architecture import NeuralArchitecture, NeuralModel, texts_of
from core.architectures.neural_model import Encoders, Network, NeuralConfig
from core.arrays import RowIndices
from core.data.catalog import Catalog, Strings
from core.fields.field_inputs import FieldInputs, with_learnt
from core.inputs.frozen_features import FrozenEncoder, text_states
from core.inputs.tokens import Tokens, tokenise
from core.nn import losses
from core.nn.heads import Pooling
from core.protocols import architecture
from core.training.batching import Batch, Examples, MicroBatchSize


@dataclass(frozen=True, eq=False)
class TextExamples:
    """Catalog rows as token batches (`core.training.batching.Examples`).

    states: (n, width) of a frozen encoder, None to compute them. fields: for the network's branch, None if it has none.
    """

    ids: Strings
    prices: NDArray[np.float64] | None
    tokens: Tokens
    max_length: int
    states: NDArray[np.float16] | None = None
    fields: FieldInputs | None = None

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        if self.states is not None:
            return np.ones(len(self.ids), dtype=np.int64)
        return self.tokens.lengths(self.max_length)

    def batch(self, rows: RowIndices, generator: torch.Generator | None) -> Batch:
        known = None if self.prices is None else torch.from_numpy(losses.targets(self.prices[rows])).float()
        if self.states is not None:
            inputs = {"states": torch.from_numpy(self.states[rows])}
        else:
            inputs = dict(zip(("input_ids", "attention_mask"), self.tokens.batch(rows, self.max_length), strict=True))
        if self.fields is not None:
            inputs |= {name: torch.from_numpy(getattr(self.fields, name)[rows]) for name in ("numbers", "words")}
        return Batch(inputs, known)


def text_examples(model: NeuralModel, catalog: Catalog) -> TextExamples:
    """The catalog's texts as this model's text encoder reads them; what a frozen one answers comes from the cache."""
    encoder: Any = model.network.encoders["text"]
    config, run = model.config, model.runtime
    tokens = _tokens(model, catalog, encoder.pad)
    max_length = min(config.max_length, encoder.max_positions)
    states = None
    if run.cache is not None and "text" in config.read_once():
        frozen = FrozenEncoder(encoder, run.cache, run.device, run.threads, config.precision, run.check_time)
        tokens_per_pass = MicroBatchSize.by_device(run.device, config.tokens_per_pass).tokens
        states = text_states(tokens, max_length, tokens_per_pass, frozen, config.pooling)
    fields = None if model.fields is None else model.fields.read(with_learnt(catalog, run.cache, model.fields.learnt))
    return TextExamples(catalog.ids, catalog.prices, tokens, max_length, states, fields)


def _tokens(model: NeuralModel, catalog: Catalog, pad: int) -> Tokens:
    config, cache = model.config, model.runtime.cache

    def read() -> Tokens:
        return tokenise(texts_of(catalog, config, cache), model.tokenizer, pad, cache, config.text_prefix)

    return catalog.derived(("tokens", model.tokenizer_key, pad, config.has_line, config.text_prefix), read)


class TextEncodingNetwork(Network):
    """Base class of networks that read texts. width: of the encoder's states and of what the head takes."""

    def __init__(self, encoders: Encoders, config: NeuralConfig, numbers: int = 0) -> None:
        width = int(getattr(encoders["text"], "width"))  # noqa: B009
        super().__init__(encoders, config, width, numbers)
        self.width = width
        self.pooling = Pooling(config.pooling, width)

    def read(self, input_ids: Tensor | None, attention_mask: Tensor | None, states: Tensor | None) -> Tensor:
        """(B, width) pooled states: computed from (B, L) ids and mask, or those that the frozen encoder gave before."""
        if states is not None:
            return states.float()
        pooled: Tensor = self.pooling(self.encoders["text"](input_ids, attention_mask), attention_mask)
        return pooled


class TextNetwork(TextEncodingNetwork):
    """(B, L) ids and mask, or (B, width) states of a frozen encoder, and the rows' fields, to the head's outputs."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        states: Tensor | None = None,
        numbers: Tensor | None = None,
        words: Tensor | None = None,
    ) -> Tensor:
        return self.predict_head(self.read(input_ids, attention_mask, states), numbers, words)


class TextArchitecture(NeuralArchitecture):
    """Architecture that reads the text alone."""

    name: ClassVar[str] = "text"
    summary: ClassVar[str] = "a text encoder, fine-tuned, with a regression head"
    Config: ClassVar[type[architecture.Config]] = NeuralConfig

    def network(self, encoders: Encoders, config: NeuralConfig, numbers: int = 0) -> TextNetwork:
        return TextNetwork(encoders, config, numbers)

    def examples(self, model: NeuralModel, catalog: Catalog) -> Examples:
        return text_examples(model, catalog)
