"""Sweep set-up: settings, encoders, search spaces and resources per architecture; rules for small data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from core.architectures import ARCHITECTURES, architecture
from core.cache import Cache
from core.data.catalog import Catalog
from core.data.folds import FEW_ROWS, HOLDOUT
from core.encoders.presets import HIGHEST_PRETRAINED_RATE, RANDOM, part_of
from core.errors import UserError
from core.fields.learnt_fields import LABELLED
from core.formatting import duration, setting
from core.hardware import Machine
from core.inputs.images.files import any_image_found
from core.protocols.architecture import Architecture, Config, Limit, Resolution, make_config
from core.store.workspace import Workspace
from experiments.execution.ray_pool import Resources, gpu_slots
from experiments.execution.resource_config import ResourceConfig
from experiments.planning.budget import BudgetConfig
from experiments.planning.marginal_gain import NEW_KIND, PRETRAINED, UNTRAINED
from experiments.search.search_config import ALL, SearchConfig, encoder_flag
from search_spaces import Choices, Range, Space, load_space

_MOST_POINTS = 5_000
"""Points of a space that are looked at for settings without effect."""


@dataclass(frozen=True)
class ArchitecturePlan:
    """Plan of one architecture: its settings, search space, wanted trials and members, and rough costs.

    trials, members: wanted; None: as many as the time allows. longest: epochs of any config in the space. estimate, memory: rough
    seconds and bytes of one training, before anything was measured. gpu_memory: bytes of a GPU; 0: not known, or there is none.
    """

    kind: Architecture
    resolution: Resolution
    space: Space
    trials: int | None
    members: int | None
    longest: int
    estimate: float
    memory: int
    gpu_memory: int = 0

    @property
    def name(self) -> str:
        return self.kind.name

    def prepare(self, catalogs: Mapping[str, Catalog], cache: Cache, drop_bad: bool) -> tuple[str, ...]:
        """Fills the cache with the inputs that all trials share; returns notes for people."""
        config = make_config(self.kind.Config, self.settings(self.space.best))
        return self.kind.prepare(catalogs, config, cache, drop_bad=drop_bad)

    def encoder_folders(self) -> dict[str, Path]:
        """Folder on this machine of each encoder that has weights, by its name: other machines do not have it."""
        searched = self.space.choices_of(self.kind.encoder_settings)
        settings = self.settings(self.space.best)
        named = {
            (str(value), part_of(key))
            for key in self.kind.encoder_settings
            for value in searched.get(key, (settings[key],))
            if value is not None and value not in RANDOM | self.kind.random_encoders
        }
        if not named:
            return {}
        from core.encoders.loading import is_here, locate  # torch, which a search without networks can do without

        return {name: locate(name, part) for name, part in named if is_here(name)}

    def config(self, searched: Mapping[str, Any]) -> Config:
        """The config with these searched values."""
        return make_config(self.kind.Config, {**self.resolution.settings, **searched})

    def settings(self, searched: Mapping[str, Any]) -> dict[str, Any]:
        """Every setting of the config with these searched values, JSON-ready."""
        return self.config(searched).model_dump(mode="json")

    def effective_settings(self, searched: Mapping[str, Any]) -> dict[str, Any]:
        """The same without values beyond a limit: equal for all that train the same."""
        settings: dict[str, Any] = self.kind.effective(self.config(searched)).model_dump(mode="json")
        return settings

    def configs(self) -> list[Config]:
        """All configs of the space, or, of a large one, some drawn at random."""
        random = Random(0)
        walked = self.space.points <= _MOST_POINTS
        points = self.space.grid() if walked else (self.space.sample(random) for _ in range(_MOST_POINTS))
        return [self.config(point) for point in points]

    def idle_settings(self) -> list[str]:
        """Sentences on settings that have no effect anywhere in the space, and on values beyond a limit, fixed ones included."""
        configs = self.configs()
        reasons = [config.without_effect() for config in configs]
        # To ask an encoder takes a millisecond, so only where it may answer otherwise.
        reading = {
            (*sorted(self.kind.encoder_names(dict(config))), *unused): config
            for config, unused in zip(configs, reasons, strict=True)
        }
        limits = dict.fromkeys(each for config in reading.values() for each in self.kind.limits(config).items())
        fixed = {key: (value,) for key, value in self.resolution.settings.items() if value is not None}
        given = {**fixed, **self.space.values}
        # Fields of any name follow from the workspace, not from a choice that could be a mistake.
        idle = [name for name in given if name != LABELLED and all(name in each for each in reasons)]
        said = [_without_effect(name, given[name], {each[name]: None for each in reasons}) for name in idle]
        return said + [text for name, limit in limits if name in given for text in _beyond(name, given[name], limit)]


def _without_effect(name: str, choices: Choices, reasons: Iterable[str]) -> str:
    single = not isinstance(choices, Range) and len(choices) == 1
    verb, once = ("has", "") if single else ("have", "; trained once")
    return f"{name}: {_listed(choices)} {verb} no effect {' or '.join(reasons)}{once}"


def _beyond(name: str, choices: Choices, limit: Limit) -> Iterator[str]:
    """The sentence on the choices above a limit, if there are any."""
    meant = f"{limit.value}, the most that {limit.owner} reads"
    if isinstance(choices, Range):
        if choices.high > limit.value:
            yield f"{name}: all above {limit.value} mean {meant}; trained once"
        return
    higher = [choice for choice in choices if choice > limit.value]
    if higher:
        once = "; trained once" if len(higher) + (limit.value in choices) > 1 else ""
        yield f"{name}: {_listed(higher)} {'means' if len(higher) == 1 else 'mean'} {meant}{once}"


def _listed(choices: Choices | Sequence[Any]) -> str:
    if isinstance(choices, Range):
        return f"{setting(choices.low)} to {setting(choices.high)}"
    *others, last = map(setting, choices)
    return f"{', '.join(others)} and {last}" if others else last


def for_catalog(
    found: list[ArchitecturePlan], asked: SearchConfig, workspace: Workspace
) -> tuple[list[ArchitecturePlan], tuple[str, ...]]:
    """Plans that suit this catalog, and a sentence about each one left out of `all`.

    Those that were named stay. Raises UserError for a named one that reads images where no training row finds its own.
    """
    if ALL not in asked.architectures:
        reads = [each.name for each in found if each.kind.reads_images]
        if reads and workspace.facts.images is not None and not any_image_found(workspace.train):
            raise UserError(
                f"{reads[0]} reads images, and no training row finds its own in {workspace.facts.images}",
                code="images-none-found",
                hint="name the folder that holds them with --images, or fetch them (python -m core.images fetch --help); "
                f"without images, text learns what {reads[0]} would",
            )
        return found, ()
    fixed = asked.fixed_settings([each.kind for each in found])
    reasons = {each.name: _reason_to_leave_out(each, fixed[each.name], workspace) for each in found}
    notes = tuple(f"{name} is left out of `{ALL}`: {why}" for name, why in reasons.items() if why is not None)
    return [each for each in found if reasons[each.name] is None], notes


def _reason_to_leave_out(plan: ArchitecturePlan, fixed: Mapping[str, Any], workspace: Workspace) -> str | None:
    """Reason to leave the architecture out of `all`, or None. fixed: by the user; who named an encoder wants it."""
    if plan.kind.reads_images:
        if workspace.facts.images is None or not any_image_found(workspace.train):
            return "there are no images, so it would learn what others learn from the texts"
        return None
    if prior_of(plan) == UNTRAINED and not fixed.keys() & set(plan.kind.encoder_settings):
        flags = " or ".join(encoder_flag(plan.name, key) for key in plan.kind.encoder_settings)
        return (
            "an encoder that starts from random weights finds nothing in texts that the classical models do not "
            f"(docs/benchmarks.md); name one with {flags}"
        )
    return None


def prior_of(plan: ArchitecturePlan) -> float:
    """Expected gain of the architecture's first member, as a share of the stack's SMAPE."""
    settings = plan.settings(plan.space.best)
    if not plan.kind.encoder_names(settings):
        return NEW_KIND
    return UNTRAINED if plan.kind.starts_random(settings) else PRETRAINED


@dataclass(frozen=True)
class Planner:
    """Maker of the plans of one sweep."""

    search: SearchConfig
    budget: BudgetConfig
    workspace: Workspace
    machine: Machine

    def plans(self, kinds: Sequence[Architecture]) -> list[ArchitecturePlan]:
        """One of each; raises UserError for an encoder that cannot be had, an unknown setting and a space that does not fit."""
        fixed = self.search.fixed_settings(kinds)
        found = []
        for kind in kinds:
            make_config(kind.Config, fixed[kind.name])
            settings = {**self._of_workspace(kind), **fixed[kind.name]}
            whole = self._plan(kind, settings)
            plan = self._with_frozen_encoders(whole, settings) or whole
            kind.check([plan.config(plan.space.best), *plan.configs()])
            found.append(plan)
        return found

    def _of_workspace(self, kind: Architecture) -> dict[str, Any]:
        """Settings that follow from when the workspace was made: an older one goes on without fields of any name."""
        labelled = self.workspace.facts.labelled_fields and LABELLED in kind.Config.model_fields
        return {LABELLED: True} if labelled else {}

    def _with_frozen_encoders(self, whole: ArchitecturePlan, fixed: Mapping[str, Any]) -> ArchitecturePlan | None:
        """The same with the weights of its encoders as they are, where fine-tuning one member takes longer than there is time
        and no setting forbids it; else None.
        """
        kind, minutes, member = whole.kind, self.budget.minutes, self.workspace.folds.k * whole.estimate
        if minutes is None or self.search.space or member <= 60 * minutes:
            return None
        pretrained = {
            key: freeze
            for key, freeze in kind.freezing_settings.items()
            if freeze not in fixed
            and not whole.resolution.settings.get(freeze)
            and whole.resolution.settings.get(key) not in {None, *kind.random_encoders}
        }
        if not pretrained:
            return None
        frozen = self._plan(kind, {**fixed, **dict.fromkeys(pretrained.values(), True)})
        notes = tuple(
            f"{key.replace('_', ' ')}'s weights: as they are (auto: fine-tuning one member would take about "
            f"{duration(member)} of the {minutes:g} min; --set {kind.name}.{freeze}=false does it all the same)"
            for key, freeze in pretrained.items()
        )
        return replace(frozen, resolution=replace(frozen.resolution, notes=(*frozen.resolution.notes, *notes)))

    def _resolved(self, kind: Architecture, fixed: Mapping[str, Any]) -> tuple[Resolution, Space]:
        """Settings and space, with every encoder in them looked up: also each choice, where encoders are searched."""
        if self.search.space is None:
            resolution = kind.resolve(fixed, self.machine, self.budget.minutes)
            space = load_space(self.search.space_name(kind) or resolution.space, kind.Config).without(fixed)
            return replace(resolution, notes=(*resolution.notes, *self._preset_notes(kind))), space
        space = load_space(self.search.space, kind.Config).without(fixed)
        choices = space.choices_of(kind.encoder_settings)
        first = {key: listed[0] for key, listed in choices.items()}
        resolution = kind.resolve({**fixed, **first}, self.machine, self.budget.minutes)
        notes = list(resolution.notes)
        for key, listed in choices.items():
            asked = ({**fixed, **first, key: each} for each in listed)
            found = [kind.resolve(each, self.machine, self.budget.minutes) for each in asked]
            _check_alike(key, kind.freezing_settings.values(), found)
            space = space.renamed(key, dict(zip(listed, (each.settings[key] for each in found), strict=True)))
            notes.append(f"{key} is searched: {', '.join(map(str, space.listed(key) or ()))}")
        return replace(resolution, notes=tuple(notes)), space

    def _preset_notes(self, kind: Architecture) -> Iterator[str]:
        if (preset := self.search.preset) is not None:
            changes = [
                f"{key} {setting(own)} ({preset}: {setting(literal)})"
                for key, (literal, own) in self.search.changes(kind).items()
            ]
            yield f"preset {preset}: {'not to the letter: ' + ', '.join(changes) if changes else 'to the letter'}"

    def _plan(self, kind: Architecture, fixed: Mapping[str, Any]) -> ArchitecturePlan:
        resolution, space = self._resolved(kind, fixed)
        config = make_config(kind.Config, {**resolution.settings, **space.best})
        _check_rates(kind, config, space)
        wanted = self.budget.wanted_trials(self.search.grid)
        if self.search.sampler_name == "grid":
            space.check_finite("--grid" if self.search.grid else "--sampler grid")
        if self.search.grid:
            wanted = int(space.points) if wanted is None else wanted
        trials = None if wanted is None else int(min(wanted, space.points))
        longest = space.highest("epochs", getattr(config, "epochs", 1))
        learnt = self.workspace.train.take(self.workspace.folds.split(HOLDOUT)[0])
        seconds = kind.estimate_seconds(learnt, config, self.machine)
        memory = kind.estimate_memory(learnt, config, self.machine)
        return ArchitecturePlan(
            kind,
            resolution,
            space,
            trials,
            self.budget.wanted_members,
            longest,
            seconds,
            memory,
            self.machine.gpu_memory,
        )


def _check_alike(key: str, freezing: Collection[str], settled: Sequence[Resolution]) -> None:
    """Raises UserError where one of the encoders searched under `key` needs a setting of `freezing` and another does not."""
    frozen = {str(each.settings[key]): tuple(bool(each.settings.get(name)) for name in freezing) for each in settled}
    if len(set(frozen.values())) > 1:
        raise UserError(
            f"the search among {', '.join(frozen)} would train random and pretrained encoders at the same rates",
            code="encoders-searched-together",
            hint="list random and pretrained encoders in spaces of their own, or "
            + " ".join(f"--set {name}=true" for name in freezing),
        )


def _check_rates(kind: Architecture, config: Any, space: Space) -> None:
    """Raises UserError where an encoder with random weights would be trained at the rates of pretrained ones."""
    named = {str(value) for listed in space.choices_of(kind.encoder_settings).values() for value in listed}
    random = sorted((named | kind.encoder_names(config.model_dump())) & kind.random_encoders)
    if not random:
        return
    lowest = space.lowest("learning_rate", getattr(config, "learning_rate", None))
    if lowest is not None and lowest <= HIGHEST_PRETRAINED_RATE:
        raise UserError(
            f"{kind.name} would train {' and '.join(random)}, whose weights are random, at a learning rate of {lowest:g}, "
            "where it learns nothing",
            code="random-encoder-low-rate",
            hint="name a pretrained encoder, or take rates from 1e-4 to 3e-3 (search_spaces/text-tiny.yaml)",
        )


def together(nodes: Sequence[Machine]) -> Machine:
    """One machine that stands for a cluster in plans: cores and memory of the largest node, and all GPUs."""
    gpus = sum(node.gpus for node in nodes)
    largest = max(nodes, key=lambda node: node.cores)
    return Machine(max(1, largest.cores), largest.memory, "cuda" if gpus else "cpu", gpus)


def cluster_resources(asked: ResourceConfig, kinds: Sequence[Architecture], nodes: Sequence[Machine]) -> Resources:
    """Resources of a cluster's jobs: as `resources` would share out each node, and so that a job fits on any node able to run it.

    Raises UserError where no node can, unless the user says how many jobs run at once: then an autoscaler is to bring nodes.
    """
    machine, workers = together(nodes), asked.workers_per_trial
    _check_workers(workers, kinds, machine)
    gpus = asked.gpus_per_trial if asked.gpus_per_trial is not None else float(machine.has_gpu)
    if workers > 1:
        _check_share(workers, gpus)
    able = [node for node in nodes if node.cores and node.gpus >= gpus]
    shares = [node.cores // (max(1, gpu_slots(node, gpus)) if gpus else min(node.cores, 4)) for node in able]
    cpus = asked.cpus_per_trial or float(max(1, min(shares, default=1)))
    share = Resources(asked.max_concurrent or 0, cpus, gpus, workers, elastic=asked.max_concurrent is None)
    slots = share.slots(nodes)
    if not slots and share.elastic:
        raise UserError(
            f"the cluster holds no job of {workers} x {cpus:g} cores and {gpus:g} GPUs: "
            f"the largest has {machine.cores} cores, and there are {machine.gpus} GPUs in all",
            code="cluster-holds-no-job",
            hint="start more nodes, lower --cpus-per-trial or --gpus-per-trial, or give --max-concurrent where an autoscaler "
            "is to start nodes",
        )
    return replace(share, concurrent=asked.max_concurrent or slots)


def resources(asked: ResourceConfig, kinds: Sequence[Architecture], machine: Machine) -> Resources:
    """Resources of this machine's jobs: how many run at once, and the cores and GPUs of each worker.

    With GPUs, one worker each. Without, one worker per core up to four: small models gain more from running side by side than
    from sharing cores, and beyond four their memory counts. Trainings at once never ask for more threads than there are cores,
    but for those that wait for a GPU. Raises UserError for what this machine does not have.
    """
    workers = asked.workers_per_trial
    _check_workers(workers, kinds, machine)
    # Ray counts CUDA devices only: on Apple's GPU one job runs at a time and asks for none.
    gpus = asked.gpus_per_trial if asked.gpus_per_trial is not None else float(machine.device == "cuda")
    concurrent = asked.max_concurrent
    if concurrent is None and machine.device == "mps":
        concurrent = 1
    if concurrent is None:
        concurrent = max(1, (gpu_slots(machine, gpus) if gpus else min(machine.cores, 4)) // workers)
    cpus = asked.cpus_per_trial or max(1.0, machine.cores // (concurrent * workers))
    if gpus > machine.gpus:
        raise UserError(
            f"--gpus-per-trial {gpus:g}, but this machine has {machine.gpus} usable GPUs",
            code="too-few-gpus",
            hint="leave the flag out, or join a cluster with --address",
        )
    if workers > 1:
        _check_capacity(concurrent, workers, cpus, gpus, machine)
        return Resources(concurrent, cpus, gpus, workers=workers)
    cpus = min(cpus, float(machine.cores))
    if gpus:
        return Resources(concurrent, min(cpus, max(1.0, machine.cores // concurrent)), gpus)
    # A training has at least one thread, and threads that share a core wait for each other.
    return Resources(min(concurrent, machine.cores // max(1, int(cpus))), cpus, gpus)


def _check_workers(workers: int, kinds: Sequence[Architecture], machine: Machine) -> None:
    if workers == 1:
        return
    if not any(kind.data_parallel for kind in kinds):
        able = ", ".join(name for name in ARCHITECTURES if architecture(name).data_parallel)
        raise UserError(
            f"--workers-per-trial {workers}, but {' and '.join(kind.name for kind in kinds)} train in one process",
            code="workers-without-use",
            hint=f"leave the flag out, or add an architecture that several can train together: {able}",
        )
    if machine.device == "mps":
        raise UserError(
            f"--workers-per-trial {workers}, but processes cannot share Apple's GPU for one training",
            code="workers-on-apple-gpu",
            hint="leave the flag out",
        )


def _check_capacity(concurrent: int, workers: int, cpus: float, gpus: float, machine: Machine) -> None:
    """Raises UserError where the workers of a training do not all fit: those that started would wait for the others for ever."""
    _check_share(workers, gpus)
    for what, each, there in (("cores", cpus, machine.cores), ("GPUs", gpus, machine.gpus)):
        if concurrent * workers * each > there:
            raise UserError(
                f"{concurrent} trainings at once, each with {workers} workers on {each:g} {what}, need "
                f"{concurrent * workers * each:g} {what}, but this machine has {there}",
                code="workers-exceed-machine",
                hint="lower --workers-per-trial, --max-concurrent, --cpus-per-trial or --gpus-per-trial, or join a "
                "cluster with --address",
            )


def _check_share(workers: int, gpus: float) -> None:
    if 0 < gpus < 1:
        raise UserError(
            f"--gpus-per-trial {gpus:g} with --workers-per-trial {workers}: workers of one training cannot share a GPU",
            code="workers-share-a-gpu",
            hint="give each a whole one (--gpus-per-trial 1), or leave --workers-per-trial out",
        )


SMALL_DATA_FOLDS, FOLDS = 10, 5
SMALL_DATA_MEMBERS = 4
"""Members of each architecture: its documented points, then the same with other seeds."""


def default_folds(rows: int) -> int:
    """k where the user gives none: 10 for little data, except with fewer than 100 rows, whose tenth is too small a fold."""
    return SMALL_DATA_FOLDS if 10 * SMALL_DATA_FOLDS <= rows < FEW_ROWS else FOLDS


def is_small_data(workspace: Workspace, search: SearchConfig, budget: BudgetConfig) -> bool:
    """True if the sweep is planned for few rows; a search that was asked for explicitly is made as asked."""
    explicit = budget.trials is not None or budget.members is not None or search.grid
    return len(workspace.train) < FEW_ROWS and not explicit


def for_small_data(
    found: Sequence[ArchitecturePlan], asked: SearchConfig
) -> tuple[list[ArchitecturePlan], tuple[str, ...]]:
    """Plans of a sweep with few rows, and notes on them for people."""
    notes = [
        f"fewer than {FEW_ROWS} training rows: no search; the documented points of each architecture are cross-validated, then "
        f"the same with other seeds, {SMALL_DATA_MEMBERS} members of each"
    ]
    kept = [each for each in found if ALL not in asked.architectures or prior_of(each) != UNTRAINED]
    notes += [
        f"{each.name} is left out of `{ALL}`: an encoder that starts from random weights learns nothing from so few rows"
        for each in found
        if each not in kept
    ]
    documented = {each.name: 1 + len(each.space.then) for each in found}
    return [replace(each, trials=documented[each.name], members=None) for each in kept or found], tuple(notes)
