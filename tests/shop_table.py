"""A shop's export of 15 columns, generated: prices follow brand, category and weight; one column leaks, others say nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = "id=sku,text=title+description,image=photo,price=final_price"


def shop_rows(rows: int, seed: int = 0) -> pd.DataFrame:
    """The columns of a shop, with a few unknown cells."""
    draw = np.random.default_rng(seed)
    brand = draw.choice(["acme", "nova", "kiki", "zen"], rows)
    category = draw.choice(["Home / Lamps", "Home / Chairs", "Garden / Tools"], rows)
    weight = draw.integers(100, 5_000, rows)
    factor = pd.Series(brand).map({"acme": 1.0, "nova": 2.5, "kiki": 0.6, "zen": 4.0}).to_numpy()
    price = np.round(factor * weight**0.7 * draw.lognormal(0, 0.1, rows) / 5, 2)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(draw.integers(0, 1_500, rows), "D")
    words = ["red", "blue", "oak", "steel", "small", "large", "round", "soft"]
    return pd.DataFrame(
        {
            "Unnamed: 0": np.arange(rows),
            "sku": [f"S{seed}{row:05d}" for row in range(rows)],
            "title": [f"{' '.join(draw.choice(words, 2))} item {row % 40}" for row in range(rows)],
            "description": [f"A {' and '.join(draw.choice(words, 3))} thing\nfor every home" for _ in range(rows)],
            "brand": brand,
            "category": category,
            "weight_g": [str(each) if row % 9 else "" for row, each in enumerate(weight)],
            "in_stock": draw.choice(["yes", "no"], rows),
            "released": days.strftime("%Y-%m-%d"),
            "tags": [", ".join(draw.choice(words, 3, replace=False)) for _ in range(rows)],
            "photo": [f"https://shop.example/{seed}-{row}.jpg" for row in range(rows)],
            "rating": np.round(draw.uniform(1, 5, rows), 1),
            "retail_price": np.round(price * 1.2, 2),
            "currency": "EUR",
            "final_price": price,
        }
    )


def write_shop(folder: Path, train: int = 120, test: int = 40) -> tuple[Path, Path]:
    """Training and test file; the test file has prices too, and no column `rating`."""
    paths = folder / "shop.csv", folder / "new.csv"
    shop_rows(train).to_csv(paths[0], index=False)
    shop_rows(test, seed=1).drop(columns="rating").to_csv(paths[1], index=False)
    return paths
