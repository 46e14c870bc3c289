"""Frozen features: outputs of frozen encoders, computed once and kept as memory-mapped fp16 arrays.

features/<key>/features.npy   (m + 1, views + 1, T, width): m images, and last the black square of a missing one; view 0 is
                              the image as it is, the others are augmented
states/<key>/states.npy       (n, width): one pooled state per text; rows.npy names the texts
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from cachetools import cached
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor, nn

from core.arrays import RowIndices
from core.atomic_files import digest
from core.cache import Cache
from core.console import progress
from core.hardware import usable_cores
from core.inputs import augment
from core.inputs.pixels import Pixels
from core.inputs.tokens import Tokens, micro_batches
from core.nn.heads import Pooling, PoolingName
from core.nn.precision import In, Out, PrecisionName, Settled, autocast, choose, has_fast_bf16, side_by_side

_VERSION = "1"
"""Raised when the same encoder and the same input give other features."""

_FEATURES, _STATES, _NAMES = "features.npy", "states.npy", "rows.npy"
_AUGMENTATION = repr(
    (
        augment.CROP_SCALE, augment.CROP_RATIO, augment.ROTATION_DEGREES, augment.BRIGHTNESS, augment.CONTRAST,
        augment.SATURATION, augment.HUE, augment.ERASE_SCALE, augment.ERASE_RATIO,
    )
)  # fmt: skip
_LARGEST = float(np.finfo(np.float16).max)
_ELSEWHERE = {"_name_or_path", "transformers_version"}  # of a spec: where it came from, not what it computes


def no_deadline(doing: str) -> None:
    """Check of the time that never raises, for computing without a deadline."""


@dataclass(frozen=True)
class FrozenEncoder:
    """An encoder whose weights no longer change, and where it computes. threads: processor threads, None for all cores.

    check_time: called between batches, raises where the time for computing is over.
    """

    encoder: nn.Module
    cache: Cache
    device: str = "cpu"
    threads: int | None = None
    precision: PrecisionName = "auto"
    check_time: Callable[[str], None] = no_deadline
    _turn: Lock = field(default_factory=Lock)

    @cached_property
    def settled(self) -> Settled:
        size = sum(weights.numel() for weights in self.encoder.parameters())
        return choose(self.precision, self.device, size, fast_bf16=has_fast_bf16(self.device))[0]

    @property
    def key(self) -> str:
        """Names what the encoder computes: shape, weights (a tiny one's come from the seed, not from a name), precision."""
        return digest(content_of(self.encoder), self.settled)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The encoder's answer in float32."""
        # On an accelerator, passes side by side would gain nothing and add up their memory.
        turn = nullcontext() if self.device == "cpu" else self._turn
        with turn, torch.inference_mode(), autocast(self.settled, self.device):
            answer: Tensor = self.encoder(*(tensor.to(self.device) for tensor in inputs))
            return answer.float()

    def each(self, work: Callable[[In], Out], items: Sequence[In], use: Callable[[In, Out], object], what: str) -> None:
        """`use(item, work(item))` for every item, in order, with a progress bar; few results wait at any time."""
        self.encoder.to(self.device).eval()
        with progress(what) as advance:
            results = side_by_side(work, items, self.threads or usable_cores())
            for done, (item, result) in enumerate(results, 1):
                self.check_time(f"reading {what}")
                use(item, result)
                advance(done, len(items))


@dataclass(frozen=True)
class AugmentedViews:
    """Augmented views cached beside the clean image: their `count`, and `erase`, the probability of an erased rectangle."""

    count: int = 0
    erase: float = 0.0


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Outputs of a frozen vision encoder for the images of n catalog rows.

    index: (n,) or (n, K) int64 row of `array`, as of the pixels; -1 (the last row, a black square) where there is no image.
    array: (m + 1, views + 1, T, width) float16, read-only.
    """

    index: NDArray[np.int64]
    array: NDArray[np.float16]

    def take(self, rows: RowIndices, generator: torch.Generator | None) -> Tensor:
        """(B, T, width) or (B, K, T, width) float16 of these catalog rows: of the clean images, or with a generator of a
        random augmented view of each."""
        views, index = self.array.shape[1] - 1, self.index[rows]
        if generator is None or not views:
            return torch.from_numpy(self.array[index, 0])
        chosen = torch.randint(1, views + 1, index.shape, generator=generator, device=generator.device)
        return torch.from_numpy(self.array[index, chosen.cpu().numpy()])


def image_features(pixels: Pixels, frozen: FrozenEncoder, views: AugmentedViews, *, pooled: bool) -> ImageFeatures:
    """Features of all images of the pixels' array, from the cache or computed into it; pooled: their mean, T = 1.

    Augmented views depend on the image and the view's number alone, so every trial and every seed reads the same ones.
    Memory does not grow with the number of images.
    """
    encoder: Any = frozen.encoder
    shown = f"{views.count} {views.erase} {_AUGMENTATION}" if views.count else ""
    key = digest(_VERSION, pixels.key, frozen.key, repr((encoder.mean, encoder.std)), shown, str(pooled))
    make = partial(_write, pixels=pixels, frozen=frozen, views=views, pooled=pooled)
    array = frozen.cache.get("features", key, make, lambda folder: np.load(folder / _FEATURES, mmap_mode="r"))
    return ImageFeatures(pixels.index, array)


def text_states(
    tokens: Tokens, max_length: int, tokens_per_pass: int, frozen: FrozenEncoder, pooling: PoolingName
) -> NDArray[np.float16]:
    """(n, width) pooled states of the texts, cut to `max_length`, from the cache or computed into it.

    pooling: any but `attention`, which learns and cannot be computed before.
    """
    kind = digest(_VERSION, frozen.key, str(max_length), pooling, str(tokens.suffix))
    names = _row_names(tokens)
    pool = Pooling(pooling, 0)

    def answers(rows: RowIndices) -> NDArray[np.float16]:
        ids, mask = tokens.batch(rows, max_length)
        return half(pool(frozen(ids, mask), mask.to(frozen.device)))

    def write(folder: Path) -> None:
        states, unread = _cached_states(frozen, kind, names)
        batches = list(micro_batches(np.flatnonzero(unread), tokens.lengths(max_length), tokens_per_pass))
        frozen.each(answers, batches, states.__setitem__, "texts through the encoder")
        np.save(folder / _NAMES, names)
        np.save(folder / _STATES, states)

    key = f"{kind}-{digest(names.tobytes())}"
    return frozen.cache.get("states", key, write, lambda folder: np.load(folder / _STATES, mmap_mode="r"))


def _cached_states(
    frozen: FrozenEncoder, kind: str, names: NDArray[np.bytes_]
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """States (n, width) that entries of this `kind` hold, as the folds of one catalog share texts; (n,) True where none does."""
    encoder: Any = frozen.encoder
    states = np.zeros((len(names), encoder.width), dtype=np.float16)
    unread = np.ones(len(names), dtype=bool)
    for path in frozen.cache.paths("states"):
        if path.name.startswith(kind):
            unread &= ~_copy_states(path, names, unread, states)
    return states, unread


def _copy_states(
    path: Path, names: NDArray[np.bytes_], wanted: NDArray[np.bool_], states: NDArray[np.float16]
) -> NDArray[np.bool_]:
    """(n,) which of the `wanted` rows that entry holds; their states are copied."""
    try:
        there, held = np.load(path / _NAMES), np.load(path / _STATES, mmap_mode="r")
    except FileNotFoundError:  # another process needed the room
        return np.zeros(len(names), dtype=bool)
    order = np.argsort(there)
    place = order[np.minimum(np.searchsorted(there, names, sorter=order), len(there) - 1)] if len(there) else order
    found = wanted & (there[place] == names) if len(there) else np.zeros(len(names), dtype=bool)
    states[found] = held[place[found]]
    return found


def _row_names(tokens: Tokens) -> NDArray[np.bytes_]:
    """(n,) hashes of the rows' tokens."""
    rows = [tokens.ids[start:end].tobytes() for start, end in pairwise(tokens.offsets.tolist())]
    return np.array([digest(row).encode() for row in rows], dtype="S32")


def _write(folder: Path, pixels: Pixels, frozen: FrozenEncoder, views: AugmentedViews, pooled: bool) -> None:
    everything = np.arange(len(pixels.array) + 1)
    views_per_pass = 16 if frozen.device == "cpu" else 128  # a processor's cache should hold the activations
    size = max(1, views_per_pass // (views.count + 1))
    answers = partial(_answers, pixels=pixels, frozen=frozen, views=views, pooled=pooled)
    # Streamed to the disk: a full one is then an error with a name, where a memory map would kill the process.
    with (folder / _FEATURES).open("wb") as file:

        def append(rows: RowIndices, part: NDArray[np.float16]) -> None:
            if rows[0] == 0:
                shape = (len(everything), *part.shape[1:])
                npy.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
            file.write(part.data)

        frozen.each(answers, np.split(everything, everything[size::size]), append, "pictures through the encoder")


def _answers(
    rows: RowIndices, pixels: Pixels, frozen: FrozenEncoder, views: AugmentedViews, pooled: bool
) -> NDArray[np.float16]:
    """(B, views + 1, T, width) of these rows of the pixels' array."""
    tokens = frozen(torch.cat([_shown(_square(pixels, row), views, frozen.encoder) for row in rows]))
    tokens = tokens.mean(dim=1, keepdim=True) if pooled else tokens
    return half(tokens).reshape(len(rows), views.count + 1, *tokens.shape[1:])


def _square(pixels: Pixels, row: int) -> NDArray[np.uint8]:
    """(S, S, 3) copy of an image; behind the last one, the black square."""
    if row < len(pixels.array):
        return np.array(pixels.array[row])
    return np.zeros(pixels.array.shape[1:], dtype=np.uint8)


def _shown(square: NDArray[np.uint8], views: AugmentedViews, encoder: Any) -> Tensor:
    """(views + 1, 3, S, S) float32: the image as it is, then its augmented views."""
    raw = torch.from_numpy(square)[None]
    seen = [augment.normalise(raw, encoder.mean, encoder.std)]
    content = digest(square.tobytes()) if views.count else ""
    for view in range(1, views.count + 1):
        generator = torch.Generator().manual_seed(int(digest(content, str(view))[:15], 16))
        seen.append(augment.augment(raw, views.erase, generator, encoder.mean, encoder.std))
    return torch.cat(seen)


def half(states: Tensor) -> NDArray[np.float16]:
    """As float16, in whose range every number is kept: an outlier must not become infinite."""
    return states.clamp(-_LARGEST, _LARGEST).half().cpu().numpy()


@cached(WeakKeyDictionary(), key=lambda encoder: encoder)  # hashing reads every weight
def content_of(encoder: Any) -> str:
    """Hash of the shape and the weights of an encoder whose weights no longer change."""
    config = {name: value for name, value in encoder.spec.get("config", {}).items() if name not in _ELSEWHERE}
    shape = json.dumps({**encoder.spec, "config": config}, sort_keys=True, default=str)
    state = encoder.state_dict()
    return digest(shape, *(part for name in sorted(state) for part in (name, _bytes_digest(state[name]))))


def _bytes_digest(tensor: Tensor) -> str:
    return digest(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
