"""`lexical`: word and character TF-IDF with ridge regression and a small sparse net. Seconds to minutes on one core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from core.architectures.base import Config, Context, Prices, Resolution
from core.cache import Cache
from core.catalog import Catalog
from core.errors import UserError
from core.files import digest_json, read_json, write_json
from core.labels.weights import Suspects, row_weights
from core.light.inner import inner_folds
from core.light.inputs import Inputs, learn_inputs, load_inputs
from core.light.linear import Linear, choose_alpha, fit_ridge
from core.light.mlp import Net, Recipe, train_net
from core.light.range import PriceRange, range_of
from core.light.store import FEATURES_VERSION, load_arrays, save_arrays, sparse_arrays, sparse_from
from core.machine import Machine
from core.metrics import all_metrics

Floats = NDArray[np.float64]
_LEAST_BATCH = 8
_ALPHA_FOLDS = 3
_MLP_ONLY = {
    "nets",
    "hidden",
    "layers",
    "epochs",
    "steps",
    "learning_rate",
    "dropout",
    "weight_decay",
    "smape_weight",
}


class LexicalConfig(Config):
    """Settings of `lexical`."""

    model: Literal["ridge", "mlp", "blend"] = Field(
        "blend", description="linear model, net, or the geometric mean of both"
    )
    suspects: Suspects = Field(
        "downweight", description="rows far from what other rows say: less weight in the ridge, or none in any model"
    )
    alpha: float | Literal["auto"] = Field("auto", description="ridge penalty; auto: by inner group folds")
    mlp_weight: float = Field(0.5, ge=0, le=1, description="weight of the net's log price in the blend")
    max_terms: int = Field(60_000, ge=100, description="terms kept per TF-IDF block, the most frequent")
    number_weight: float = Field(
        0.1, ge=0, le=10, description="size of number fields beside a row of TF-IDF (length 1)"
    )
    nets: int = Field(3, ge=1, le=16, description="nets averaged")
    hidden: int = Field(
        64, ge=4, le=1024, description="width of the first hidden layer; the next are half as wide each"
    )
    layers: int = Field(2, ge=1, le=4, description="hidden layers")
    epochs: int = Field(16, ge=1, le=200, description="passes over the rows")
    steps: int = Field(80, ge=1, le=10_000, description="batches in the first epoch; batches then grow, up to 8-fold")
    learning_rate: float = Field(1e-2, gt=0, le=0.1, description="Adam's step at its highest")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of hidden units dropped")
    weight_decay: float = Field(0.0, ge=0, description="decoupled decay of the weights")
    smape_weight: float = Field(0.3, ge=0, le=1, description="loss: 0 is Huber's, 1 SMAPE, of log prices")

    def without_effect(self) -> set[str]:
        if self.model == "ridge":
            return {"mlp_weight", *_MLP_ONLY}
        return {"alpha", "mlp_weight"} if self.model == "mlp" else set()

    def recipe(self, rows: int) -> Recipe:
        """How nets are trained on so many rows: with more rows larger batches, so that the steps stay about as many."""
        widths = tuple(max(4, self.hidden // 2**layer) for layer in range(self.layers))
        batch = max(_LEAST_BATCH, rows // self.steps)
        decay, rate = self.weight_decay, self.learning_rate
        return Recipe(widths, self.epochs, batch, rate, self.dropout, decay, self.smape_weight)


@dataclass
class LexicalModel:
    """A ridge, nets, or both, on one matrix of inputs."""

    inputs: Inputs
    ridge: Linear | None
    nets: list[Net]
    mlp_weight: float
    range: PriceRange
    best_epoch: int = 1

    def predict(self, catalog: Catalog) -> Prices:
        matrix = self.inputs.matrix(catalog)
        logs = np.zeros(len(catalog))
        if self.nets:
            logs += self.mlp_weight * np.mean([net.predict(matrix) for net in self.nets], axis=0)
        if self.ridge is not None:
            logs += (1.0 - self.mlp_weight) * self.ridge.predict(matrix)
        return self.range.prices(logs)

    def predict_quantiles(self, catalog: Catalog) -> Prices | None:
        return None

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.inputs.save(folder)
        arrays: dict[str, NDArray[Any]] = {}
        for place, net in enumerate(self.nets):
            for layer, (weight, bias) in enumerate(zip(net.weights, net.biases, strict=True)):
                arrays |= {f"net {place} weight {layer}": weight, f"net {place} bias {layer}": bias}
        if self.ridge is not None:
            arrays |= {"ridge": self.ridge.coefficients, "intercept": np.array(self.ridge.intercept)}
        save_arrays(folder / "lexical.npz", arrays)
        layers = len(self.nets[0].weights) if self.nets else 0
        record = {"nets": len(self.nets), "layers": layers, "mlp_weight": self.mlp_weight, "range": asdict(self.range)}
        write_json(folder / "lexical.json", record)


class LexicalArchitecture:
    """TF-IDF with linear models and a small sparse net."""

    name: ClassVar[str] = "lexical"
    summary: ClassVar[str] = "word and character TF-IDF with ridge regression and a small sparse net"
    Config: ClassVar[type[Config]] = LexicalConfig
    stops_on_valid: ClassVar[bool] = False
    reads_pictures: ClassVar[bool] = False
    data_parallel: ClassVar[bool] = False

    def resolve(self, settings: Mapping[str, Any], machine: Machine, minutes: float | None) -> Resolution:
        return Resolution(dict(settings), "lexical")

    def identity(self, config: LexicalConfig) -> dict[str, str]:
        return {}

    def refit_config(self, config: LexicalConfig, best_epoch: int) -> LexicalConfig:
        return config

    def estimate_seconds(self, catalog: Catalog, config: LexicalConfig, machine: Machine) -> float:
        # Measured on one core: about 1 ms per row for text and ridge; a step of the net touches every weight of its first layer.
        steps = 0.0 if config.model == "ridge" else config.nets * config.steps * (config.epochs + 10) / 8
        columns = min(8 * len(catalog), 3 * config.max_terms)
        return 1.0 + len(catalog) * 1e-3 + steps * columns * config.hidden * 5e-9

    def prepare(
        self, catalogs: Mapping[str, Catalog], config: LexicalConfig, cache: Cache, *, drop_bad: bool
    ) -> tuple[str, ...]:
        return ()  # every feature is learnt from the training rows of a fold

    def train(self, train: Catalog, valid: Catalog | None, config: LexicalConfig, context: Context) -> LexicalModel:
        with threadpool_limits(context.threads):
            if len(train) < 2:
                raise UserError(f"{len(train)} training rows are too few", cure="give at least 2 training rows")
            inputs, matrix = _inputs(train, config, context)
            context.check_time("reading the text")
            log_prices = np.log(train.known_prices)
            weights = row_weights(matrix, log_prices, train.product_groups, config.suspects, context.seed)
            ridge, nets = None, []
            if config.model != "mlp":
                ridge = _ridge(matrix, log_prices, train.product_groups, weights, config, context)
            if config.model != "ridge":
                nets = _nets(matrix[weights > 0], log_prices[weights > 0], config, context)
            weight = {"ridge": 0.0, "mlp": 1.0, "blend": config.mlp_weight}[config.model]
            model = LexicalModel(inputs, ridge, nets, weight, range_of(log_prices))
            if valid is not None:
                context.report(1, all_metrics(valid.known_prices, model.predict(valid)))
        return model

    def load(self, folder: Path) -> LexicalModel:
        record, arrays = read_json(folder / "lexical.json"), load_arrays(folder / "lexical.npz")
        ridge = Linear(arrays["ridge"], float(arrays["intercept"])) if "ridge" in arrays else None
        layers = range(record["layers"])
        nets = [
            Net(
                [arrays[f"net {place} weight {layer}"] for layer in layers],
                [arrays[f"net {place} bias {layer}"] for layer in layers],
            )
            for place in range(record["nets"])
        ]
        return LexicalModel(load_inputs(folder), ridge, nets, record["mlp_weight"], PriceRange(**record["range"]))


def _inputs(train: Catalog, config: LexicalConfig, context: Context) -> tuple[Inputs, sp.csr_matrix]:
    """The inputs learnt of these rows and their matrix: the same for every trial, so kept in the shared cache."""

    def write(folder: Path) -> None:
        inputs = learn_inputs(train, config.max_terms, config.number_weight)
        inputs.save(folder)
        save_arrays(folder / "matrix.npz", sparse_arrays(inputs.matrix(train), "matrix"))

    def read(folder: Path) -> tuple[Inputs, sp.csr_matrix]:
        return load_inputs(folder), sparse_from(load_arrays(folder / "matrix.npz"), "matrix")

    settings = [FEATURES_VERSION, train.fingerprint, config.max_terms, config.number_weight]
    return context.cache.get("lexical", digest_json(settings), write, read)


def _ridge(
    matrix: sp.csr_matrix,
    log_prices: Floats,
    groups: NDArray[np.int64],
    weights: Floats,
    config: LexicalConfig,
    context: Context,
) -> Linear:
    alpha = config.alpha
    if alpha == "auto":
        folds = inner_folds(groups, _ALPHA_FOLDS, context.seed)
        alpha = choose_alpha(
            matrix, log_prices, folds, lambda: context.check_time("choosing the ridge penalty"), weights
        )
    return fit_ridge(matrix, log_prices, alpha, weights)


def _nets(matrix: sp.csr_matrix, log_prices: Floats, config: LexicalConfig, context: Context) -> list[Net]:
    def tick() -> None:
        context.check_time("training the net")

    recipe = config.recipe(len(log_prices))
    seeds = [context.seed * 1000 + place for place in range(config.nets)]
    return [train_net(matrix, log_prices, recipe, seed, tick) for seed in seeds]
