"""Networks as ONNX: a graph with any number of rows and tokens, computed by ONNX Runtime.

The graph is the network from token ids, numbers and pixels to the head's outputs. Around it everything is as in training: texts
and pictures are read, and prices made of outputs, by the architecture's own code in 32 bits.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.architectures.neural import NeuralArchitecture, NeuralModel
from core.batches import Examples
from core.catalog import Catalog
from core.errors import UserError
from core.files import atomic_path, read_json, write_json
from core.inference import settled

GRAPH, RECORD = "model.onnx", "model.json"
_OPSET = 20
_EXAMPLE_ROWS, _EXAMPLE_TEXTS = (
    3,
    ("Item Name: ACME Jam, 9 oz (Pack of 6)\nUnit: Ounce", "Item Name: nut", "a b c d e f"),
)
_LONG = ("input_ids", "attention_mask")
"""Inputs whose second dimension is a number of tokens; of the others only the number of rows changes."""
_EDGES = "edges"
CPU = "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"


class _Ordered(nn.Module):
    """A network with its inputs in a fixed order."""

    def __init__(self, network: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        found: Tensor = self.network(**dict(zip(self.names, inputs, strict=True)))
        return found


class OnnxNetwork(nn.Module):
    """Stands where the network does. skeleton: the network without weights, which tells how rows are read."""

    def __init__(self, path: Path, skeleton: Any, providers: Sequence[str]) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: what it warns of nobody here can mend
        options.intra_op_num_threads = 1  # passes run side by side, one thread each (`core.parallel`)
        self.session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        self.names = [given.name for given in self.session.get_inputs()]
        self._skeleton = (skeleton,)  # in a tuple, or its empty weights would be moved about with this module's

    @property
    def encoders(self) -> Any:
        return self._skeleton[0].encoders

    @property
    def head(self) -> Any:
        return self._skeleton[0].head

    def forward(self, **inputs: Tensor) -> Tensor:
        given = {name: inputs[name].cpu().numpy() for name in self.names}
        return torch.from_numpy(self.session.run(None, given)[0])


def in_full_precision(kind: Any, source: Path) -> NeuralModel | None:
    """The model in `source` as it computes in 32 bits, as a graph does; None where it did so when its prices were submitted."""
    architecture: NeuralArchitecture = kind
    model = architecture.load(source)
    if settled(model.network, model.config, model.device) == "fp32":
        return None
    model.config = model.config.model_copy(update={"precision": "fp32"})
    return model


def write_onnx(kind: Any, source: Path, folder: Path) -> None:
    """Puts the network that `kind` saved in `source` into `folder` as a graph in 32 bits, with its tokenizer and its record."""
    architecture: NeuralArchitecture = kind
    model = architecture.load(source)
    model.save(folder)
    (folder / "model.safetensors").unlink()
    bins = model.network.head.bins
    write_json(folder / RECORD, {**read_json(folder / RECORD), _EDGES: None if bins is None else bins.edges.tolist()})
    _export(model, _example(model), folder / GRAPH)


def read_onnx(kind: Any, folder: Path, providers: Sequence[str] = (CPU,)) -> NeuralModel:
    """The model that `write_onnx` wrote; predicts on a processor unless `providers` say otherwise."""
    architecture: NeuralArchitecture = kind
    record = read_json(folder / RECORD)
    with torch.device("meta"):
        model = architecture.rebuild(folder, record)
    if (bins := model.network.head.bins) is not None:
        bins.edges = torch.tensor(record[_EDGES])
    model.network = OnnxNetwork(folder / GRAPH, model.network, providers)  # type: ignore[assignment]
    return model


def halve(path: Path) -> None:
    """Rewrites a graph with weights and arithmetic in 16 bits; inputs and outputs stay as they are."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    graph = convert_float_to_float16(onnx.load(path), keep_io_types=True)
    with atomic_path(path) as temporary:
        onnx.save(graph, temporary)


def quantise(path: Path) -> None:
    """Rewrites a graph with the matrices of linear layers in 8 bits; what they are multiplied with is quantised row by row."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with atomic_path(path) as temporary:
        quantize_dynamic(path, temporary, weight_type=QuantType.QInt8, per_channel=True)


def check_tensorrt() -> None:
    """Raises UserError where ONNX Runtime cannot use TensorRT."""
    import onnxruntime

    if TENSORRT not in onnxruntime.get_available_providers():
        raise UserError(
            "TensorRT is not installed here: ONNX Runtime knows "
            + ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()),
            cure="install onnxruntime-gpu and TensorRT on a machine with an NVIDIA GPU, or take --onnx",
        )


def _example(model: NeuralModel) -> dict[str, Tensor]:
    """Inputs of a few rows, as the network takes them."""
    texts = np.array(_EXAMPLE_TEXTS[:_EXAMPLE_ROWS], dtype=object)
    numbers, nothing = (
        np.array([str(number) for number in range(len(texts))], dtype=object),
        np.array([""] * len(texts), dtype=object),
    )
    examples: Examples = model.architecture.examples(model, Catalog(numbers, texts, nothing))
    return dict(examples.batch(np.arange(len(texts)), None).inputs)


def _export(model: NeuralModel, inputs: dict[str, Tensor], path: Path) -> None:
    names = list(inputs)
    encoder: Any = model.network.encoders["text"]
    positions = int(encoder.max_positions)
    rows = torch.export.Dim("rows", min=1, max=65_536)
    tokens = torch.export.Dim("tokens", min=2, max=positions)
    shapes = tuple({0: rows, 1: tokens} if name in _LONG else {0: rows} for name in names)
    network = _Ordered(model.network.cpu(), names).eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of optional packages that are not installed
    with torch.no_grad(), atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations, and that two inputs share an axis
        program = torch.onnx.export(
            network, tuple(inputs.values()), dynamo=True, input_names=names, output_names=["outputs"],
            dynamic_shapes={"inputs": shapes}, opset_version=_OPSET, verbose=False,
        )  # fmt: skip
        assert program is not None
        program.save(temporary, external_data=False)
