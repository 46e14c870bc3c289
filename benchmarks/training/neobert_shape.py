"""NeoBERT-shaped encoder with random weights, and texts of the challenge's length: input of benchmarks on a GPU."""

from __future__ import annotations

import core as core  # before torch and scikit-learn are loaded: it limits spinning

# isort: split
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from peers import Regressor
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from core.atomic_files import write_json, write_text
from core.data.catalog import Catalog
from core.data.reading import read_catalogs
from core.demo.generate import make_demo
from core.encoders import load_encoder
from core.encoders.neobert import NeoBERT, NeoBERTConfig
from core.encoders.tiny import train_tokenizer

_WORDS = 148  # mean of the challenge's texts


def demo_texts(rows: int) -> Catalog:
    """The demo's training rows, each text repeated until the mean has 148 words; lengths keep the demo's spread."""
    with TemporaryDirectory() as folder:
        paths = make_demo(Path(folder) / "demo", max(2_000, rows * 5 // 4 + 1), images=0)
        catalog = read_catalogs(paths.train, paths.test, None).train.take(np.arange(rows))
    words = [text.split() for text in catalog.texts]
    factor = _WORDS / np.mean([len(each) for each in words])
    longer = [" ".join((each * (int(factor) + 1))[: max(1, round(factor * len(each)))]) for each in words]
    return replace(catalog, texts=np.array(longer, dtype=object))


def neobert_folder(folder: Path, texts: list[str]) -> Path:
    """A folder as the hub would give it: the published shape, random weights, a tokenizer learnt from `texts`."""
    config = NeoBERTConfig()
    save_file(NeoBERT(config).state_dict(), folder / "model.safetensors")
    write_json(folder / "config.json", {"model_type": "neobert", **vars(config)})
    write_text(folder / "tokenizer.json", train_tokenizer(texts).to_str())
    return folder


def regressor(folder: Path) -> tuple[Callable[[], Regressor], Any]:
    """(maker of a fresh regressor, tokenizer) for the peers, who pad: their NeoBERT never packs."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")), pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", unk_token="[UNK]",
    )  # fmt: skip

    def make() -> Regressor:
        encoder: Any = load_encoder(str(folder), "text")[0]
        encoder.packed = False
        return Regressor(_Named(encoder), encoder.width)

    return make, tokenizer


class _Named(nn.Module):
    """NeoBERT under the argument names that `transformers` uses."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.encoder(input_ids, attention_mask)
        return states
