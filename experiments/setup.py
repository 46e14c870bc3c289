"""From options and a workspace to the entries of a sweep: settings resolved, spaces loaded, studies opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.architectures.base import Architecture, Resolution, make_config
from core.cache import Cache
from core.catalog import Catalog
from core.errors import UserError
from core.machine import Machine
from core.workspace import Workspace
from experiments.options import Options, user_settings
from experiments.pool import Resources
from search_spaces import Space, load_space


@dataclass(frozen=True)
class Candidate:
    """One architecture, ready to be searched.

    longest: epochs of any config in the space. estimate: rough seconds of one training, before anything was measured.
    """

    kind: Architecture
    resolution: Resolution
    space: Space
    trials: int | None
    longest: int
    estimate: float

    @property
    def name(self) -> str:
        return self.kind.name

    def prepare(self, catalogs: Mapping[str, Catalog], cache: Cache, drop_bad: bool) -> tuple[str, ...]:
        """Fills the cache with what all trials share."""
        config = make_config(self.kind.Config, self.settings(self.space.best))
        return self.kind.prepare(catalogs, config, cache, drop_bad=drop_bad)

    def encoder_folders(self) -> set[str]:
        """Encoders that the user named by a local folder: other machines do not have it."""
        values = {**{key: (value,) for key, value in self.settings(self.space.best).items()}, **self.space.values}
        named = {str(value) for key, choices in values.items() if key.endswith("_encoder") for value in choices}
        return {name for name in named if Path(name).expanduser().is_dir()}

    def settings(self, searched: Mapping[str, Any]) -> dict[str, Any]:
        """Every setting of the config with these searched values, JSON-ready."""
        config = make_config(self.kind.Config, {**self.resolution.settings, **searched})
        return config.model_dump(mode="json")


def candidates(kinds: list[Architecture], options: Options, workspace: Workspace, machine: Machine) -> list[Candidate]:
    """Raises UserError for an encoder that cannot be had, an unknown setting and a space that does not fit."""
    fixed = user_settings(options, kinds)
    found = []
    for kind in kinds:
        make_config(kind.Config, fixed[kind.name])
        resolution = kind.resolve(fixed[kind.name], machine, options.minutes)
        space = load_space(options.space or resolution.space, kind.Config).without(fixed[kind.name])
        found.append(_candidate(kind, resolution, space, options, workspace, machine))
    return found


def _candidate(
    kind: Architecture, resolution: Resolution, space: Space, options: Options, workspace: Workspace, machine: Machine
) -> Candidate:
    config = make_config(kind.Config, {**resolution.settings, **space.best})
    wanted = options.wanted_trials
    if options.grid:
        wanted = space.points if wanted is None else wanted
    trials = None if wanted is None else min(wanted, space.points)
    longest = max(space.values.get("epochs", (getattr(config, "epochs", 1),)))
    return Candidate(kind, resolution, space, trials, longest, kind.estimate_seconds(workspace.train, config, machine))


def together(nodes: Sequence[Machine]) -> Machine:
    """What a plan may count on in a cluster: one training has the largest node's cores and memory, all of them share the GPUs."""
    gpus = sum(node.gpus for node in nodes)
    largest = max(nodes, key=lambda node: node.cores)
    return Machine(max(1, largest.cores), largest.memory, "cuda" if gpus else "cpu", gpus)


def cluster_resources(options: Options, nodes: Sequence[Machine]) -> Resources:
    """As `resources` would share out each node, and so that a job fits on any node that can run it.

    Raises UserError where no node can, unless the user says how many jobs run at once: then an autoscaler is to bring nodes.
    """
    machine = together(nodes)
    gpus = options.gpus_per_trial if options.gpus_per_trial is not None else float(machine.has_gpu)
    able = [node for node in nodes if node.cores and node.gpus >= gpus]
    shares = [node.cores // (max(1, int(node.gpus / gpus)) if gpus else min(node.cores, 4)) for node in able]
    cpus = options.cpus_per_trial or float(max(1, min(shares, default=1)))
    share = Resources(options.max_concurrent or 0, cpus, gpus, elastic=options.max_concurrent is None)
    slots = share.slots(nodes)
    if not slots and share.elastic:
        raise UserError(
            f"no node of the cluster holds a job of {cpus:g} cores and {gpus:g} GPUs: "
            f"the largest has {machine.cores} cores, and there are {machine.gpus} GPUs in all",
            cure="start more nodes, lower --cpus-per-trial or --gpus-per-trial, or give --max-concurrent where an autoscaler "
            "is to start nodes",
        )
    return replace(share, concurrent=options.max_concurrent or slots)


def resources(options: Options, machine: Machine) -> Resources:
    """How many jobs run at once and what each gets.

    With GPUs, one job each. Without, one job per core up to four: small models gain more from running side by side than
    from sharing cores, and beyond four their memory counts.
    """
    # Ray counts CUDA devices only: on Apple's GPU one job runs at a time and asks for none.
    gpus = options.gpus_per_trial if options.gpus_per_trial is not None else float(machine.device == "cuda")
    concurrent = options.max_concurrent
    if concurrent is None and machine.device == "mps":
        concurrent = 1
    if concurrent is None:
        concurrent = max(1, int(machine.gpus / gpus)) if gpus else min(machine.cores, 4)
    cpus = options.cpus_per_trial or max(1.0, machine.cores // concurrent)
    if gpus > machine.gpus:
        raise UserError(
            f"--gpus-per-trial {gpus:g}, but this machine has {machine.gpus} usable GPUs",
            cure="leave the flag out, or join a cluster with --address",
        )
    return Resources(concurrent, cpus, gpus)
