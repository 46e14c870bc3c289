"""Trained `lexical` model: one TF-IDF input matrix and the learners on it; prediction, saving and loading."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from core.arrays import Floats, load_arrays, save_arrays, sparse_arrays, sparse_from
from core.atomic_files import read_json, write_json
from core.classical import gaussian_process
from core.classical.frozen_encoder import FrozenTextEncoder
from core.classical.linear import LinearModel
from core.classical.mlp import Mlp
from core.classical.neighbours import Neighbours
from core.classical.target_encoding import log_amounts
from core.classical.target_features import linear_arrays, linear_from, neighbour_arrays, neighbours_from
from core.classical.tfidf_inputs import TfidfInputs, load_inputs
from core.data.catalog import Catalog
from core.fields.reader import fields_of
from core.protocols.architecture import PriceRange

NetInputs = Literal["tfidf", "binary", "both"]
_ARRAYS, _RECORD = "lexical.npz", "lexical.json"


@dataclass(frozen=True)
class Nearest:
    """Neighbours by the columns `telling` (d,) of the inputs, or by an encoder's states where that is None."""

    among: Neighbours
    telling: NDArray[np.bool_] | None
    sharpness: float
    per_unit: bool


@dataclass(frozen=True)
class LexicalModel:
    """Learners on one matrix of inputs; those that are there are averaged in log price, nets with `mlp_weight`."""

    inputs: TfidfInputs
    range: PriceRange
    reader: FrozenTextEncoder | None = None
    linear: LinearModel | None = None
    nets: list[Mlp] = field(default_factory=list)
    net_inputs: NetInputs = "tfidf"
    net_number_weight: float = 1.0
    mlp_weight: float = 0.0
    nearest: Nearest | None = None
    kernel: gaussian_process.KernelModel | None = None
    best_epoch: int = 1

    def predict(self, catalog: Catalog) -> NDArray[np.float64]:
        matrix = self.inputs.matrix(catalog)
        logs = np.zeros(len(catalog))
        if self.nets:
            nets = [net.predict(self.seen(matrix, place)) for place, net in enumerate(self.nets)]
            logs += self.mlp_weight * np.asarray(np.mean(nets, axis=0))
        if self.linear is not None:
            logs += (1.0 - self.mlp_weight) * self.linear.predict(matrix)
        if self.nearest is not None:
            near = self.nearest
            vectors = self._states(catalog) if near.telling is None else matrix[:, near.telling]
            amounts = log_amounts(fields_of(catalog))
            logs += near.among.predict(vectors, amounts, near.sharpness, per_unit=near.per_unit)
        if self.kernel is not None:
            logs += self.kernel.predict(comparable(self.inputs, matrix, catalog, self.reader))
        return self.range.prices(logs)

    def predict_quantiles(self, catalog: Catalog) -> NDArray[np.float64] | None:
        return None

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.inputs.save(folder)
        record: dict[str, Any] = {
            "range": asdict(self.range),
            "reader": None if self.reader is None else self.reader.record,
            "nets": len(self.nets),
            "layers": len(self.nets[0].weights) if self.nets else 0,
            "net_inputs": self.net_inputs,
            "net_number_weight": self.net_number_weight,
            "mlp_weight": self.mlp_weight,
        }
        arrays: dict[str, NDArray[Any]] = {}
        for place, net in enumerate(self.nets):
            for layer, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
                arrays |= {f"net {place} weight {layer}": weight, f"net {place} bias {layer}": bias}
        if self.linear is not None:
            arrays |= linear_arrays(self.linear, "linear")
        if (near := self.nearest) is not None:
            arrays |= neighbour_arrays(near.among, "near")
            arrays |= {} if near.telling is None else {"near telling": near.telling}
            record["nearest"] = {"sharpness": near.sharpness, "per_unit": near.per_unit}
        if self.kernel is not None:
            arrays |= _kernel_arrays(self.kernel)
            record["kernel"] = {
                "samples": len(self.kernel.shapes),
                "blocks": [sp.issparse(block) for block in self.kernel.references.blocks],
                "mean": self.kernel.mean,
                "scale": self.kernel.scale,
            }
        save_arrays(folder / _ARRAYS, arrays)
        write_json(folder / _RECORD, record)

    def seen(self, matrix: sp.csr_matrix, place: int) -> sp.csr_matrix:
        """The inputs (n, d) as the net at this place reads them."""
        binary = self.net_inputs == "binary" or (self.net_inputs == "both" and place % 2 == 0)
        return self.inputs.for_nets(matrix, self.net_number_weight, binary=binary)

    def _states(self, catalog: Catalog) -> Floats:
        assert self.reader is not None
        return self.reader.states(catalog.texts.tolist())


def load_lexical(folder: Path) -> LexicalModel:
    """Reads back what `LexicalModel.save` wrote."""
    record, arrays = read_json(folder / _RECORD), load_arrays(folder / _ARRAYS)
    layers = range(record["layers"])
    nets = [
        Mlp(
            [arrays[f"net {place} weight {layer}"] for layer in layers],
            [arrays[f"net {place} bias {layer}"] for layer in layers],
        )
        for place in range(record["nets"])
    ]
    nearest = None
    if "nearest" in record:
        nearest = Nearest(neighbours_from(arrays, "near"), arrays.get("near telling"), **record["nearest"])
    return LexicalModel(
        load_inputs(folder),
        PriceRange(**record["range"]),
        None if record["reader"] is None else FrozenTextEncoder(**record["reader"]),
        linear_from(arrays, "linear") if "linear coefficients" in arrays else None,
        nets,
        record["net_inputs"],
        record["net_number_weight"],
        record["mlp_weight"],
        nearest,
        _kernel_from(arrays, record["kernel"]) if "kernel" in record else None,
    )


def comparable(
    inputs: TfidfInputs, matrix: sp.csr_matrix, catalog: Catalog, reader: FrozenTextEncoder | None
) -> gaussian_process.KernelRows:
    """Rows as the Gaussian process compares them: TF-IDF blocks of their `matrix`, an encoder's states, number fields."""
    states = [] if reader is None else [reader.states(catalog.texts.tolist())]
    return gaussian_process.KernelRows([*inputs.blocks(matrix), *states], inputs.scale.apply(inputs.fields(catalog)))


def _kernel_arrays(model: gaussian_process.KernelModel) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"kernel numbers": model.references.numbers}
    for place, block in enumerate(model.references.blocks):
        name = f"kernel block {place}"
        arrays |= sparse_arrays(block, name) if sp.issparse(block) else {name: np.asarray(block)}
    for place, (shape, weights) in enumerate(zip(model.shapes, model.coefficients, strict=True)):
        settings = np.array([shape.signal, shape.noise])
        for part, values in (("text", shape.text), ("fields", shape.numbers), ("other", settings), ("dual", weights)):
            arrays[f"kernel {place} {part}"] = values
    return arrays


def _kernel_from(arrays: dict[str, NDArray[Any]], record: dict[str, Any]) -> gaussian_process.KernelModel:
    blocks = [
        sparse_from(arrays, f"kernel block {place}") if sparse else arrays[f"kernel block {place}"]
        for place, sparse in enumerate(record["blocks"])
    ]
    shapes, coefficients = [], []
    for place in range(record["samples"]):
        text, numbers, (signal, noise), dual = (
            arrays[f"kernel {place} {part}"] for part in ("text", "fields", "other", "dual")
        )
        shapes.append(gaussian_process.KernelShape(text, numbers, float(signal), float(noise)))
        coefficients.append(dual)
    rows = gaussian_process.KernelRows(blocks, arrays["kernel numbers"])
    return gaussian_process.KernelModel(rows, shapes, coefficients, record["mean"], record["scale"])
