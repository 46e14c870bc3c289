"""Catalogs whose prices leak, each beside the clean one that it was made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from core.data.catalog import Catalog, Strings
from core.data.folds import Folds, make_folds

KINDS = {"tea": 4.0, "coffee": 9.0, "saffron": 40.0, "olive oil": 14.0, "vinegar": 6.0, "pepper": 11.0}
BRANDS = {"Acme": 0.8, "Bonita": 1.0, "Corvus": 1.6, "Delta": 1.2, "Evera": 2.0}
NOTES = [
    "fruity", "smoky", "light", "dark", "sweet", "bitter", "round", "sharp", "creamy", "dry", "fresh", "old", "young",
    "fine", "coarse", "whole", "ground", "roasted", "raw", "organic", "mild", "strong", "hot", "cool", "green", "red",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Made:
    """prices: (t,) of the test rows, for measuring alone."""

    train: Catalog
    test: Catalog
    prices: np.ndarray

    def folds(self) -> Folds:
        return make_folds(self.train, self.test, k=3, seed=0)[0]

    def retexted(self, train: list[str], test: list[str]) -> Made:
        return replace(
            self, train=replace(self.train, texts=strings(train)), test=replace(self.test, texts=strings(test))
        )


def strings(values: list[str]) -> Strings:
    return np.array(values, dtype=object)


def clean(count: int = 360, test: int = 120, seed: int = 0, copies: int = 1) -> Made:
    """Products whose prices follow brand, kind and size, and a part that no text tells (40%); each stands in `copies` training
    rows, in other words each time."""
    rng = np.random.default_rng(seed)
    texts, prices = [], []
    for row in range(count // copies + test):
        kind, brand, size = rng.choice(list(KINDS)), rng.choice(list(BRANDS)), int(rng.integers(1, 30))
        price = KINDS[kind] * BRANDS[brand] * size**0.7 * np.exp(rng.normal(0, 0.4))
        for _ in range(copies if row < count // copies else 1):
            words = " ".join(rng.permutation(NOTES)[:8])
            texts.append(f"Item Name: {brand} {kind}, {size} oz\nBullet Point 1: {words}\nValue: {size}\nUnit: oz")
            prices.append(round(float(price), 2))
    order = rng.permutation(count)
    links = strings([""] * count)
    train = Catalog(
        strings([f"p{row}" for row in rng.permutation(9 * count)[:count]]),
        strings([texts[row] for row in order]), links, np.array(prices)[order],
    )  # fmt: skip
    other = Catalog(strings([f"q{row}" for row in range(test)]), strings(texts[count:]), strings([""] * test))
    return Made(train, other, np.array(prices[count:]))
