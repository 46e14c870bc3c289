"""Export formats of fold models: base class, registry, safetensors. A new one is a class and a line in EXPORT_FORMATS."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, cast

import numpy as np
from pydantic import Field

from core.atomic_files import atomic_path
from core.command_config import CommandConfig, Flag
from core.data.catalog import Catalog
from core.errors import UserError, suggestion
from core.protocols.architecture import Architecture, Prices


class ExportedModel(Protocol):
    """Fold model read from a bundle: the part of `core.protocols.architecture.Model` that a service needs."""

    def predict(self, catalog: Catalog) -> Prices:
        """(n,) prices in currency units."""

    def predict_quantiles(self, catalog: Catalog) -> Prices | None:
        """(n, 9) prices at `core.protocols.architecture.LEVELS` where the model knows more than a point."""


class ExportFormat:
    """Base class: writes and reads a fold model as the architecture saves it (safetensors, arrays, JSON, LightGBM's text).

    tolerance: largest relative difference of its prices from the original's; None: its SMAPE on true prices is checked instead.
    device: where the networks that it reads compute, `cpu` or `cuda`.
    """

    tolerance: ClassVar[float | None] = 0.005

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def gpu_lack(self) -> tuple[str, str] | None:
        """(what is missing here to compute on a GPU, how to get it); None where nothing is."""
        import torch

        if torch.cuda.is_available():
            return None
        return "this build of PyTorch cannot use it", "install PyTorch's build for CUDA (https://pytorch.org)"

    def write(self, kind: Architecture, source: Path, folder: Path, encoders: Path) -> None:
        """Puts into `folder` the model that `kind` saved in `source`, with everything that reading it needs.

        encoders: the bundle's folder for encoders that several models share, made with the first one.
        """
        kind.load(source).save(folder)

    def read(self, kind: Architecture, folder: Path, encoders: Path) -> ExportedModel:
        """Reads what `write` wrote."""
        model: Any = kind.load(folder)
        if kind.is_network and self.device != "cpu":
            model.runtime = replace(model.runtime, device=self.device)
        return cast(ExportedModel, model)

    def original(self, kind: Architecture, source: Path) -> ExportedModel | None:
        """The model whose prices those of this format are compared with; None: the submitted prices themselves are."""
        return None


class SavedFp16Format(ExportFormat):
    """Network weights stored in 16 bits (half the size) and computed with in 32."""

    tolerance = 0.02

    def write(self, kind: Architecture, source: Path, folder: Path, encoders: Path) -> None:
        from safetensors.numpy import load_file, save_file

        super().write(kind, source, folder, encoders)
        for path in folder.rglob("*.safetensors"):
            halved = {
                name: tensor.astype(np.float16) if tensor.dtype == np.float32 else tensor
                for name, tensor in load_file(path).items()
            }
            with atomic_path(path) as temporary:
                save_file(halved, temporary)


SAVED = "saved"
# Loaded on first use: a service of light members must work without torch and ONNX Runtime.
EXPORT_FORMATS: dict[str, str] = {
    SAVED: "serving.bundle.export_formats:ExportFormat",
    f"{SAVED}-fp16": "serving.bundle.export_formats:SavedFp16Format",
    "onnx": "serving.bundle.onnx_export:OnnxFormat",
    "onnx-fp16": "serving.bundle.onnx_export:OnnxFp16Format",
    "onnx-int8": "serving.bundle.onnx_export:OnnxInt8Format",
    "tensorrt": "serving.bundle.onnx_export:TensorRtFormat",
}


def export_format(name: str, device: str = "cpu") -> ExportFormat:
    """The format of that name. Raises UserError with the nearest name for an unknown one.

    device: where networks that it reads compute.
    """
    if name not in EXPORT_FORMATS:
        raise UserError(
            f"there is no export format '{name}'",
            code="export-format-unknown",
            hint=suggestion(name, EXPORT_FORMATS),
        )
    module, _, attribute = EXPORT_FORMATS[name].partition(":")
    return cast(ExportFormat, getattr(import_module(module), attribute)(device))


class Precision(StrEnum):
    """Precision of the networks' weights in the bundle."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


_PRECISIONS = {
    "onnx": {Precision.FP32: "onnx", Precision.FP16: "onnx-fp16", Precision.INT8: "onnx-int8"},
    "pytorch": {Precision.FP32: SAVED, Precision.FP16: f"{SAVED}-fp16"},
    "tensorrt": {Precision.FP16: "tensorrt"},
}
"""Export format by flag and precision; a flag's first precision is the one that it has if none is given."""


class NetworkFormatConfig(CommandConfig):
    """Flags that choose the networks' export format; `export_name` is its name."""

    onnx: Annotated[bool, Field(description="Networks as graphs for ONNX Runtime (the default).")] = False
    pytorch: Annotated[bool, Field(description="Networks as safetensors and config, for PyTorch.")] = False
    tensorrt: Annotated[bool, Field(description="Networks for TensorRT, in fp16; where it is installed.")] = False
    precision: Annotated[
        Precision | None, Flag(shown="fp32; fp16 for TensorRT"), Field(description="Of the networks' weights.")
    ] = None
    named: Annotated[
        str | None,
        Flag(option="--format", metavar="NAME"),
        Field(description="Networks in any registered export format."),
    ] = None

    @cached_property
    def export_name(self) -> str:
        """Raises UserError for two formats at once, for an unknown one, and for a precision that the format does not have."""
        chosen = [name for name in _PRECISIONS if getattr(self, name)]
        if self.named is not None:
            chosen += ["precision"] * (self.precision is not None) + ["format"]
        if len(chosen) > 1:
            raise UserError(f"--{chosen[0]} and --{chosen[1]} together", code="export-two-formats", hint="choose one")
        if self.named is not None:
            export_format(self.named)
            return self.named
        flag = chosen[0] if chosen else "onnx"
        known = _PRECISIONS[flag]
        precision = self.precision or next(iter(known))
        if precision not in known:
            raise UserError(
                f"--{flag} has no --precision {precision}",
                code="export-precision-unknown",
                hint=f"choose {' or '.join(known)}",
            )
        return known[precision]
