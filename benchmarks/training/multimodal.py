"""Benchmark of multimodal training with a frozen ViT-B/32: cached views against the literal loop, and seconds to fill the cache.

    python benchmarks/training/multimodal.py [--rows 600] [--steps 6]

The tower has CLIP ViT-B/32's shape and random weights, the text encoder is `tiny`; rows and pictures are the demo's.
Peer A, the literal loop: text padded to 512 tokens, fp32, pictures decoded, augmented and read by the tower on every step, batch
32. Ours: `multimodal` with cached_views=4 through the real trainer, same batch, its epochs timed without what comes before.
The cache's peer: decoding every picture, and the tower's bare forward pass on as many views, in the same precision and batches of
the fastest size, on the same cores. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import core as core  # before torch and scikit-learn are loaded: it limits spinning

# isort: split
import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from core.architectures import architecture
from core.cache import Cache
from core.data.catalog import Catalog
from core.data.reading import read_catalogs
from core.demo.generate import make_demo
from core.encoders import tiny
from core.encoders.loading import load_encoder
from core.hardware import detect
from core.inputs.augment import augment
from core.inputs.frozen_features import FrozenEncoder, ImageFeatures, image_features
from core.inputs.images.files import decode, in_threads, list_images
from core.inputs.pixels import load_pixels
from core.inputs.tokens import clean, tokenise
from core.nn import losses
from core.nn.precision import autocast
from core.protocols.architecture import Context, make_config

BATCH, LENGTH, VIEWS = 32, 512, 4
EPOCHS = 9


@dataclass(frozen=True)
class Setting:
    """Demo rows, a tower's folder, the settings of ours, and a folder for caches and checkpoints."""

    catalog: Catalog
    tower: Path
    folder: Path

    @property
    def config(self) -> Any:
        settings = {
            "text_encoder": "tiny",
            "vision_encoder": str(self.tower),
            "batch_size": BATCH,
            "max_length": LENGTH,
            "fields": "none",
        }
        return make_config(
            architecture("multimodal").Config, {**settings, "cached_views": VIEWS, "learning_rate": 1e-4}
        )

    def encoders(self) -> dict[str, Any]:
        tokenizer = tiny.train_tokenizer([clean(text) for text in self.catalog.texts])
        encoder, _ = load_encoder(str(self.tower), "vision")
        return {"text": tiny.text_encoder(tokenizer.get_vocab_size()), "vision": encoder.eval()}


@dataclass(frozen=True)
class Speed:
    """Seconds per row of a training step, and of them those for its picture."""

    row: float
    picture: float


def save_tower(folder: Path) -> Path:
    """CLIP ViT-B/32's vision tower with random weights: 12 layers of width 768, 50 tokens, projected to 512."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=224,
        patch_size=32, projection_dim=512,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def setting(folder: Path, rows: int) -> Setting:
    paths = make_demo(folder / "demo", rows)
    catalog = read_catalogs(paths.train, paths.test, paths.images).train
    return Setting(catalog, save_tower(folder / "tower"), folder)


def literal_loop(given: Setting, steps: int) -> Speed:
    """Peer A's seconds per row over `steps` steps behind one that warms up."""
    encoders, made = given.encoders(), architecture("multimodal")
    network: nn.Module = made.network(encoders, given.config)  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW([weights for weights in network.parameters() if weights.requires_grad], lr=1e-4)
    loss_of = given.config.row_loss()
    tokenizer = tiny.train_tokenizer([clean(text) for text in given.catalog.texts])
    tokens = tokenise(given.catalog.texts.tolist(), tokenizer, 0, None)
    targets = torch.from_numpy(losses.targets(given.catalog.known_prices)).float()
    order, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    seconds: list[tuple[float, float]] = []
    network.train()
    for _ in range(steps + 1):
        rows = order.choice(len(given.catalog), BATCH, replace=False)
        start = time.perf_counter()
        squares, there = decoded(given.catalog.take(rows), encoders["vision"].size)
        pixels = augment(squares, given.config.random_erase, generator, encoders["vision"].mean, encoders["vision"].std)
        with torch.no_grad():
            seen = encoders["vision"](pixels)
        pictures = time.perf_counter()
        ids, mask = (padded(tensor) for tensor in tokens.batch(rows, LENGTH))
        z = network(there, ids, mask, features=seen)
        optimizer.zero_grad()
        loss_of(z, targets[torch.from_numpy(rows)]).mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        seconds.append((time.perf_counter() - start, pictures - start))
    whole, picture = np.array(seconds[1:]).mean(axis=0) / BATCH
    return Speed(whole, picture)


def decoded(catalog: Catalog, size: int) -> tuple[Tensor, Tensor]:
    """(n, size, size, 3) uint8 pictures, black where there is none, and (n,) whether there is one."""
    files = list_images(catalog.images)
    there = [name in files for name in catalog.image_names]
    squares = np.zeros((len(catalog), size, size, 3), dtype=np.uint8)
    for row, name in enumerate(catalog.image_names):
        if there[row]:
            squares[row] = decode(files[name].path, size)
    return torch.from_numpy(squares), torch.tensor(there)


def padded(tensor: Tensor) -> Tensor:
    """(B, L) to (B, 512)."""
    return nn.functional.pad(tensor, (0, LENGTH - tensor.shape[1]))


def cached_training(given: Setting) -> Speed:
    """Ours: seconds per row of an epoch that finds its features in the cache."""
    train_seconds(given, 1)
    whole = (train_seconds(given, 1 + EPOCHS) - train_seconds(given, 1)) / EPOCHS
    features, rows, generator = built(given, Cache(given.folder / "cache")), len(given.catalog), torch.Generator()
    start = time.perf_counter()
    for batch in np.array_split(np.random.default_rng(0).permutation(rows), max(1, rows // BATCH)):
        features.take(batch, generator)
    return Speed(whole / rows, (time.perf_counter() - start) / rows)


def train_seconds(given: Setting, epochs: int) -> float:
    config = given.config.model_copy(update={"epochs": epochs})
    context = Context(0, Cache(given.folder / "cache"), given.folder / "run", threads=detect().cores)
    start = time.perf_counter()
    architecture("multimodal").train(given.catalog, None, config, context)
    return time.perf_counter() - start


def frozen(given: Setting, cache: Cache) -> FrozenEncoder:
    return FrozenEncoder(load_encoder(str(given.tower), "vision")[0].eval(), cache)


def built(given: Setting, cache: Cache) -> ImageFeatures:
    tower: Any = frozen(given, cache)
    pixels = load_pixels(given.catalog, cache, tower.encoder.size)
    return image_features(pixels, tower, given.config.views, pooled=False)


def bare_seconds(given: Setting, passes: int = 96, sizes: Sequence[int] = (16, 32, 64)) -> tuple[float, float, str]:
    """Seconds to decode one picture and to show the tower one view, and in which precision."""
    tower: Any = frozen(given, Cache(given.folder / "unused"))
    files = list(list_images(given.catalog.images).values())
    start = time.perf_counter()
    for _ in in_threads(lambda file: decode(file.path, tower.encoder.size), files):
        pass
    decoding = (time.perf_counter() - start) / len(files)
    views = []
    with torch.inference_mode(), autocast(tower.settled, "cpu"):
        for size in sizes:
            seen = torch.randn(size, 3, tower.encoder.size, tower.encoder.size)
            tower.encoder(seen)
            start = time.perf_counter()
            for _ in range(passes // size):
                tower.encoder(seen)
            views.append((time.perf_counter() - start) / (passes // size * size))
    return decoding, min(views), tower.settled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=600, help="of the demo catalog; four fifths are trained on")
    parser.add_argument("--steps", type=int, default=6, help="of the literal loop")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        given = setting(Path(folder), options.rows)
        decoding, view, precision = bare_seconds(given)
        start = time.perf_counter()
        array = built(given, Cache(given.folder / "fresh")).array
        filling = time.perf_counter() - start
        bare = decoding * (len(array) - 1) + view * array.shape[0] * array.shape[1]
        print(
            f"{len(given.catalog)} rows, {len(array) - 1} pictures, {array.shape[1]} views each, {array.nbytes / 1e6:.0f} MB"
        )
        print(f"filling the cache ({precision})    {filling:8.1f} s   decoding and bare passes {bare:8.1f} s   "
              f"ratio {filling / bare:.2f} (aim: 1.20 at most)")  # fmt: skip
        peer, ours = literal_loop(given, options.steps), cached_training(given)
        print(f"training, rows per second   {1 / ours.row:8.0f}     literal loop             {1 / peer.row:8.1f}     "
              f"ratio {peer.row / ours.row:.1f} (aim: 20)")  # fmt: skip
        print(f"picture part, ms per row    {ours.picture * 1e3:8.3f}     literal loop             {peer.picture * 1e3:8.1f}     "
              f"ratio {peer.picture / ours.picture:.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
