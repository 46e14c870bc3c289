"""Benchmark of fine-tuning and inference speed of a text encoder: Pricestack, the literal loop and `transformers.Trainer`.

    python benchmarks/training/training.py ../shared/data/whisky --text-encoder FOLDER   # a BERT-like encoder on this processor
    python benchmarks/training/training.py --device cuda   # NeoBERT's shape, random weights

Rates are rows per second; the limit is the matrix product's, measured in the same run; useful work counts no padding.
"""

from __future__ import annotations

import core as core  # before torch and scikit-learn are loaded: it limits spinning

# isort: split
import argparse
import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from neobert_shape import demo_texts, neobert_folder, regressor
from peers import from_folder, literal_loop, synchronise, trainer

from core.architectures import architecture
from core.cache import Cache
from core.data.catalog import Catalog
from core.data.reading import read_catalogs
from core.nn import losses
from core.protocols.architecture import Context, make_config

LENGTH, BATCH = 512, 32


def peak(kind: torch.dtype, device: str) -> float:
    """FLOP/s of the best of three square matrix products."""
    best = 0.0
    for n in (1024, 2048, 4096) if device == "cpu" else (4096, 8192):
        a, b = (torch.randn(n, n, device=device).to(kind) for _ in range(2))
        for _ in range(6):
            synchronise(device)
            start = time.perf_counter()
            a @ b
            synchronise(device)
            best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best


def ours(catalog: Catalog, encoder: str, device: str, precision: str) -> tuple[float, float, float]:
    """(rows per second of training, of prediction, FLOPs of a row's training without padding)."""
    kind = architecture("text")
    settings = {"text_encoder": encoder, "epochs": 1, "batch_size": BATCH, "max_length": LENGTH, "loss": "huber",
                "dropout": 0.1, "precision": precision}  # fmt: skip
    with TemporaryDirectory() as folder:
        context = Context(0, Cache(Path(folder) / "cache"), Path(folder) / "run", device, torch.get_num_threads())
        config = make_config(kind.Config, settings)
        kind.train(catalog.take(np.arange(BATCH)), None, config, context)  # reads the weights once, tokenises
        start = time.perf_counter()
        model: Any = kind.train(catalog, None, config, context)
        synchronise(device)
        trained = time.perf_counter()
        model.predict(catalog)
        end = time.perf_counter()
        lengths = kind.examples(model, catalog).lengths  # type: ignore[attr-defined]
        return len(catalog) / (trained - start), len(catalog) / (end - trained), _work(model.network, lengths)


def _work(network: Any, lengths: np.ndarray) -> float:
    """Multiplications and additions of one row's forward and backward pass: 3 x (2 per weight and token, 4 L^2 H per layer)."""
    encoder = network.encoders["text"]
    matrices = [
        w for name, w in encoder.named_parameters() if w.ndim == 2 and "embed" not in name and name != "encoder.weight"
    ]
    layers = sum(name.endswith(("query.weight", "qkv.weight")) for name, _ in encoder.named_parameters())
    weights = sum(matrix.numel() for matrix in matrices if "pooler" not in str(matrix))
    return 3 * float((2 * weights * lengths + 4 * layers * encoder.width * lengths.astype(float) ** 2).mean())


def rounds(
    catalog: Catalog, encoder: str, device: str, peers: tuple[Any, Any], count: int, steps: int
) -> dict[str, list[float]]:
    """Rates by name, one per round; the contestants take turns, so that a slow minute hits them all."""
    texts, z = catalog.texts.tolist(), losses.targets(catalog.known_prices)
    make, tokenizer = peers
    found: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for _ in range(count):
        for precision in ("bf16", "fp32") if device == "cpu" else ("bf16",):
            few = catalog if precision == "bf16" else catalog.take(np.arange(len(catalog) // 3))
            trained, predicted, work = ours(few, encoder, device, precision)
            add(f"ours {precision} train", trained)
            add(f"ours {precision} predict", predicted)
            add(f"ours {precision} work", work)
        trained, predicted = trainer(make, tokenizer, texts, z, device=device, length=LENGTH, bf16=True)
        add("B train", trained)
        add("B predict", predicted)
        add("A train", literal_loop(make, tokenizer, texts, z, device=device, steps=steps, length=LENGTH))
    return found


def show(found: dict[str, list[float]], limits: dict[str, float]) -> None:
    rate = {name: float(np.median(values)) for name, values in found.items()}
    rows = [("Pricestack, bf16", "ours bf16"), ("Pricestack, fp32", "ours fp32"), ("B: transformers.Trainer, bf16", "B"),
            ("A: the literal loop", "A")]  # fmt: skip
    print(
        f"\n{'':32}{'train rows/s':>13}{'x A':>8}{'x B':>8}{'predict rows/s':>16}{'x B':>8}{'useful GFLOP/s':>16}{'of peak':>9}"
    )
    for title, name in rows:
        if f"{name} train" not in rate:
            continue
        speed, predicted = rate[f"{name} train"], rate.get(f"{name} predict", math.nan)
        precision = "fp32" if name in ("ours fp32", "A") and "fp32" in limits else "bf16"
        useful = speed * rate["ours bf16 work"]
        print(
            f"{title:32}{speed:13.2f}{speed / rate['A train']:8.1f}{speed / rate['B train']:8.2f}{predicted:16.1f}"
            f"{predicted / rate['B predict']:8.2f}{useful / 1e9:16.0f}{useful / limits[precision]:9.1%}"
        )
    print("\nlimit:", ", ".join(f"{name} matrix product {value / 1e9:,.0f} GFLOP/s" for name, value in limits.items()))
    print(
        "rounds:", {name: [round(value, 2) for value in values] for name, values in found.items() if "work" not in name}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "catalog", type=Path, nargs="?", help="folder with train.csv and test.csv; on a GPU the demo's texts"
    )
    parser.add_argument("--text-encoder", type=Path, help="folder of a BERT-like encoder; on a GPU NeoBERT's shape")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2, help="steps of the literal loop per round")
    arguments = parser.parse_args()
    device = arguments.device
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16} if device == "cpu" else {"bf16": torch.bfloat16}
    limits = {name: peak(kind, device) for name, kind in kinds.items()}
    with TemporaryDirectory() as folder:
        if arguments.catalog is None:
            catalog = demo_texts(arguments.rows)
            encoder = neobert_folder(Path(folder), catalog.texts.tolist())
            peers = regressor(encoder)
        else:
            catalog = read_catalogs(arguments.catalog / "train.csv", arguments.catalog / "test.csv", None).train
            catalog, encoder = catalog.take(np.arange(min(arguments.rows, len(catalog)))), arguments.text_encoder
            peers = from_folder(encoder)
        found = rounds(catalog, str(encoder), device, peers, arguments.rounds, arguments.steps)
    limits = {name: max(limit, peak(kinds[name], device)) for name, limit in limits.items()}
    show(found, limits)


if __name__ == "__main__":
    main()
