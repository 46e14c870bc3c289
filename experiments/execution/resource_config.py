"""Options of the machines: trainings at once, cores and GPUs of each, memory, the cache's limit, and a cluster to join."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from core.cache import parse_size
from core.command_config import CommandConfig, Flag
from core.errors import UserError


def _size(flag: str) -> BeforeValidator:
    """Metadata of a field in bytes that may be given as text: `20GB`. flag: named in errors."""
    return BeforeValidator(lambda value: parse_size(value, flag) if isinstance(value, str) else value)


class ResourceConfig(CommandConfig):
    """Share of the machine, or of a cluster, that trainings get.

    cache_limit: bytes, None as in `Workspace.cache`. memory: bytes for everything; None: what is free on this machine.
    """

    max_concurrent: Annotated[int | None, Field(ge=1, description="trainings at once")] = None
    cpus_per_trial: Annotated[float | None, Field(ge=0.5, description="cores for each worker of a training")] = None
    gpus_per_trial: Annotated[
        float | None, Field(ge=0.0, description="GPUs for each worker of a training, or a share of one")
    ] = None
    workers_per_trial: Annotated[
        int, Field(ge=1, description="processes that train one text or multimodal model together")
    ] = 1
    address: Annotated[
        str | None, Field(description="of a running Ray cluster, or auto (docs/cluster.md)"), Flag(metavar="HOST:PORT")
    ] = None
    storage_path: Annotated[
        str | None, Field(description="copies of trainings' states: a folder, s3://, gs:// ..."), Flag(metavar="URL")
    ] = None
    cache_limit: Annotated[
        int | None,
        _size("--cache-limit"),
        Field(description="of everything cached, e.g. 20GB (half of the free disk)"),
        Flag(metavar="SIZE", text=True),
    ] = None
    memory: Annotated[
        int | None,
        _size("--memory"),
        Field(description="for everything that runs, e.g. 4GiB (what is free)"),
        Flag(metavar="SIZE", text=True),
    ] = None

    @model_validator(mode="after")
    def _memory_of_this_machine(self) -> Self:
        if self.memory is not None and self.address is not None:
            raise UserError(
                "--memory is this machine's, but with --address trainings run on the cluster's nodes",
                code="memory-with-address",
                hint="leave --memory out, and say with --max-concurrent how many trainings run at once",
            )
        return self

    @model_validator(mode="after")
    def _whole_gpus_or_a_share_of_one(self) -> Self:
        if self.gpus_per_trial is not None and self.gpus_per_trial > 1 and self.gpus_per_trial % 1:
            raise UserError(
                f"--gpus-per-trial {self.gpus_per_trial:g}, but a training gets whole GPUs or a share of one",
                code="gpus-per-trial-in-parts",
                hint="give a whole number, or one below 1",
            )
        return self
