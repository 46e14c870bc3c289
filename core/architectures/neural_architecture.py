"""Base of the neural architectures `text` and `multimodal`: choice of encoders, training, saving and loading."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from tokenizers import Tokenizer

from core.architectures.neural_model import Encoders, Network, NeuralConfig
from core.atomic_files import digest, link, write_text
from core.cache import Cache
from core.data.catalog import Catalog
from core.encoders import tiny
from core.encoders.loading import (
    available,
    build_encoder,
    check_encoder,
    identity,
    load_encoder,
    max_positions,
    neobert_config,
    no_tokenizer,
    outline_of,
    parameters,
)
from core.encoders.neobert import training_bytes
from core.encoders.presets import AUTO, DOCUMENTED, RANDOM, TINY, TINY_VISION, Part, choose
from core.errors import UserError
from core.fields.field_inputs import FieldEncoder, learn_fields, reader_from, table_of, with_learnt, with_line
from core.fields.field_selection import learn_labelled_fields
from core.fields.learnt_fields import NO_FIELDS
from core.hardware import Machine, detect
from core.inputs.frozen_features import content_of, no_deadline
from core.inputs.tokens import clean
from core.nn.precision import PrecisionName, Settled, has_fast_bf16
from core.nn.precision import choose as choose_precision
from core.nn.price_bins import histogram_quantiles
from core.protocols.architecture import ALONE, Architecture, Context, Group, Limit, PassEstimate, Prices, Resolution
from core.training import checkpoint
from core.training.batching import Examples, MicroBatchSize
from core.training.inference import answers, prices_of
from core.training.trainer import check_compiler, fit, seeded, torch_threads

_SAVED, _ENCODERS = "model", "encoders"
_FORMAT, _READABLE = 3, (2, 3)
_KEPT = 2
"""Catalogs whose quantiles are remembered: a fold's and the test rows."""

# Coarse speeds for plans made before anything was measured. The tiny ones were measured on one core.
_FLOPS_PER_CORE: dict[Settled, float] = {"fp32": 5e10, "bf16": 1.2e11, "fp16": 5e10}
_FLOPS_PER_GPU = 5e13
_TINY_SECONDS_PER_TOKEN, _TINY_SECONDS_PER_PICTURE = 1.3e-5, 5.0e-4
_CHARACTERS_PER_TOKEN = 4
PATCHES = 50
_SHAPING = (
    "text_encoder", "vision_encoder", "freeze_text", "freeze_vision", "frozen_layers", "layer_decay", "lora_rank",
    "attention_heads", "compile",
)  # fmt: skip
"""Settings by which a network may turn out not to be possible."""
_CUDA_BYTES = 2**30
"""Of each GPU for CUDA itself and gaps between tensors, in estimates of what fits."""
_FROZEN_BYTES = 4
"""Of a frozen weight, whose copy in 16 bits does not outlive its layer."""
# Weights, gradients and two moments take 16 bytes; what 4,096 tokens leave behind in the layers took twice that (MiniLM, 22 M).
_PROCESS_BYTES, _BYTES_PER_WEIGHT = 900 * 2**20, 48


@dataclass(frozen=True)
class Runtime:
    """Device, threads, cache and process group that a network reads a catalog with.

    cache: None to keep nothing. check_time: called with what is being done; raises OutOfTime where there is no time left.
    """

    device: str = "cpu"
    threads: int | None = None
    cache: Cache | None = None
    check_time: Callable[[str], None] = no_deadline
    group: Group = ALONE


@dataclass(eq=False, repr=False)
class NeuralModel:
    """Trained network with tokenizer, fields and config (`core.protocols.architecture.Model`).

    A group that trained it also predicts together: all of its processes ask for the same prices.
    """

    architecture: NeuralArchitecture
    network: Network
    tokenizer: Tokenizer
    config: NeuralConfig
    fields: FieldEncoder | None = None
    best_epoch: int = 1
    runtime: Runtime = Runtime()
    _quantiles: dict[str, Prices] = field(init=False, default_factory=dict)

    @cached_property
    def tokenizer_key(self) -> str:
        """Names the tokenizer by its content."""
        return digest(self.tokenizer.to_str())

    def predict(self, catalog: Catalog) -> Prices:
        return self._read(catalog.without_prices(), self.runtime.group)

    def predict_quantiles(self, catalog: Catalog) -> Prices | None:
        """(n, 9) prices at `core.protocols.architecture.LEVELS` if the head has bins. Each process of a group may ask alone."""
        if self.network.head.bins is None:
            return None
        rows = catalog.without_prices()
        if rows.fingerprint not in self._quantiles:
            self._read(rows, ALONE)
        return self._quantiles[rows.fingerprint]

    def _read(self, rows: Catalog, group: Group) -> Prices:
        """(n,) prices. Their quantiles come with the same pass and are kept: reading the rows again would cost as much."""
        examples, head = self.architecture.examples(self, rows), self.network.head
        with torch_threads(self.runtime.threads):
            read = answers(
                self.network, examples, self.config, self.runtime.device, head.describe, (head.described,), group
            )
        if head.bins is not None:
            quantiles = np.exp(histogram_quantiles(read[:, 1:], head.bins.edges.double().cpu().numpy()))
            self._quantiles = dict([*self._quantiles.items(), (rows.fingerprint, quantiles)][-_KEPT:])
        return prices_of(read[:, 0], examples.ids)

    def save(self, folder: Path) -> None:
        frozen = sorted(self.config.frozen())
        for part in frozen:
            self._save_frozen(part, folder / _frozen_file(part))
        own = {name: tensor for name, tensor in self.network.state_dict().items() if _part_of(name) not in frozen}
        write_text(folder / "tokenizer.json", self.tokenizer.to_str())
        record = {
            "format": _FORMAT,
            "architecture": self.architecture.name,
            "config": self.config.model_dump(mode="json"),
            "best_epoch": self.best_epoch,
            "encoders": {part: encoder.spec for part, encoder in self.network.encoders.items()},
            "fields": None if self.fields is None else self.fields.record(),
            "frozen": frozen,
        }
        checkpoint.write(folder, _SAVED, own, record)

    def _save_frozen(self, part: Part, path: Path) -> None:
        """Models with the same frozen encoder and one cache share its file."""
        encoder = self.network.encoders[part]

        def write(folder: Path) -> None:
            checkpoint.write_tensors(folder / path.name, encoder.state_dict())

        path.parent.mkdir(parents=True, exist_ok=True)
        if self.runtime.cache is None:
            write(path.parent)
        else:
            self.runtime.cache.get(
                "encoders", content_of(encoder), write, lambda folder: link(folder / path.name, path)
            )


class NeuralArchitecture(Architecture):
    """Base class of architectures around one network: all that does not depend on what the network looks like."""

    stops_on_valid: ClassVar[bool] = True
    data_parallel: ClassVar[bool] = True
    is_network: ClassVar[bool] = True
    encoder_settings: ClassVar[tuple[str, ...]] = ("text_encoder",)
    random_encoders: ClassVar[frozenset[str]] = RANDOM
    freezing_settings: ClassVar[Mapping[str, str]] = {"text_encoder": "freeze_text"}

    @abstractmethod
    def network(self, encoders: Encoders, config: Any, numbers: int = 0) -> Network:
        """The whole network around these encoders. numbers: that its branch, if the config has one, reads of a row's fields."""

    @abstractmethod
    def examples(self, model: NeuralModel, catalog: Catalog) -> Examples:
        """The catalog's rows as this model's network takes them."""

    def resolve(self, settings: Mapping[str, Any], machine: Machine, minutes: float | None) -> Resolution:
        settled, notes = dict(settings), []
        defaults: Any = self.Config()
        for part in defaults.encoders():
            key = f"{part}_encoder"
            name, why = str(settled.get(key, AUTO)), "named"
            if name == AUTO:
                name, why = choose(part, machine, available(), minutes)
                why = f"auto: {why}"
            if name != _tiny(part):
                check_encoder(name, part)
            settled[key] = name
            notes.append(f"{part} encoder: {name} ({why})")
        notes += self._keep_text(settled)
        names = {part: settled[f"{part}_encoder"] for part in defaults.encoders()}
        precision, why = _precision(settled.get("precision", defaults.precision), names, machine)
        notes.append(f"precision: {precision} ({why})")
        return Resolution(settled, self._space(settled), tuple(notes))

    def _keep_text(self, settled: dict[str, Any]) -> list[str]:
        """Freezes a pretrained text encoder beside a random vision encoder, and says so: no one rate suits both.

        Raises UserError where the user's settings ask for both to be trained.
        """
        if (
            settled["text_encoder"] == TINY
            or settled.get("vision_encoder") != TINY_VISION
            or settled.get("freeze_text")
        ):
            return []
        if settled.get("freeze_text") is False or settled.get("lora_rank"):
            raise UserError(
                f"{settled['text_encoder']} is pretrained and {TINY_VISION} is random: no one learning rate suits both",
                code="encoders-of-two-rates",
                hint=f"name a pretrained vision encoder (--vision-encoder {DOCUMENTED['vision']}), or leave out the settings "
                "by which the text encoder is trained",
            )
        settled["freeze_text"] = True
        return [
            f"text encoder's weights: as they are ({TINY_VISION} starts from random weights, and no one learning rate suits "
            f"both; `python -m core.encoders fetch {DOCUMENTED['vision']}` downloads a pretrained one)"
        ]

    def _space(self, settled: Mapping[str, Any]) -> str:
        """Random weights, and a head alone, learn nothing at the rates that suit encoders which know their language."""
        if settled["text_encoder"] == TINY:
            return f"{self.name}-tiny"
        if not settled.get("freeze_text"):
            return self.name
        return f"{self.name}-{'tiny-vision' if settled.get('vision_encoder') == TINY_VISION else 'frozen'}"

    def identity(self, config: Any) -> dict[str, str]:
        own = {TINY: tiny.TEXT_IDENTITY, TINY_VISION: tiny.VISION_IDENTITY}
        return {
            part: own[name] if name == _tiny(part) else identity(name, part)
            for part, name in self._settled(config).encoders().items()
        }

    def limits(self, config: Any) -> dict[str, Limit]:
        name = self._settled(config).text_encoder
        return {"max_length": Limit(max_positions(name), name)}

    def check(self, configs: Iterable[Any]) -> None:
        """Builds each network that differs in its parts, without numbers."""
        seen = set()
        for config in map(self._settled, configs):
            shape = tuple(getattr(config, name, None) for name in _SHAPING)
            if shape not in seen:
                seen.add(shape)
                if config.compile:
                    check_compiler(detect().device)
                encoders = {part: outline_of(name, part) for part, name in config.encoders().items()}
                with torch.device("meta"):
                    network = self.network(encoders, config, 1)
                    network.prepare_encoder()
                    network.rates()

    def refit_config(self, config: Any, best_epoch: int) -> Any:
        return config.model_copy(update={"stop_epoch": best_epoch})

    def estimate_seconds(self, catalog: Catalog, config: Any, machine: Machine) -> float:
        config = self._settled(config)
        precision, _ = _precision(config.precision, config.encoders(), machine)
        speed = _FLOPS_PER_GPU if machine.has_gpu else _FLOPS_PER_CORE[precision] * machine.cores
        characters = np.array([len(text) for text in catalog.texts])
        tokens = float(np.minimum(characters / _CHARACTERS_PER_TOKEN + 2, config.max_length).sum())
        epochs = config.stop_epoch or config.epochs
        seconds = 0.0
        for part, name in config.encoders().items():
            units = tokens if part == "text" else float(len(catalog) * config.per_row(part))
            if name == _tiny(part):
                seconds += epochs * units * (_TINY_SECONDS_PER_TOKEN if part == "text" else _TINY_SECONDS_PER_PICTURE)
                continue
            # FLOPs per weight and token: 2 forward, and twice that backward; what is frozen is read once and cached.
            passes = (
                2 * config.frozen_passes(part) if part in config.frozen() else _learning_passes(config, part) * epochs
            )
            seconds += passes * parameters(name, part) * units * (1 if part == "text" else PATCHES) / speed
        return seconds

    def estimate_memory(self, catalog: Catalog, config: Any, machine: Machine) -> int:
        config = self._settled(config)
        weights = sum(parameters(name, part) for part, name in config.encoders().items() if name != _tiny(part))
        held = 0 if machine.has_gpu else _BYTES_PER_WEIGHT * int(weights)
        return _PROCESS_BYTES + held + 8 * sum(map(len, catalog.texts))

    def estimate_pass(self, config: Any, gpu_memory: int) -> PassEstimate | None:
        config = self._settled(config)
        shape = neobert_config(config.text_encoder)
        others = config.encoders().keys() - {"text"}
        counted = (
            not (config.frozen_layers or config.lora_rank or "text" in config.frozen()) and others <= config.frozen()
        )
        if shape is None or not counted or config.precision == "fp32":
            return None
        beside, each = training_bytes(shape)
        beside += sum(
            _FROZEN_BYTES * int(parameters(name, part)) for part, name in config.encoders().items() if part in others
        )
        row = min(config.max_length, shape.max_length) + sum(PATCHES * (config.per_row(part) - 1) for part in others)
        first = MicroBatchSize.by_device("cuda", config.tokens_per_pass).tokens
        fitting = max(0, (gpu_memory - _CUDA_BYTES - beside) // (row * each))
        rows = min(fitting, config.batch_size, max(1, first // row))
        found = first
        while min(found // row, config.batch_size) > max(1, fitting):
            found //= 2
        return PassEstimate(row, rows * row, first, found, beside + rows * row * each)

    def train(self, train: Catalog, valid: Catalog | None, config: Any, context: Context) -> NeuralModel:
        config = self._settled(config)
        with seeded(context):
            encoders, tokenizer = self._encoders(config, train, context.cache)
            fields = _learn_fields(train, config, context.cache) if config.has_branch else None
            network = self.network(encoders, config, fields.width if fields else 0)
            network.head.start_at(train.known_prices)
            network.prepare_encoder()
            runtime = Runtime(context.device, context.threads, context.cache, context.check_time, context.group)
            reader = NeuralModel(self, network, tokenizer, config, fields, runtime=runtime)
            evaluated = None if valid is None else self.examples(reader, valid)
            best_epoch = fit(network, self.examples(reader, train), evaluated, config, context)
            network.finish_encoder()
        runtime = replace(runtime, check_time=no_deadline)
        return NeuralModel(self, network, tokenizer, config, fields, best_epoch, runtime)

    def load(self, folder: Path) -> NeuralModel:
        weights, record = checkpoint.read(folder, _SAVED)
        model = self.rebuild(folder, record)
        for part in record.get("frozen", ()):  # format 2 has them among its weights
            read = checkpoint.read_tensors(folder / _frozen_file(part))
            weights |= {f"{_ENCODERS}.{part}.{name}": tensor for name, tensor in read.items()}
        model.network.load_state_dict(weights)
        return model

    def rebuild(self, folder: Path, record: Mapping[str, Any]) -> NeuralModel:
        """The model of that record (`NeuralModel.save`) with random weights; the tokenizer is that in `folder`."""
        if record["format"] not in _READABLE or record["architecture"] != self.name:
            raise UserError(
                f"{folder} holds a model of architecture '{record['architecture']}' in format {record['format']}, "
                f"not of '{self.name}' in format {_FORMAT}",
                code="model-other-format",
                hint="load it with the architecture and version of Pricestack that saved it",
            )
        config: Any = self.Config.model_validate(record["config"])
        encoders: Encoders = {part: build_encoder(spec) for part, spec in record["encoders"].items()}
        fields = reader_from(record["fields"]) if record["fields"] else None
        network = self.network(encoders, config, fields.width if fields else 0)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return NeuralModel(self, network, tokenizer, config, fields, int(record["best_epoch"]))

    def _settled(self, config: Any) -> Any:
        """The config with every `auto` replaced, for callers that did not ask `resolve` first."""
        if AUTO not in config.encoders().values():
            return config
        asked = {f"{part}_encoder": name for part, name in config.encoders().items()}
        return config.model_copy(update=self.resolve(asked, detect(), None).settings)

    def _encoders(self, config: Any, train: Catalog, cache: Cache) -> tuple[Encoders, Tokenizer]:
        encoders: Encoders = {}
        tokenizer: Tokenizer | None = None
        for part, name in config.encoders().items():
            if name == TINY_VISION and part == "vision":
                encoders[part] = tiny.TinyVision()
            elif name == TINY and part == "text":
                tokenizer = tiny.train_tokenizer([clean(text) for text in texts_of(train, config, cache)])
                encoders[part] = tiny.text_encoder(tokenizer.get_vocab_size())
            else:
                encoders[part], own = load_encoder(name, part)
                tokenizer = own or tokenizer
        if tokenizer is None:
            raise no_tokenizer(config.text_encoder)
        return encoders, tokenizer


def _frozen_file(part: Part) -> str:
    return f"encoder-{part}.safetensors"


def _part_of(name: str) -> str | None:
    """The part to whose encoder the network's tensor of that name belongs."""
    first, *rest = name.split(".")
    return rest[0] if first == _ENCODERS else None


def _precision(asked: PrecisionName, encoders: Mapping[Part, str], machine: Machine) -> tuple[Settled, str]:
    """(format, reason) in which a network around these encoders computes on that machine."""
    size = sum(parameters(name, part) for part, name in encoders.items() if name != _tiny(part))
    return choose_precision(asked, machine.device, size, fast_bf16=has_fast_bf16(machine.device))


def texts_of(catalog: Catalog, config: NeuralConfig, cache: Cache | None) -> list[str]:
    """Texts of the rows as the text encoder reads them, before they are cleaned."""
    return with_line(catalog.texts, table_of(catalog, cache)) if config.has_line else catalog.texts.tolist()


def _learn_fields(train: Catalog, config: NeuralConfig, cache: Cache) -> FieldEncoder:
    learnt = learn_labelled_fields(train) if config.labelled_fields else NO_FIELDS
    return learn_fields(with_learnt(train, cache, learnt), learnt)


def _learning_passes(config: NeuralConfig, part: Part) -> int:
    """FLOPs per weight and token; adapters need no gradients of the matrices that they change."""
    return 4 if part == "text" and config.lora_rank else 6


def _tiny(part: Part) -> str:
    return TINY if part == "text" else TINY_VISION
