"""Shared frozen encoders as ONNX graphs: stored once, loaded once, each row encoded once for all fold models.

encoders/<part>-<hash of what it computes>.onnx
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

import numpy as np
import torch
from cachetools import cached
from numpy.typing import NDArray
from torch import Tensor, nn

from core.architectures.neural_architecture import NeuralModel
from core.atomic_files import digest
from core.cache.entries import RowCache
from core.encoders.presets import Part
from core.inputs.frozen_features import content_of, half
from serving.bundle.onnx_graphs import open_graph, run_graph

Write = Callable[[nn.Module, Mapping[str, Tensor], Path], None]
"""Writes a network that takes these inputs as a graph."""

_REMEMBERED = 64 * 2**20
"""Bytes of answers that each encoder keeps: of 800 images in patches, or of 40,000 texts."""
_READS: dict[Part, tuple[str, ...]] = {"text": ("input_ids", "attention_mask"), "vision": ("pixels",)}
_ANSWERS: dict[Part, str] = {"text": "states", "vision": "features"}
"""Network input in place of what its part reads."""


class _Part(nn.Module):
    """A network's part alone: from what it reads to what the network takes in its place."""

    def __init__(self, network: Any, part: Part) -> None:
        super().__init__()
        self.network, self.part = network, part

    def forward(self, **inputs: Tensor) -> Tensor:
        if self.part == "text":
            found: Tensor = self.network.read(**inputs, states=None)
        else:
            found = self.network.features(**inputs)
        return found


def split_encoders(
    model: NeuralModel, inputs: Mapping[str, Tensor], folder: Path, write: Write
) -> tuple[dict[Part, str], dict[str, Tensor]]:
    """Writes into `folder` the encoders of the model that answer to a row always the same, unless they are there.

    inputs: of a few rows, as the network takes them. Returns the files' names by part, and the inputs as the network takes them
    when these parts have answered.
    """
    files: dict[Part, str] = {}
    rest, config = dict(inputs), cast(Any, model.config)
    for part in sorted(config.read_once()):
        alone, read = _Part(model.network, part), {name: rest.pop(name) for name in _READS[part]}
        read, shape = _one_by_one(read)
        state_setting = str(config.pooling if part == "text" else config.image_tokens)
        files[part] = f"{part}-{digest(content_of(model.network.encoders[part]), state_setting)}.onnx"
        if not (folder / files[part]).exists():
            folder.mkdir(exist_ok=True)
            write(alone, read, folder / files[part])
        with torch.no_grad():
            rest[_ANSWERS[part]] = alone(**read).unflatten(0, shape)
    return files, rest


class SharedEncoder:
    """An encoder's graph. Rows that it answered lately are not computed again, for any fold model."""

    def __init__(self, path: Path, part: Part, providers: Sequence[str]) -> None:
        self._session, self._part = open_graph(path, providers), part
        self._memory = RowCache(_REMEMBERED)

    def answer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network's inputs with this part's answer, rounded to 16 bits as training keeps it, for what the part reads."""
        tensors, shape = _one_by_one({name: inputs[name] for name in _READS[self._part]})
        read = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}

        def compute(places: NDArray[np.intp]) -> NDArray[np.float16]:
            return self._computed({name: array[places] for name, array in read.items()})

        answers = torch.from_numpy(self._memory.rows(self._keys(read), compute)).float().unflatten(0, shape)
        return {name: tensor for name, tensor in inputs.items() if name not in read} | {_ANSWERS[self._part]: answers}

    def _computed(self, read: Mapping[str, NDArray[Any]]) -> NDArray[np.float16]:
        return half(torch.from_numpy(run_graph(self._session, read)))

    def _keys(self, read: Mapping[str, NDArray[Any]]) -> list[str]:
        """Name the rows by what they are, whatever they are padded with."""
        if self._part == "text":
            return [digest(ids[mask].tobytes()) for ids, mask in zip(*read.values(), strict=True)]
        return [digest(row.tobytes()) for row in read["pixels"]]


def _one_by_one(read: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """The inputs of a part with each of a row's several pictures as a row of its own, and the shape of the rows before."""
    if (pixels := read.get("pixels")) is None:
        return dict(read), (len(next(iter(read.values()))),)
    return {"pixels": pixels.flatten(0, -4)}, tuple(pixels.shape[:-3])


@cached(WeakValueDictionary(), key=lambda path, part, providers: (path, part, tuple(providers)))
def shared_encoder(path: Path, part: Part, providers: Sequence[str]) -> SharedEncoder:
    """The encoder in that file, loaded once as long as it is in use: all models of a bundle get the same one."""
    return SharedEncoder(path, part, providers)
