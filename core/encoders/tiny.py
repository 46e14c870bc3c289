"""Tiny encoders with random weights and a tokenizer trained on the training rows; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn

from core.encoders.neobert import NeoBERT, NeoBERTConfig
from core.inputs.augment import Triple

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
VOCABULARY = 4_000
POSITIONS = 1_024
TEXT_IDENTITY = "neobert-64x1x4-bpe4000-v1"
VISION_IDENTITY = "conv-24-48-64-mix4-v1"


def train_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Byte-pair encoding of lower-cased words and digit groups, learnt from these (cleaned) texts alone."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, min_frequency=2, special_tokens=[PAD, UNKNOWN, START, END], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 2), (END, 3)]
    )
    return tokenizer


def text_encoder(vocabulary: int) -> NeoBERT:
    """A NeoBERT of width 64 with one layer."""
    return NeoBERT(
        NeoBERTConfig(
            hidden_size=64,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=96,
            vocab_size=vocabulary,
            max_length=POSITIONS,
        )
    )


class TinyVision(nn.Module):
    """(B, 3, 64, 64) normalised pixels to (B, 4, 64) states: three convolutions to 4 x 4 patches, then four mixtures."""

    size = 64
    width = 64
    tokens = 4
    mean: Triple = (0.5, 0.5, 0.5)
    std: Triple = (0.5, 0.5, 0.5)
    spec: ClassVar[dict[str, Any]] = {"kind": "tiny-vision"}

    def __init__(self) -> None:
        super().__init__()
        # The first layer cuts the picture into 4 x 4 squares: convolving at full resolution would take most of the time.
        blocks: list[nn.Module] = []
        for given, made, kernel, stride in ((3, 24, 4, 4), (24, 48, 3, 2), (48, self.width, 3, 2)):
            blocks += [nn.Conv2d(given, made, kernel, stride, padding=kernel % 2), nn.GroupNorm(4, made), nn.ReLU()]
        self.stem = nn.Sequential(*blocks)
        grid = (self.size // 16) ** 2
        # Every token sees the whole picture: a mark in one patch of 16 would first be heard at a sixteenth of its strength.
        self.mix = nn.Linear(grid * self.width, self.tokens * self.width)
        # States as large as the text's, or cross-attention would begin by hearing the text alone.
        self.norm = nn.LayerNorm(self.width)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.norm(self.mix(self.stem(pixels).flatten(1)).unflatten(1, (self.tokens, self.width)))
