"""Benchmark of GPU memory without a GPU: tokens of one pass that fit for the documented networks, by tensors without values.

    PYTHONPATH=. python benchmarks/training/gpu_memory.py [--length 512]

Two steps of two passes on the tests' fake GPU (needs g++): bytes of all tensors that are alive at once in the second step, whose
passes begin beside weights, moments and gradients. The peak is linear in the tokens of a pass; 1 GiB of each GPU is left to
CUDA's own memory and to gaps between tensors. Rows have no padding; a batch has 64 of them.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import weakref
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from tests.core_tests import fake_gpu

GPUS = (8, 16, 24, 40, 80, 141)
BATCH, LEFT = 64, 1.0
PASSES = (2, 8)
"""Rows of a pass at which the peak is counted."""


def counter() -> Any:
    """Mode whose `most` counts the bytes of the GPU's tensors at once. In a process where the fake GPU is loaded."""
    from torch._subclasses.fake_tensor import FakeTensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Held(TorchDispatchMode):
        """Bytes of the GPU's tensors that are alive, and most of them at once."""

        def __init__(self) -> None:
            super().__init__()
            self.now = self.most = 0
            self.seen = weakref.WeakSet[Any]()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(made):
                if isinstance(tensor, FakeTensor) and tensor.device.type == "cuda":
                    self.count(tensor.untyped_storage())
            return made

        def count(self, storage: Any) -> None:
            if storage not in self.seen:
                self.seen.add(storage)
                weakref.finalize(storage, self.free, storage.nbytes())
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)

        def free(self, size: int) -> None:
            self.now -= size

    return Held()


def peak(name: str, precision: str, length: int, rows: int, shape: Mapping[str, int] = MappingProxyType({})) -> float:
    """GiB of a step in passes of `rows` rows of so many tokens. In a process where the fake GPU is loaded.

    shape: what is other than in the published NeoBERT.
    """
    import numpy as np

    from core.architectures import architecture
    from core.architectures.neural_architecture import NeuralModel
    from core.data.catalog import Catalog
    from core.encoders.tiny import train_tokenizer
    from core.protocols.architecture import make_config
    from core.training.optimizer import Optimiser
    from tests.core_tests import fake_cuda

    made: Any = architecture(name)
    settings = {
        "text_encoder": "neobert",
        "precision": precision,
        "max_length": length,
        "fields": "none",
        "categories": 0,
    }
    pictures = {"vision_encoder": "clip", "freeze_vision": True, "cached_views": 0} if name == "multimodal" else {}
    config: Any = make_config(made.Config, settings | pictures)
    text = np.array([" ".join(f"word{n}" for n in range(length))] * BATCH, dtype=object)
    none = np.array([""] * BATCH, dtype=object)
    catalog = Catalog(np.arange(BATCH).astype(str).astype(object), text, none, prices=np.ones(BATCH))
    tokenizer = train_tokenizer(text.tolist())
    held = counter()
    with fake_cuda.fake_cuda(full=True), held:
        network = fake_cuda._network(name, config, 0, shape)
        examples = fake_cuda._RealRows(made.examples(NeuralModel(made, network, tokenizer, config), catalog))
        network.to(fake_cuda.CUDA)
        optimiser = Optimiser(network, config, fake_cuda.CUDA, precision)  # type: ignore[arg-type]
        for _ in range(2):
            held.most = held.now
            batches = (examples.batch(np.arange(start, start + rows), None) for start in range(0, 2 * rows, rows))
            optimiser.step(batches, BATCH, 1e-5)
    return held.most / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=512)
    length = parser.parse_args().length
    print(f"| network | GiB without passes | MiB per 1,000 tokens | {' | '.join(f'{size} GiB' for size in GPUS)} |")
    with TemporaryDirectory() as folder:
        library = fake_gpu.build(Path(folder))
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, spawn, initializer=fake_gpu.load, initargs=(library,)) as pool:
            for name in ("text", "multimodal"):
                for precision in ("bf16", "fp16"):
                    low, high = (pool.submit(peak, name, precision, length, rows).result() for rows in PASSES)
                    each = (high - low) / (PASSES[1] - PASSES[0])
                    fixed = low - PASSES[0] * each
                    fit = [math.floor((size - LEFT - fixed) / each) for size in GPUS]
                    shown = [f"{rows * length:,}" if rows < BATCH else "the whole batch" for rows in fit]
                    print(
                        f"| {name}, {precision} | {fixed:.1f} | {1024 * 1000 * each / length:.0f} | {' | '.join(shown)} |"
                    )


if __name__ == "__main__":
    main()
