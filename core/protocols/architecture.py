"""Base class of architectures (ways to predict a price), and the types it uses: Config, Context, Model, Resolution.

Sweep, cross-validation and stacking use architectures through this module alone; serving also exports the networks of
`core.architectures.neural_architecture`. To add one: write a module with a subclass of `Architecture`, add one line to the
registry in `core/architectures/__init__.py` and a file to `search_spaces/`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from core.arrays import Floats, RowIndices
from core.cache import Cache
from core.data.catalog import Catalog
from core.errors import OutOfTime, UserError, suggestion
from core.hardware import Machine

if TYPE_CHECKING:  # architectures without a network import this page, and must not import torch
    from torch import Tensor


class Ended(Exception):
    """Rank 0 ended the training; it alone knows why."""


class PeerLost(Exception):
    """Another process of the group is gone."""


class Group:
    """rank: from 0, which is the one that decides, reports and writes. size: number of processes."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share_of(self, rows: RowIndices) -> RowIndices:
        """Every `size`-th of these rows, beginning with the `rank`-th: sorted by length, they are alike on all ranks."""
        return rows[self.rank :: self.size]

    def decide(self, *flags: bool) -> tuple[bool, ...]:
        """Flags of rank 0, on all ranks: for what depends on its clock, its disk or chance."""
        return flags

    def any(self, flag: bool) -> bool:
        """True if it is true on any rank."""
        return flag

    def lead(self, work: Callable[[], None]) -> None:
        """Runs this on rank 0 while the others wait. If it raises there, they raise Ended."""
        work()

    def add(self, numbers: Tensor) -> Tensor:
        """The sum over the ranks, on each of them; same shape everywhere."""
        return numbers

    def add_gradients(self, weights: Sequence[Tensor]) -> None:
        """Replaces the dense gradients of these weights by their sums. A gradient that no rank has stays None."""

    def copy(self, weights: Sequence[Tensor]) -> None:
        """Copies the weights of rank 0 to all ranks."""

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Tensors of all ranks, by rank, on the processor; same shape everywhere."""
        return [tensor]

    def share(self, content: bytes | None) -> bytes | None:
        """Bytes of rank 0, on all ranks; the others' argument is ignored."""
        return content


ALONE = Group()


Prices = NDArray[np.float64]
Report = Callable[[int, Mapping[str, float]], None]


class Config(BaseModel):
    """Base class of architectures' settings: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    not_learnt: ClassVar[frozenset[str]] = frozenset()
    """Settings that change how a training runs, and (rounding apart) not what comes of it."""
    added_later: ClassVar[Mapping[str, Any]] = {}
    """Settings that older members did not have, with the value that describes those members: their ids leave it out."""

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing given the others, each with the reason (`mixup_alpha`: `without use_mixup`)."""
        return {}

    def canonical(self) -> dict[str, Any]:
        """The settings that matter, JSON-ready: two configs that train the same model give the same dictionary."""
        old = {name for name, value in self.added_later.items() if getattr(self, name) == value}
        return self.model_dump(mode="json", exclude={*self.not_learnt, *self.without_effect(), *old})


ConfigT = TypeVar("ConfigT", bound=Config)


def make_config(kind: type[ConfigT], settings: Mapping[str, Any]) -> ConfigT:
    """`kind(**settings)`; an unknown key or a bad value is a UserError that names it and the nearest known name."""
    for key in settings:
        if key not in kind.model_fields:
            raise UserError(
                f"unknown setting '{key}'", code="config-unknown-setting", hint=suggestion(key, kind.model_fields)
            )
    try:
        return kind.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the config"
        given = f" (given: {first['input']!r})" if first["loc"] else ""
        raise UserError(
            f"bad value for {name}: {first['msg']}{given}",
            code="config-bad-value",
            hint=f"choose another value for {name}",
        ) from None


def ignore_report(epoch: int, metrics: Mapping[str, float]) -> None:
    """Report of a training that nobody watches: does nothing."""


@dataclass(frozen=True)
class Context:
    """Settings of one training's run (seed, device, threads, folder, deadline); never of what is learnt.

    seed: of every random choice. device: `cpu`, `cuda`, `cuda:1`, `mps`. threads: processor threads it may use. cache: of
    content-keyed entries that all trainings share. folder: this training's own folder, for checkpoints. report: called
    after each epoch (from 1) with metrics, at least `smape` of the validation rows. deadline: `time.time()` value at which to
    stop in order with the best model so far, or None. checkpoint_seconds: how old the last state may be when a step begins;
    a training that is killed loses no more than that. group: of the processes that train this model together.
    """

    seed: int
    cache: Cache
    folder: Path
    device: str = "cpu"
    threads: int = 1
    report: Report = field(default=ignore_report)
    deadline: float | None = None
    checkpoint_seconds: float = 60.0
    group: Group = ALONE

    @property
    def out_of_time(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline

    def check_time(self, doing: str) -> None:
        """Raises OutOfTime, which says what was being done, once the deadline has passed."""
        if self.out_of_time:
            raise OutOfTime(f"out of time while {doing}")


@dataclass(frozen=True)
class Resolution:
    """Settings of the user settled for this machine, before anything is trained.

    settings: the user's with every `auto` replaced. space: the stem of the search space's file (`text`, `text-tiny`).
    notes: which choice was made and why, one sentence each, printed first and written into every member.
    """

    settings: dict[str, Any]
    space: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limit:
    """Value of a setting beyond which higher ones change nothing. owner: the encoder that sets it."""

    value: int
    owner: str


@dataclass(frozen=True)
class PassEstimate:
    """Expected largest pass of a training through a network on a GPU.

    row: tokens of the longest row. tokens: of the whole rows that fit; 0: not one fits. first, found: tokens that training tries
    at first, and those at which it arrives by halving. memory: bytes of a pass of `tokens`, weights included.
    """

    row: int
    tokens: int
    first: int
    found: int
    memory: int


@runtime_checkable
class Model(Protocol):
    """Trained model: predicts, and can be written to a folder and read back from it."""

    @property
    def best_epoch(self) -> int:
        """Epoch (from 1) whose weights these are; 1 where training has no epochs."""

    def predict(self, catalog: Catalog) -> Prices:
        """(n,) prices in the units of the training rows, finite, > 0; row i depends on row i of `catalog` alone."""

    def predict_quantiles(self, catalog: Catalog) -> Prices | None:
        """(n, q) prices at increasing quantiles where the model knows more than a point, else None."""

    def save(self, folder: Path) -> None:
        """Writes everything `load` needs, without pickle: safetensors, JSON, NumPy arrays, LightGBM text."""


class Architecture(ABC):
    """Base class of the ways to predict prices. Stateless: all state is in configs, contexts and models."""

    name: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[Config]]
    stops_on_valid: ClassVar[bool] = False
    """True where `train` looks at `valid` to decide anything: such a model may not predict those rows for a member."""
    data_parallel: ClassVar[bool] = False
    """True where several processes (`Context.group`) can train one model together; others are never given a group."""
    is_network: ClassVar[bool] = False
    """True for torch networks, exported in the format that the user asks for; others are exported as saved, need no torch."""
    reads_images: ClassVar[bool] = False
    """True where images matter: only then do they have to be where the training runs."""
    encoder_settings: ClassVar[tuple[str, ...]] = ()
    """Config fields that name encoders."""
    random_encoders: ClassVar[frozenset[str]] = frozenset()
    """Names of encoders that start from random weights."""
    freezing_settings: ClassVar[Mapping[str, str]] = {}
    """By config field that names an encoder the one that keeps its weights, where a head alone can be trained in less time."""

    def resolve(self, settings: Mapping[str, Any], machine: Machine, minutes: float | None) -> Resolution:
        """Settles what depends on the machine. Raises UserError at once for an encoder that is named but cannot be had."""
        return Resolution(dict(settings), self.name)

    def encoder_names(self, settings: Mapping[str, Any]) -> set[str]:
        """Names of the encoders that these settings ask for."""
        return {str(settings[key]) for key in self.encoder_settings if settings.get(key) is not None}

    def starts_random(self, settings: Mapping[str, Any]) -> bool:
        """True where there are encoders and all of them start from random weights."""
        names = self.encoder_names(settings)
        return bool(names) and names <= self.random_encoders

    def uses_gpu(self, settings: Mapping[str, Any]) -> bool:
        """True if a training with these settings, all of a config's, computes on a GPU where there is one."""
        return self.is_network

    def identity(self, config: Any) -> dict[str, str]:
        """Content hashes of what the config only names (encoder folders), part of a member's id."""
        return {}

    def limits(self, config: Any) -> dict[str, Limit]:
        """Settings of which every value beyond a limit trains what the limit itself does (`max_length`)."""
        return {}

    def check(self, configs: Iterable[Any]) -> None:  # noqa: B027
        """Raises UserError for the first of these configs whose training would fail at once, whatever the rows are."""

    def effective(self, config: Any) -> Any:
        """The config with each such setting at its limit at most: it trains the same model."""
        lowered = {name: min(getattr(config, name), limit.value) for name, limit in self.limits(config).items()}
        return config.model_copy(update=lowered)

    def refit_config(self, config: Any, best_epoch: int) -> Any:
        """The config that trains without validation rows what the search found to be best after `best_epoch` epochs."""
        return config

    @abstractmethod
    def estimate_seconds(self, catalog: Catalog, config: Any, machine: Machine) -> float:
        """Rough guess of one training's seconds on all of `catalog`, for plans made before anything was measured."""

    @abstractmethod
    def estimate_memory(self, catalog: Catalog, config: Any, machine: Machine) -> int:
        """Rough guess of the most bytes of memory that a process holds while it trains on all of `catalog`."""

    def estimate_pass(self, config: Any, gpu_memory: int) -> PassEstimate | None:
        """The pass through a GPU of so many bytes; None where none is needed or no estimate is known."""
        return None

    def prepare(self, catalogs: Mapping[str, Catalog], config: Any, cache: Cache, *, drop_bad: bool) -> tuple[str, ...]:
        """Puts into the cache, once and before several processes ask for it, what no training changes (decoded images).

        catalogs: all rows by role (`train`, `test`). drop_bad: what is damaged counts as missing, and is in the notes that come
        back, instead of raising UserError.
        """
        return ()

    @abstractmethod
    def train(self, train: Catalog, valid: Catalog | None, config: Any, context: Context) -> Model:
        """Learns from `train` (with prices). `valid`, where given, is reported on, and stops the training if `stops_on_valid`.

        Raises OutOfTime if the deadline passes before there is a model, and UserError for what the user can mend.
        """

    @abstractmethod
    def load(self, folder: Path) -> Model:
        """Reads back what `Model.save` wrote; predicts the same prices."""


LEVELS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of `Model.predict_quantiles`, increasing: the nine deciles."""


_BEYOND = 1.0


@dataclass(frozen=True)
class PriceRange:
    """Range of log prices that a model may predict."""

    low: float
    high: float

    def prices(self, log_prices: Floats) -> Floats:
        """exp of the log prices, (n,), held within the range."""
        return np.exp(np.clip(log_prices, self.low, self.high))


def range_of(log_prices: Floats) -> PriceRange:
    """Range from e times below the lowest training price to e times above the highest: strange texts get no wilder price."""
    return PriceRange(float(log_prices.min()) - _BEYOND, float(log_prices.max()) + _BEYOND)
