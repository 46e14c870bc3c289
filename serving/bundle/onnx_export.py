"""ONNX export of networks: dynamic rows and tokens, fp32, fp16 and int8.

The graph is the network from token ids, numbers and pixels to the head's outputs; encoders that were frozen are graphs of their
own, which fold models share (`serving.bundle.shared_encoders`). Around them everything is as in training: texts and images
are read, and prices made of outputs, by the architecture's own code in 32 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from core.architectures.neural_architecture import NeuralArchitecture, NeuralModel
from core.atomic_files import read_json, write_json
from core.data.catalog import Catalog
from core.training.batching import Examples, MicroBatchSize
from core.training.inference import settled
from serving.bundle.export_formats import ExportedModel, ExportFormat
from serving.bundle.onnx_graphs import (
    CPU,
    CUDA,
    TENSORRT,
    check_tensorrt,
    halve,
    open_graph,
    quantise,
    run_graph,
    write_graph,
)
from serving.bundle.shared_encoders import SharedEncoder, shared_encoder, split_encoders

GRAPH, RECORD = "model.onnx", "model.json"
_EXAMPLE_TEXTS = ("Item Name: ACME Jam, 9 oz (Pack of 6)\nUnit: Ounce", "Item Name: nut", "a b c d e f")
_EDGES, _SHARED = "edges", "shared"


class OnnxNetwork(nn.Module):
    """Stands where the network does. skeleton: the network without weights, which decides how rows are read. shared: encoders
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
        return torch.from_numpy(run_graph(self.session, given))


def _example(model: NeuralModel) -> dict[str, Tensor]:
    """Inputs of a few rows, as the network takes them."""
    numbers, texts, links = np.array([("0", "1", "2"), _EXAMPLE_TEXTS, ("", "", "")], dtype=object)
    examples: Examples = model.architecture.examples(model, Catalog(numbers, texts, links))
    return dict(examples.batch(np.arange(len(texts)), None).inputs)


class OnnxFormat(ExportFormat):
    """A network as a graph for ONNX Runtime."""

    providers: ClassVar[tuple[str, ...]] = (CPU,)
    """Of ONNX Runtime, the fastest first; on a GPU CUDA's stands before the processor's."""

    def gpu_lack(self) -> tuple[str, str] | None:
        import onnxruntime

        if CUDA in onnxruntime.get_available_providers():
            return None
        return "ONNX Runtime has no CUDA provider", "install onnxruntime-gpu in place of onnxruntime"

    def reduce(self, graph: Path) -> None:
        """Makes a written graph smaller."""

    def write(self, kind: Any, source: Path, folder: Path, encoders: Path) -> None:
        """Puts the network that `kind` saved in `source` into `folder` as a graph, with its tokenizer and its record."""
        model = _load(kind, source)
        model.save(folder)
        for weights in folder.glob("*.safetensors"):
            weights.unlink()
        text: Any = model.network.encoders["text"]

        def write_reduced(network: nn.Module, inputs: Mapping[str, Tensor], path: Path) -> None:
            write_graph(network, inputs, path, int(text.max_positions))
            self.reduce(path)

        shared, inputs = split_encoders(model, _example(model), encoders, write_reduced)
        bins = model.network.head.bins
        more = {_EDGES: None if bins is None else bins.edges.tolist(), _SHARED: shared}
        write_json(folder / RECORD, {**read_json(folder / RECORD), **more})
        write_reduced(model.network, inputs, folder / GRAPH)

    def read(self, kind: Any, folder: Path, encoders: Path) -> ExportedModel:
        record = read_json(folder / RECORD)
        with torch.device("meta"):
            model: NeuralModel = kind.rebuild(folder, record)
        if (bins := model.network.head.bins) is not None:
            bins.edges = torch.tensor(record[_EDGES])
        providers = self.providers if self.device == "cpu" else (*self.providers[:-1], CUDA, CPU)
        shared = [shared_encoder(encoders / file, part, providers) for part, file in record[_SHARED].items()]
        model.network = OnnxNetwork(folder / GRAPH, model.network, providers, shared)  # type: ignore[assignment]
        if self.device != "cpu":
            # Tensors stay on the processor, which hands them to the graph: passes as large as a GPU's, one after the other.
            tokens = MicroBatchSize.by_device(self.device, model.config.tokens_per_pass).tokens
            model.config = model.config.model_copy(update={"tokens_per_pass": tokens})
            model.runtime = replace(model.runtime, threads=1)
        return model

    def original(self, kind: Any, source: Path) -> ExportedModel | None:
        """The model as it computes in 32 bits, as a graph does; None where it did so when its prices were submitted."""
        model = _load(kind, source)
        if settled(model.network, model.config, model.runtime.device) == "fp32":
            return None
        model.config = model.config.model_copy(update={"precision": "fp32"})
        return model


def _load(kind: NeuralArchitecture, source: Path) -> NeuralModel:
    return kind.load(source)


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

    def write(self, kind: Any, source: Path, folder: Path, encoders: Path) -> None:
        check_tensorrt()
        super().write(kind, source, folder, encoders)

    def read(self, kind: Any, folder: Path, encoders: Path) -> ExportedModel:
        check_tensorrt()
        return super().read(kind, folder, encoders)
