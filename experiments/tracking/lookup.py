"""Where the studies of a workspace are, for commands that only look: nothing is made, and nothing is guessed silently."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from core.errors import UserError, suggestion
from experiments.search.storage import StorageError, open_storage, without_password
from experiments.tracking.sweep_record import Record, read_record


def open_studies(workspace: Path, given: str | None) -> BaseStorage:
    """The storage that was given, or the one of the workspace's last sweep. Raises UserError where there is none."""
    if given is not None:
        return open_storage(given)
    record = read_record(workspace)
    if record is not None and record.storage:
        if "***" in record.storage:
            raise UserError(
                f"the last sweep in {workspace} used {record.storage}, whose password is written nowhere",
                cure="give the URL with --storage",
            )
        return open_storage(record.storage)
    path = workspace / "optuna.db"
    if not path.exists():
        raise UserError(
            f"{workspace} has no study: there is no {path}",
            cure="run `python -m experiments.sweep` first, or name another folder with --workspace, or give --storage",
        )
    return open_storage(f"sqlite:///{path}")


@contextmanager
def reading(given: str | None) -> Iterator[None]:
    """Turns what a database says when it does not answer into a UserError."""
    try:
        yield
    except StorageError as error:
        where = f"the storage {without_password(given)}" if given else "the study's storage"
        raise UserError(
            f"{where} cannot be read: {without_password(str(error).partition(chr(10))[0])}",
            cure="see that its server runs and its file is whole, then try again",
        ) from error


def study_names(storage: BaseStorage, record: Record | None) -> dict[str, str]:
    """By architecture, the studies of the last sweep; without a record, the newest of each."""
    names = sorted(optuna.get_all_study_names(storage), key=_age)
    found = {name.partition("-")[0]: name for name in names}
    if record is not None:
        known = set(names)
        found = {architecture: name for architecture, name in record.studies.items() if name in known} or found
    return found


def _age(name: str) -> tuple[str, int]:
    """`text-1a2b3c4d-run2` is younger than `text-1a2b3c4d`."""
    base, _, run = name.partition("-run")
    return base, int(run) if run.isdigit() else 1


def load(storage: BaseStorage, name: str) -> optuna.Study:
    """Raises UserError, with the nearest name, for a study that is not there."""
    known = optuna.get_all_study_names(storage)
    if name not in known:
        raise UserError(f"no study '{name}'", cure=suggestion(name, known))
    return optuna.load_study(study_name=name, storage=storage)
