"""Small catalogs whose prices follow from their text, for the two light architectures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from core.cache import Cache
from core.data.catalog import Catalog
from core.encoders.tiny import train_tokenizer
from core.protocols.architecture import Context

STRANGE = ["", " ", "🍫🍫", "\x00", "Item Name:", "1" * 5000, "zzz unseen zzz", "Item Name: 9999999 oz (Pack of 9999)"]


def catalog_of(texts: list[str], prices: np.ndarray | None, groups: np.ndarray | None = None) -> Catalog:
    ids = np.array([f"p{place}" for place in range(len(texts))], dtype=object)
    return Catalog(ids, np.array(texts, dtype=object), np.full(len(texts), "", dtype=object), prices, groups)


def products(count: int, seed: int = 0) -> Catalog:
    """Brand and size decide the price up to a tenth; each product stands twice, under two kinds, as one group."""
    rng = np.random.default_rng(seed)
    brands, kinds = ["ACME", "BOREAL", "CITRA", "DELTA", "EVERA"], ["Snacks", "Pantry"]
    texts, prices = [], []
    for _ in range(count // 2):
        brand, size = int(rng.integers(len(brands))), int(rng.integers(1, 40))
        price = 2.0 * (brand + 1) * size**0.8 * np.exp(rng.normal(0, 0.1))
        for kind in kinds:
            texts.append(
                f"Item Name: {brands[brand]} Roasted nuts, {size} oz\nBullet Point 1: {kind}\nValue: {size}\nUnit: oz"
            )
            prices.append(price)
    return catalog_of(texts, np.array(prices), np.repeat(np.arange(count // 2), 2))


def houses(count: int, seed: int = 0) -> Catalog:
    """Prices follow the area, the district and the number of extras, each in a line of its own; the heading says nothing."""
    rng = np.random.default_rng(seed)
    districts = ["Hafen", "Altstadt", "Westend", "Moor"]
    texts, prices = [], []
    for _ in range(count):
        area, district = int(rng.integers(1_000, 20_000)), int(rng.integers(len(districts)))
        extras = rng.choice(["Garage", "Sauna", "Garten", "Keller"], int(rng.integers(1, 4)), replace=False)
        texts.append(
            f"Haus {rng.integers(10**6)}\nLage: {districts[district]}\nAusstattung: {', '.join(extras)}\n"
            f"Wohnfläche: {f'{area:,}'.replace(',', '.')} m²\nBaujahr: {rng.integers(1900, 2020)}"
        )
        prices.append(0.3 * area**0.9 * 1.5**district * 1.2 ** len(extras) * np.exp(rng.normal(0, 0.05)))
    return catalog_of(texts, np.array(prices))


def strangers() -> Catalog:
    """Texts that no training row prepares for."""
    return catalog_of(STRANGE, None)


def small_encoder(folder: Path) -> Path:
    """A BERT of one layer with random weights, and a tokenizer that knows the toys' words."""
    from transformers import BertConfig, BertModel

    tokenizer = train_tokenizer(list(products(40).texts))
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), **shape)).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def context(folder: Path, **settings: object) -> Context:
    return Context(seed=3, cache=Cache(folder / "cache"), folder=folder / "run", **settings)  # type: ignore[arg-type]
