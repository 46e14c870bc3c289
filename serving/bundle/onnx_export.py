"""ONNX export of networks: dynamic rows and tokens, fp32, fp16 and int8.

The graph is the network from token ids, numbers and pixels to the head's outputs; encoders that were frozen are graphs of their
own, which fold models share (`serving.bundle.shared_encoders`). Around them everything is as in training: texts and pictures
are read, and prices made of outputs, by the architecture's own code in 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from core.architectures.neural_architecture import NeuralArchitecture, NeuralModel
from core.atomic_files import read_json, write_json
from core.data.catalog import Catalog
from core.protocols.architecture import Architecture
from core.training.batching import Examples
from core.training.inference import settled
from serving.bundle.export_formats import ExportedModel, ExportFormat
from serving.bundle.onnx_graphs import CPU, TENSORRT, check_tensorrt, halve, open_graph, quantise, write_graph
from serving.bundle.shared_encoders import SharedEncoder, shared_encoder, split_encoders

GRAPH, RECORD = "model.onnx", "model.json"
_EXAMPLE_ROWS, _EXAMPLE_TEXTS = (
    3,
    ("Item Name: ACME Jam, 9 oz (Pack of 6)\nUnit: Ounce", "Item Name: nut", "a b c d e f"),
)
_EDGES, _SHARED = "edges", "shared"


class OnnxNetwork(nn.Module):
    """Stands where the network does. skeleton: the network without weights, which tells how rows are read. shared: encoders
    that answer before the graph is asked."""

    def __init__(self, path: Path, skeleton: Any, providers: Sequence[str], shared: Sequence[SharedEncoder]) -> None:
        super().__init__()
        self.session = open_graph(path, providers)
        self.names = [given.name for given in self.session.get_inputs()]
        self._shared = shared
        self._skeleton = (skeleton,)  # in a tuple, or its empty weights would be moved about with this module's

    @property
    def encoders(self) -> Any:
        return self._skeleton[0].encoders

    @property
    def head(self) -> Any:
        return self._skeleton[0].head

    def forward(self, **inputs: Tensor) -> Tensor:
        for encoder in self._shared:
            inputs = encoder.answer(inputs)
        given = {name: inputs[name].cpu().numpy() for name in self.names}
        return torch.from_numpy(self.session.run(None, given)[0])


def in_full_precision(kind: Any, source: Path) -> NeuralModel | None:
    """The model in `source` as it computes in 32 bits, as a graph does; None where it did so when its prices were submitted."""
    architecture: NeuralArchitecture = kind
    model = architecture.load(source)
    if settled(model.network, model.config, model.runtime.device) == "fp32":
        return None
    model.config = model.config.model_copy(update={"precision": "fp32"})
    return model


def write_onnx(kind: Any, source: Path, folder: Path, encoders: Path, reduce: Callable[[Path], None]) -> None:
    """Puts the network that `kind` saved in `source` into `folder` as a graph in 32 bits, with its tokenizer and its record.

    encoders: the folder of those that fold models share. reduce: makes each written graph smaller.
    """
    architecture: NeuralArchitecture = kind
    model = architecture.load(source)
    model.save(folder)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    text: Any = model.network.encoders["text"]
    write = partial(_write, positions=int(text.max_positions), reduce=reduce)
    shared, inputs = split_encoders(model, _example(model), encoders, write)
    bins = model.network.head.bins
    more = {_EDGES: None if bins is None else bins.edges.tolist(), _SHARED: shared}
    write_json(folder / RECORD, {**read_json(folder / RECORD), **more})
    write(model.network, inputs, folder / GRAPH)


def _write(
    network: nn.Module, inputs: Mapping[str, Tensor], path: Path, positions: int, reduce: Callable[[Path], None]
) -> None:
    write_graph(network, inputs, path, positions)
    reduce(path)


def read_onnx(kind: Any, folder: Path, encoders: Path, providers: Sequence[str] = (CPU,)) -> NeuralModel:
    """The model that `write_onnx` wrote; predicts on a processor unless `providers` say otherwise."""
    architecture: NeuralArchitecture = kind
    record = read_json(folder / RECORD)
    with torch.device("meta"):
        model = architecture.rebuild(folder, record)
    if (bins := model.network.head.bins) is not None:
        bins.edges = torch.tensor(record[_EDGES])
    shared = [shared_encoder(encoders / file, part, providers) for part, file in record[_SHARED].items()]
    model.network = OnnxNetwork(folder / GRAPH, model.network, providers, shared)  # type: ignore[assignment]
    return model


def _example(model: NeuralModel) -> dict[str, Tensor]:
    """Inputs of a few rows, as the network takes them."""
    texts = np.array(_EXAMPLE_TEXTS[:_EXAMPLE_ROWS], dtype=object)
    numbers, nothing = (
        np.array([str(number) for number in range(len(texts))], dtype=object),
        np.array([""] * len(texts), dtype=object),
    )
    examples: Examples = model.architecture.examples(model, Catalog(numbers, texts, nothing))
    return dict(examples.batch(np.arange(len(texts)), None).inputs)


class OnnxFormat(ExportFormat):
    """A network as a graph for ONNX Runtime."""

    providers: ClassVar[tuple[str, ...]] = (CPU,)

    def reduce(self, graph: Path) -> None:
        """Makes a written graph smaller."""

    def write(self, kind: Architecture, source: Path, folder: Path, encoders: Path) -> None:
        write_onnx(kind, source, folder, encoders, self.reduce)

    def read(self, kind: Architecture, folder: Path, encoders: Path) -> ExportedModel:
        return read_onnx(kind, folder, encoders, self.providers)

    def original(self, kind: Architecture, source: Path) -> ExportedModel | None:
        return in_full_precision(kind, source)


class OnnxFp16Format(OnnxFormat):
    """ONNX graph with weights and arithmetic in 16 bits."""

    tolerance = 0.02

    def reduce(self, graph: Path) -> None:
        halve(graph)


class OnnxInt8Format(OnnxFormat):
    """ONNX graph with matrices in 8 bits, a quarter of the size; accepted by its SMAPE, as single prices move further."""

    tolerance = None

    def reduce(self, graph: Path) -> None:
        quantise(graph)


class TensorRtFormat(OnnxFormat):
    """ONNX graph that TensorRT compiles when it is loaded; only where that is installed."""

    tolerance = 0.02
    providers = (TENSORRT, CPU)

    def write(self, kind: Architecture, source: Path, folder: Path, encoders: Path) -> None:
        check_tensorrt()
        super().write(kind, source, folder, encoders)

    def read(self, kind: Architecture, folder: Path, encoders: Path) -> ExportedModel:
        check_tensorrt()
        return super().read(kind, folder, encoders)
