"""Registry of export formats of fold models: safetensors, ONNX, TensorRT. A new one is a class and a line in FORMS."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from core.atomic_files import atomic_path
from core.data.catalog import Catalog
from core.errors import UserError, suggestion
from core.protocols.architecture import Architecture, Prices


class Servable(Protocol):
    """What a form reads back: the part of a `Model` that a service needs."""

    def predict(self, catalog: Catalog) -> Prices:
        """(n,) prices in currency units."""

    def predict_quantiles(self, catalog: Catalog) -> Prices | None:
        """(n, 9) prices at `core.protocols.architecture.LEVELS` where the model knows more than a point."""


class Form(Protocol):
    """How one fold model is written and read.

    tolerance: largest relative difference of its prices from the original's; None: it is judged by true prices instead.
    """

    tolerance: float | None

    def write(self, kind: Architecture, source: Path, folder: Path, encoders: Path) -> None:
        """Puts into `folder` the model that `kind` saved in `source`, with everything that reading it needs.

        encoders: the bundle's folder for encoders that several models share, made with the first one.
        """

    def read(self, kind: Architecture, folder: Path, encoders: Path) -> Servable:
        """Reads what `write` wrote."""

    def original(self, kind: Architecture, source: Path) -> Servable | None:
        """The model whose prices those from this form are compared with; None: the submitted prices themselves are."""


class Saved:
    """As the architecture saves it: safetensors, arrays, JSON, LightGBM's text."""

    tolerance: float | None = 0.005

    def write(self, kind: Architecture, source: Path, folder: Path, encoders: Path) -> None:
        kind.load(source).save(folder)

    def read(self, kind: Architecture, folder: Path, encoders: Path) -> Servable:
        return kind.load(folder)

    def original(self, kind: Architecture, source: Path) -> Servable | None:
        return None


class Halved(Saved):
    """The same with networks' weights in 16 bits: half the size, computed with in 32."""

    tolerance: float | None = 0.02

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


class Onnx:
    """A network as a graph for ONNX Runtime."""

    tolerance: float | None = 0.005

    def reduce(self, graph: Path) -> None:
        """Makes a written graph smaller."""

    def write(self, kind: Architecture, source: Path, folder: Path, encoders: Path) -> None:
        from serving.bundle.onnx_export import write_onnx

        write_onnx(kind, source, folder, encoders, self.reduce)

    def read(self, kind: Architecture, folder: Path, encoders: Path) -> Servable:
        from serving.bundle.onnx_export import read_onnx

        return read_onnx(kind, folder, encoders)

    def original(self, kind: Architecture, source: Path) -> Servable | None:
        from serving.bundle.onnx_export import in_full_precision

        return in_full_precision(kind, source)


class HalvedOnnx(Onnx):
    """The same in 16 bits."""

    tolerance: float | None = 0.02

    def reduce(self, graph: Path) -> None:
        from serving.bundle.onnx_graphs import halve

        halve(graph)


class QuantisedOnnx(Onnx):
    """The same with matrices in 8 bits: a quarter of the size. How far prices move says little; how far they err, all."""

    tolerance: float | None = None

    def reduce(self, graph: Path) -> None:
        from serving.bundle.onnx_graphs import quantise

        quantise(graph)


class TensorRt(Onnx):
    """The same graph, compiled by TensorRT when it is loaded; only where that is installed."""

    tolerance: float | None = 0.02

    def write(self, kind: Architecture, source: Path, folder: Path, encoders: Path) -> None:
        from serving.bundle.onnx_graphs import check_tensorrt

        check_tensorrt()
        super().write(kind, source, folder, encoders)

    def read(self, kind: Architecture, folder: Path, encoders: Path) -> Servable:
        from serving.bundle.onnx_export import read_onnx
        from serving.bundle.onnx_graphs import CPU, TENSORRT, check_tensorrt

        check_tensorrt()
        return read_onnx(kind, folder, encoders, (TENSORRT, CPU))


SAVED, ONNX = "saved", "onnx"
FORMS: dict[str, Form] = {
    SAVED: Saved(),
    f"{SAVED}-fp16": Halved(),
    ONNX: Onnx(),
    f"{ONNX}-fp16": HalvedOnnx(),
    f"{ONNX}-int8": QuantisedOnnx(),
    "tensorrt": TensorRt(),
}


def form(name: str) -> Form:
    """The form of that name. Raises UserError with the nearest name for an unknown one."""
    if name not in FORMS:
        raise UserError(
            f"there is no form '{name}' of a model", code="export-format-unknown", hint=suggestion(name, FORMS)
        )
    return FORMS[name]
