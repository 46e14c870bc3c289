"""`boosted` architecture: LightGBM on fields, target encodings, neighbours' prices and reduced text; seconds to minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from threadpoolctl import threadpool_limits

from core.arrays import Floats, load_arrays, save_arrays
from core.atomic_files import digest, digest_json, read_json, write_json, write_text
from core.classical.frozen_encoder import SETTING, ClassicalArchitecture, reader_for, reading_seconds, states_memory
from core.classical.gradient_boosting import OBJECTIVES, boost, boost_quantiles, choose_rounds
from core.classical.target_encoding import DIMENSIONS
from core.classical.target_features import (
    TargetFeatures,
    TargetFeatureSettings,
    learn_target_features,
    load_target_features,
    save_target_features,
)
from core.classical.tfidf_inputs import text_memory
from core.data.catalog import Catalog
from core.data.folds import inner_folds
from core.fields.learnt_fields import LABELLED
from core.fields.reader import FEATURES_VERSION
from core.hardware import Machine
from core.metrics import all_metrics
from core.protocols.architecture import LEVELS, Config, Context, PriceRange, Prices, range_of
from core.quality.label_noise import without_suspects

AMOUNTS = frozenset(name for names in DIMENSIONS.values() for name in names) | {"amount", "value"}
"""Number fields in which a `monotone` model never falls."""


class BoostedConfig(Config):
    """Settings of `boosted`."""

    added_later: ClassVar[Mapping[str, Any]] = {LABELLED: False}

    objective: Literal["l2", "l1", "huber", "smape"] = Field("huber", description="the trees' loss of log prices")
    suspects: Literal["keep", "drop"] = Field("keep", description="rows far from what other rows say")
    learning_rate: float = Field(0.05, gt=0, le=1, description="weight of each tree")
    num_leaves: int = Field(31, ge=2, le=1024, description="leaves per tree")
    min_leaf_rows: int = Field(5, ge=1, description="rows that a leaf must hold")
    max_rounds: int = Field(400, ge=1, le=20_000, description="most trees; how many: by inner group folds")
    feature_fraction: float = Field(0.7, gt=0, le=1, description="share of the features that a tree may use")
    extra_trees: bool = Field(False, description="one random threshold per feature and split instead of the best")
    row_fraction: float = Field(0.8, gt=0, le=1, description="share of the rows that a tree sees")
    l2: float = Field(3.0, ge=0, description="penalty on leaf values")
    huber_delta: float = Field(0.3, gt=0, description="where Huber's loss turns from square to linear, in log price")
    bags: int = Field(2, ge=1, le=32, description="boosters with seeds of their own that are averaged")
    inner_folds: int = Field(5, ge=2, le=20, description="inner group folds for out-of-fold price features")
    smoothing: float = Field(3.0, ge=0, description="rows' worth of the overall mean mixed into each target statistic")
    neighbours: int = Field(8, ge=1, le=200, description="nearest products whose prices are summarised")
    neighbour_rows: int = Field(20_000, ge=1, description="most products that neighbours are sought among")
    svd_components: int = Field(16, ge=0, le=512, description="components of the TF-IDF matrix")
    max_terms: int = Field(60_000, ge=100, description="terms kept per TF-IDF block, the most frequent")
    number_weight: float = Field(0.1, gt=0, le=10, description="size of number fields beside a row of TF-IDF (1)")
    labelled_fields: bool = Field(
        False, description="labelled lines of any name (`Baujahr: 2004`) are fields as well, by frequency and content"
    )
    monotone: bool = Field(False, description="no larger amount makes a product cheaper; not with l1")
    quantiles: bool = Field(False, description="also learn the deciles of each price")
    quantile_rounds: int = Field(60, ge=1, le=5_000, description="trees per decile, at a learning rate of 0.1")
    frozen_encoder: str | None = Field(
        None,
        description="short name, hub name or folder of a frozen text encoder whose states are features; auto: by policy",
    )
    max_length: int = Field(256, ge=8, le=100_000, description="tokens of each text that the encoder reads")
    embedding_components: int = Field(24, ge=0, le=4096, description="principal components of the encoder's states")

    @model_validator(mode="after")
    def _monotone_fits(self) -> BoostedConfig:
        if self.monotone and self.objective == "l1":
            raise ValueError(
                "LightGBM refuses monotone constraints with objective l1; take huber, smape or l2, or monotone=false"
            )
        return self

    @property
    def encoder(self) -> str | None:
        """The encoder that is read."""
        return self.frozen_encoder

    def without_effect(self) -> dict[str, str]:
        unused = {} if self.objective == "huber" else {"huber_delta": f"with objective={self.objective}"}
        if not self.quantiles:
            unused["quantile_rounds"] = "without quantiles"
        if not self.frozen_encoder:
            unused |= dict.fromkeys(("max_length", "embedding_components"), f"without {SETTING}")
        return unused

    def features(self, seed: int) -> TargetFeatureSettings:
        """The part of the settings that decides the feature table."""
        shared = {name: getattr(self, name) for name in TargetFeatureSettings.__dataclass_fields__ if name != "seed"}
        return TargetFeatureSettings(**shared, seed=seed)

    def params(self, names: Sequence[str], threads: int, seed: int) -> dict[str, Any]:
        """LightGBM's parameters for features of these names."""
        constraints = [int(name in AMOUNTS) for name in names] if self.monotone else None
        return {
            "objective": OBJECTIVES[self.objective],
            "alpha": self.huber_delta,
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_leaf_rows,
            "feature_fraction": self.feature_fraction,
            "extra_trees": self.extra_trees,
            "bagging_fraction": self.row_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.l2,
            "metric": "None",
            "num_threads": threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            "monotone_constraints": constraints,
        }

    def quantile_params(self, threads: int, seed: int) -> dict[str, Any]:
        """LightGBM's parameters for the deciles: fewer and larger steps, and no constraints, which LightGBM refuses for them."""
        return self.params((), threads, seed) | {"learning_rate": 0.1, "monotone_constraints": None}


@dataclass
class BoostedModel:
    """Boosters on one feature table; `centre` is the log price that they start from."""

    target_features: TargetFeatures
    boosters: list[lgb.Booster]
    centre: float
    range: PriceRange
    quantiles: list[lgb.Booster]
    best_epoch: int = 1

    def predict(self, catalog: Catalog) -> Prices:
        return self.range.prices(self.centre + self._outputs(self.boosters, catalog).mean(axis=1))

    def predict_quantiles(self, catalog: Catalog) -> Prices | None:
        if not self.quantiles:
            return None
        # Crossing quantiles are sorted (Chernozhukov, Fernandez-Val, Galichon 2010).
        return self.range.prices(self.centre + np.sort(self._outputs(self.quantiles, catalog), axis=1))

    def _outputs(self, boosters: list[lgb.Booster], catalog: Catalog) -> Floats:
        features = self.target_features.features(catalog)
        return np.column_stack([np.asarray(booster.predict(features, num_threads=1)) for booster in boosters])

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_target_features(self.target_features, folder)
        for name, boosters in (("booster", self.boosters), ("quantile", self.quantiles)):
            for place, booster in enumerate(boosters):
                write_text(folder / f"{name}-{place}.txt", booster.model_to_string())
        record = {
            "boosters": len(self.boosters),
            "quantiles": len(self.quantiles),
            "centre": self.centre,
            "range": asdict(self.range),
        }
        write_json(folder / "boosted.json", record)


class BoostedArchitecture(ClassicalArchitecture):
    """Gradient-boosted trees on structured fields and price statistics."""

    name: ClassVar[str] = "boosted"
    summary: ClassVar[str] = "LightGBM on structured fields, out-of-fold price statistics and reduced text"
    Config: ClassVar[type[Config]] = BoostedConfig

    def estimate_seconds(self, catalog: Catalog, config: BoostedConfig, machine: Machine) -> float:
        # Measured on one core: about 1 ms per row for the features, and 0.3 microseconds per row and tree of 15 leaves.
        trees = config.max_rounds * (_ROUND_FOLDS + config.bags) * config.num_leaves / 15
        trees += len(LEVELS) * config.quantile_rounds if config.quantiles else 0
        reading = reading_seconds(catalog, config.frozen_encoder, config.max_length, machine)
        return 1.0 + len(catalog) * (1e-3 + 0.3e-6 * trees) + reading

    def estimate_memory(self, catalog: Catalog, config: BoostedConfig, machine: Machine) -> int:
        columns = 100 + config.svd_components
        features = 40 * len(catalog) * columns  # in five copies at most
        return text_memory(catalog) + features + states_memory(catalog, config.frozen_encoder)

    def train(self, train: Catalog, valid: Catalog | None, config: BoostedConfig, context: Context) -> BoostedModel:
        with threadpool_limits(context.threads):
            if config.suspects == "drop":
                train = without_suspects(train, config.max_terms, config.number_weight, context.seed)
            folds = inner_folds(train.product_groups, config.inner_folds, context.seed)
            target_features, features = _target_features(train, folds, config, context)
            log_prices = np.log(train.known_prices)
            centre = float(np.median(log_prices))
            target = log_prices - centre

            def tick() -> None:
                context.check_time("boosting trees")

            params = config.params(target_features.names, context.threads, context.seed)
            rounds = choose_rounds(features, target, folds % _ROUND_FOLDS, params, config.max_rounds, tick)
            boosters = [
                boost(
                    features, target, target_features.names, params | {"seed": context.seed * 1000 + bag}, rounds, tick
                )
                for bag in range(config.bags)
            ]
            quantiles = []
            if config.quantiles:
                own = config.quantile_params(context.threads, context.seed)
                quantiles = boost_quantiles(features, target, target_features.names, own, config.quantile_rounds, tick)
            model = BoostedModel(target_features, boosters, centre, range_of(log_prices), quantiles)
            if valid is not None:
                context.report(1, all_metrics(valid.known_prices, model.predict(valid)))
        return model

    def load(self, folder: Path) -> BoostedModel:
        record = read_json(folder / "boosted.json")
        boosters, quantiles = (
            [
                lgb.Booster(model_str=(folder / f"{name}-{place}.txt").read_text(encoding="utf-8"))
                for place in range(record[f"{name}s"])
            ]
            for name in ("booster", "quantile")
        )
        return BoostedModel(
            load_target_features(folder), boosters, record["centre"], PriceRange(**record["range"]), quantiles
        )


_ROUND_FOLDS = 3


def _target_features(
    train: Catalog, folds: NDArray[np.int64], config: BoostedConfig, context: Context
) -> tuple[TargetFeatures, Floats]:
    """TargetFeatures of these rows and their feature table: the same for most trials, so kept in the shared cache."""
    settings = config.features(context.seed)
    reader = None if config.frozen_encoder is None else reader_for(config.frozen_encoder, config.max_length, context)

    def write(folder: Path) -> None:
        target_features, features = learn_target_features(train, folds, settings, context.check_time, reader)
        save_target_features(target_features, folder)
        save_arrays(folder / "features.npz", {"features": features})

    def read(folder: Path) -> tuple[TargetFeatures, Floats]:
        return load_target_features(folder, reader), load_arrays(folder / "features.npz")["features"]

    record = [FEATURES_VERSION, asdict(settings), None if reader is None else reader.record]
    key = digest(train.fingerprint, folds.astype("<i8").tobytes(), digest_json(record))
    return context.cache.get("boosted", key, write, read)
