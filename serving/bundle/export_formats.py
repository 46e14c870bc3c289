"""Export formats of fold models: base class, registry, safetensors. A new one is a class and a line in EXPORT_FORMATS."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import ClassVar, Protocol, cast

import numpy as np

from core.atomic_files import atomic_path
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
    """

    tolerance: ClassVar[float | None] = 0.005

    def write(self, kind: Architecture, source: Path, folder: Path, encoders: Path) -> None:
        """Puts into `folder` the model that `kind` saved in `source`, with everything that reading it needs.

        encoders: the bundle's folder for encoders that several models share, made with the first one.
        """
        kind.load(source).save(folder)

    def read(self, kind: Architecture, folder: Path, encoders: Path) -> ExportedModel:
        """Reads what `write` wrote."""
        return kind.load(folder)

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


def export_format(name: str) -> ExportFormat:
    """The format of that name. Raises UserError with the nearest name for an unknown one."""
    if name not in EXPORT_FORMATS:
        raise UserError(
            f"there is no export format '{name}'",
            code="export-format-unknown",
            hint=suggestion(name, EXPORT_FORMATS),
        )
    module, _, attribute = EXPORT_FORMATS[name].partition(":")
    return cast(ExportFormat, getattr(import_module(module), attribute)())
