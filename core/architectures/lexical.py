"""`lexical` architecture: TF-IDF of words and characters with linear models, small nets, neighbours or Gaussian processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from core.arrays import Floats, load_arrays, save_arrays, sparse_arrays, sparse_from
from core.atomic_files import digest_json
from core.classical import gaussian_process
from core.classical.frozen_encoder import (
    SETTING,
    ClassicalArchitecture,
    FrozenTextEncoder,
    reader_for,
    reading_seconds,
    states_memory,
)
from core.classical.lexical_model import LexicalModel, Nearest, comparable, load_lexical
from core.classical.linear import LinearModel, choose_alpha, fit_huber, fit_ridge
from core.classical.mlp import Mlp, MlpSettings, train_net
from core.classical.neighbours import learn_neighbours, telling_columns
from core.classical.target_encoding import log_amounts
from core.classical.tfidf_inputs import TfidfInputs, learn_inputs, load_inputs, text_memory
from core.data.catalog import Catalog
from core.data.folds import inner_folds
from core.errors import UserError
from core.fields.learnt_fields import LABELLED
from core.fields.reader import FEATURES_VERSION, fields_of
from core.hardware import Machine
from core.metrics import all_metrics
from core.protocols.architecture import Config, Context, range_of
from core.quality.label_noise import Suspects, row_weights

_LEAST_BATCH = 8
_ALPHA_FOLDS = 3
_ENCODER = {"frozen_encoder", "max_length"}
_USED_BY: dict[str, set[str]] = {
    "linear": {"alpha", "linear_loss", "suspects"},
    "mlp": {
        *("nets", "net_inputs", "net_number_weight", "hidden", "layers", "epochs", "steps"),
        *("learning_rate", "dropout", "weight_decay", "smape_weight"),
    },
    "neighbours": {"neighbours", "sharpness", "per_unit", "neighbour_rows", *_ENCODER},
    "kernel": {"kernel_samples", "kernel_sample_rows", "kernel_rows", *_ENCODER},
}
_PARTS: dict[str, set[str]] = {
    "ridge": {"linear"},
    "mlp": {"mlp"},
    "blend": {"linear", "mlp"},
    "neighbours": {"neighbours"},
    "kernel": {"kernel"},
}


class LexicalConfig(Config):
    """Settings of `lexical`."""

    added_later: ClassVar[Mapping[str, Any]] = {LABELLED: False}

    labelled_fields: bool = Field(
        False, description="labelled lines of any name (`Baujahr: 2004`) are fields as well, by frequency and content"
    )
    model: Literal["ridge", "mlp", "blend", "neighbours", "kernel"] = Field(
        "kernel", description="linear model, net, the geometric mean of both, nearest products, or Gaussian process"
    )
    suspects: Suspects = Field(
        "downweight", description="rows far from what other rows say: less weight in the linear model, or none"
    )
    alpha: float | Literal["auto"] = Field("auto", description="ridge penalty; auto: by inner group folds")
    linear_loss: Literal["square", "huber"] = Field("square", description="loss of the linear model")
    mlp_weight: float = Field(0.5, ge=0, le=1, description="weight of the net's log price in the blend")
    max_terms: int = Field(60_000, ge=100, description="terms kept per TF-IDF block, the most frequent")
    number_weight: float = Field(0.1, gt=0, le=10, description="size of number fields beside a row of TF-IDF (1)")
    nets: int = Field(4, ge=1, le=16, description="nets averaged")
    net_inputs: Literal["tfidf", "binary", "both"] = Field(
        "both", description="TF-IDF, which terms are there at all, or the nets in turn one and the other"
    )
    net_number_weight: float = Field(1.0, gt=0, le=10, description="number_weight of the nets")
    hidden: int = Field(32, ge=4, le=1024, description="width of the first hidden layer; each next is half as wide")
    layers: int = Field(2, ge=1, le=4, description="hidden layers")
    epochs: int = Field(16, ge=1, le=200, description="passes over the rows")
    steps: int = Field(80, ge=1, le=10_000, description="batches in the first epoch; batches then grow, up to 8-fold")
    learning_rate: float = Field(1e-2, gt=0, le=0.1, description="Adam's step at its highest")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of hidden units dropped")
    weight_decay: float = Field(0.0, ge=0, description="decoupled decay of the weights")
    smape_weight: float = Field(0.3, ge=0, le=1, description="loss: 0 is Huber's, 1 SMAPE, of log prices")
    neighbours: int = Field(8, ge=1, le=200, description="nearest products whose log prices are averaged")
    sharpness: float = Field(6.0, ge=0, le=100, description="their weights are similarity to this power")
    per_unit: bool = Field(True, description="they say prices per base unit where both amounts are known")
    neighbour_rows: int = Field(20_000, ge=1, description="most products that neighbours are sought among")
    kernel_samples: int = Field(3, ge=1, le=32, description="Gaussian processes with settings of their own, averaged")
    kernel_sample_rows: int = Field(700, ge=10, le=5_000, description="rows on which such settings are found")
    kernel_rows: int = Field(3_000, ge=10, le=20_000, description="most products that a price is compared with")
    frozen_encoder: str | None = Field(
        None, description="short name, hub name or folder of a frozen text encoder to compare texts by; auto: by policy"
    )
    max_length: int = Field(256, ge=8, le=100_000, description="tokens of each text that the encoder reads")

    @property
    def parts(self) -> set[str]:
        """Learners that the model has."""
        return _PARTS[self.model]

    @property
    def encoder(self) -> str | None:
        """The encoder that is really read."""
        return self.frozen_encoder if self.parts & {"neighbours", "kernel"} else None

    def without_effect(self) -> dict[str, str]:
        used = set().union(*(_USED_BY[part] for part in self.parts))
        unused = set().union(*_USED_BY.values()) - used
        if "linear" not in self.parts and not ("neighbours" in self.parts and self.encoder is None):
            unused |= {"number_weight"}  # the others scale the numbers themselves
        unused |= set() if self.model == "blend" else {"mlp_weight"}
        unread = {"max_length": f"without {SETTING}"} if self.encoder is None else {}
        return unread | dict.fromkeys(sorted(unused), f"with model={self.model}")

    def recipe(self, rows: int) -> MlpSettings:
        """Settings of nets on so many rows: with more rows larger batches, so that the steps stay about as many."""
        widths = tuple(max(4, self.hidden // 2**layer) for layer in range(self.layers))
        batch = max(_LEAST_BATCH, rows // self.steps)
        decay, rate = self.weight_decay, self.learning_rate
        return MlpSettings(widths, self.epochs, batch, rate, self.dropout, decay, self.smape_weight)


class LexicalArchitecture(ClassicalArchitecture):
    """TF-IDF with linear models, small sparse nets, nearest products, or a Gaussian process."""

    name: ClassVar[str] = "lexical"
    summary: ClassVar[str] = (
        "word and character TF-IDF with linear models, sparse nets, neighbours or Gaussian processes"
    )
    Config: ClassVar[type[Config]] = LexicalConfig

    def estimate_seconds(self, catalog: Catalog, config: LexicalConfig, machine: Machine) -> float:
        # Measured on one core: about 0.5 ms per row for the text and the linear model, 1.2 ms with the terms of 75,000 rows.
        rows, parts = len(catalog), config.parts
        seconds = 0.5 + rows * (5e-4 + rows * 9e-9)
        if "linear" in parts and config.linear_loss == "huber":
            seconds += rows * 1e-3
        if "mlp" in parts:
            # A step touches every weight of the first layer.
            steps = config.nets * config.steps * (config.epochs + 10) / 8
            seconds += steps * min(8 * rows, 3 * config.max_terms) * config.hidden * 2e-9
        if "neighbours" in parts:
            seconds += rows * min(rows, config.neighbour_rows) * 1e-7
        if "kernel" in parts:
            sample, references = min(rows, config.kernel_sample_rows), min(rows, config.kernel_rows)
            found = sample**2 * _KERNEL_STEPS * 4e-8
            seconds += config.kernel_samples * (found + rows * references**2 * 4e-11) + rows * references * 3e-7
        return seconds + reading_seconds(catalog, config.encoder, config.max_length, machine)

    def estimate_memory(self, catalog: Catalog, config: LexicalConfig, machine: Machine) -> int:
        memory = text_memory(catalog)
        if "mlp" in config.parts:
            # Of a net's first layer there are weights, gradients, two moments and a spare, in four bytes each.
            memory += 20 * min(8 * len(catalog), 3 * config.max_terms) * config.hidden
        if "kernel" in config.parts:
            # Of a sample half a matrix for each block and field, in four bytes, and samples side by side; of the references some
            # in eight.
            references, sample = min(len(catalog), config.kernel_rows), min(len(catalog), config.kernel_sample_rows)
            at_once = min(config.kernel_samples, machine.cores)
            memory += max(2 * at_once * sample**2 * _KERNEL_MATRICES, 8 * references**2 * (8 + config.kernel_samples))
        return memory + states_memory(catalog, config.encoder)

    def train(self, train: Catalog, valid: Catalog | None, config: LexicalConfig, context: Context) -> LexicalModel:
        with threadpool_limits(context.threads):
            if len(train) < 2:
                raise UserError(
                    f"{len(train)} training rows are too few",
                    code="lexical-too-few-rows",
                    hint="give at least 2 training rows",
                )
            inputs, matrix = _inputs(train, config, context)
            context.check_time("reading the text")
            reader = None if config.encoder is None else reader_for(config.encoder, config.max_length, context)
            model = LexicalModel(inputs, range_of(np.log(train.known_prices)), reader)
            model = _learnt(model, train, matrix, config, context)
            if valid is not None:
                context.report(1, all_metrics(valid.known_prices, model.predict(valid)))
        return model

    def load(self, folder: Path) -> LexicalModel:
        return load_lexical(folder)


_KERNEL_STEPS, _KERNEL_MATRICES = 60, 130


def _learnt(
    model: LexicalModel, train: Catalog, matrix: sp.csr_matrix, config: LexicalConfig, context: Context
) -> LexicalModel:
    """The model with the learners that the config asks for."""
    log_prices, parts = np.log(train.known_prices), config.parts
    if "linear" in parts:
        model = replace(model, linear=_linear(matrix, log_prices, train.product_groups, config, context))
    if "mlp" in parts:
        weight = config.mlp_weight if config.model == "blend" else 1.0
        model = replace(model, net_inputs=config.net_inputs, net_number_weight=config.net_number_weight)
        model = replace(model, mlp_weight=weight)
        model = replace(model, nets=_nets(model, matrix, log_prices, config, context))
    if "neighbours" in parts:
        model = replace(model, nearest=_nearest(train, matrix, model.reader, config, context))
    if "kernel" in parts:
        rows = comparable(model.inputs, matrix, train, model.reader)
        recipe = gaussian_process.KernelSettings(config.kernel_samples, config.kernel_sample_rows, config.kernel_rows)
        found = gaussian_process.fit_kernel(
            rows,
            log_prices,
            train.product_groups,
            recipe,
            context.seed,
            _ticking(context, "fitting Gaussian processes"),
            context.threads,
        )
        model = replace(model, kernel=found)
    return model


def _inputs(train: Catalog, config: LexicalConfig, context: Context) -> tuple[TfidfInputs, sp.csr_matrix]:
    """The inputs learnt of these rows and their matrix: the same for every trial, so kept in the shared cache."""

    def write(folder: Path) -> None:
        inputs = learn_inputs(train, config.max_terms, config.number_weight, labelled=config.labelled_fields)
        inputs.save(folder)
        save_arrays(folder / "matrix.npz", sparse_arrays(inputs.matrix(train), "matrix"))

    def read(folder: Path) -> tuple[TfidfInputs, sp.csr_matrix]:
        return load_inputs(folder), sparse_from(load_arrays(folder / "matrix.npz"), "matrix")

    settings = [FEATURES_VERSION, train.fingerprint, config.max_terms, config.number_weight]
    settings += [True] if config.labelled_fields else []
    return context.cache.get("lexical", digest_json(settings), write, read)


def _linear(
    matrix: sp.csr_matrix, log_prices: Floats, groups: NDArray[np.int64], config: LexicalConfig, context: Context
) -> LinearModel:
    weights = row_weights(matrix, log_prices, groups, config.suspects, context.seed)
    alpha = config.alpha
    if alpha == "auto":
        folds = inner_folds(groups, _ALPHA_FOLDS, context.seed)
        tick = _ticking(context, "choosing the ridge penalty")
        alpha = choose_alpha(matrix, log_prices, folds, tick, weights)
    return (fit_ridge if config.linear_loss == "square" else fit_huber)(matrix, log_prices, alpha, weights)


def _nets(
    model: LexicalModel, matrix: sp.csr_matrix, log_prices: Floats, config: LexicalConfig, context: Context
) -> list[Mlp]:
    recipe, tick = config.recipe(len(log_prices)), _ticking(context, "training the net")
    return [
        train_net(model.seen(matrix, place), log_prices, recipe, context.seed * 1000 + place, tick)
        for place in range(config.nets)
    ]


def _nearest(
    train: Catalog, matrix: sp.csr_matrix, reader: FrozenTextEncoder | None, config: LexicalConfig, context: Context
) -> Nearest:
    telling = telling_columns(matrix) if reader is None else None
    vectors = matrix[:, telling] if reader is None else reader.states(train.texts.tolist())
    amounts = log_amounts(fields_of(train))
    among = learn_neighbours(
        vectors, np.log(train.known_prices), amounts, config.neighbours, config.neighbour_rows, context.seed
    )
    return Nearest(among, telling, config.sharpness, config.per_unit)


def _ticking(context: Context, doing: str) -> Callable[[], None]:
    return partial(context.check_time, doing)
