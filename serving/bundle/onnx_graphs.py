"""ONNX graph tools: export by PyTorch, quantisation, sessions of ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.atomic_files import atomic_path
from core.errors import UserError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
# Without TF32, whose 10 bits would move prices; memory as asked for, not the next power of two; and no search among the
# convolutions of cuDNN for each new number of rows, which takes seconds.
_CUDA_OPTIONS = {
    "use_tf32": "0",
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
}
_OPSET = 20
_LONG = ("input_ids", "attention_mask")
"""Inputs whose second dimension is a number of tokens; of the others only the number of rows changes."""


class _Ordered(nn.Module):
    """A network with its inputs in a fixed order."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        found: Tensor = self.network(**dict(zip(self.names, inputs, strict=True)))
        return found


def write_graph(network: nn.Module, inputs: Mapping[str, Tensor], path: Path, positions: int) -> None:
    """Writes the network, which takes inputs of these names, as a graph in 32 bits for any number of rows and tokens.

    inputs: of a few rows. positions: the most tokens.
    """
    names = list(inputs)
    rows = torch.export.Dim("rows", min=1, max=65_536)
    tokens = torch.export.Dim("tokens", min=2, max=positions)
    shapes = tuple({0: rows, 1: tokens} if name in _LONG else {0: rows} for name in names)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of optional packages that are not installed
    with torch.no_grad(), atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations, and that two inputs share an axis
        program = torch.onnx.export(
            _Ordered(network.cpu(), names).eval(), tuple(inputs.values()), dynamo=True, input_names=names,
            output_names=["outputs"], dynamic_shapes={"inputs": shapes}, opset_version=_OPSET, verbose=False,
        )  # fmt: skip
        assert program is not None
        _forget_origin(program.model)
        program.save(temporary, external_data=False)


def _forget_origin(graph: Any) -> None:
    """Takes out the traces of the code behind each node: they hold paths of this machine, and no two copies would be equal."""
    for node in graph.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def open_graph(path: Path, providers: Sequence[str]) -> Any:
    """A session of ONNX Runtime. Any number of threads may run it, each run on one.

    Raises UserError where the GPU was asked for and CUDA's libraries cannot be loaded, which ONNX Runtime passes over.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: what it warns of nobody here can mend
    options.intra_op_num_threads = 1  # passes run side by side, one thread each (`core.nn.precision`)
    given = [(name, _CUDA_OPTIONS) if name == CUDA else name for name in providers]
    session = onnxruntime.InferenceSession(str(path), options, providers=given)
    if CUDA in providers and CUDA not in session.get_providers():
        raise UserError(
            "ONNX Runtime cannot load the libraries of CUDA and cuDNN that it was built for",
            code="cuda-libraries-missing",
            hint='price on the processor (--device cpu), or `pip install "onnxruntime-gpu[cuda,cudnn]"`',
        )
    return session


def run_graph(session: Any, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """The graph's one output. Raises MemoryError where the device's memory does not hold the rows."""
    try:
        outputs: NDArray[Any] = session.run(None, dict(inputs))[0]
    except Exception as error:  # ONNX Runtime's errors have no common class, nor one of their own for memory
        if "Failed to allocate memory" in str(error):
            raise MemoryError(str(error)) from error
        raise
    return outputs


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

    root = logging.getLogger()
    root.addFilter(_no_advice)
    try:
        with atomic_path(path) as temporary:
            quantize_dynamic(path, temporary, weight_type=QuantType.QInt8, per_channel=True)
    finally:
        root.removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> bool:
    """Of what ONNX Runtime logs, without the advice on graphs that were not prepared for 8 bits: how far they err is measured."""
    return "pre-processing before quantization" not in record.getMessage()


def check_tensorrt() -> None:
    """Raises UserError where ONNX Runtime cannot use TensorRT."""
    import onnxruntime

    if TENSORRT not in onnxruntime.get_available_providers():
        raise UserError(
            "TensorRT is not installed here: ONNX Runtime knows "
            + ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()),
            code="tensorrt-missing",
            hint="install onnxruntime-gpu and TensorRT on a machine with an NVIDIA GPU, or take --onnx",
        )
