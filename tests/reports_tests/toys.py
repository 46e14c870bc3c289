"""Workspaces with trials and members as the sweep leaves them: plausible predictions, the real files in the real places."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from core.atomic_files import write_json
from core.data.catalog import Catalog
from core.metrics import all_metrics
from core.store.oof_store import Member
from core.store.workspace import Workspace, catalog_fingerprint

ARCHITECTURES = ("lexical", "boosted", "text", "multimodal")


def add_member(workspace: Workspace, name: str, oof: np.ndarray[Any, Any], **record: Any) -> Member:
    """Writes a complete member of that name, with the rows' out-of-fold prices, as the store holds it."""
    facts = workspace.facts
    whole = {"catalog": facts.catalog, "folds": facts.folds, "seconds": 12.5, **record}
    member = Member(name, oof, np.full(len(workspace.test), 9.0), whole)
    workspace.store.write_member(member)
    return member


def add_plausible_members(workspace: Workspace, count: int, seed: int = 0) -> list[Member]:
    """Members that share half of their log errors, each a little worse than the one before."""
    rng = np.random.default_rng(seed)
    prices = workspace.train.known_prices
    shared = rng.normal(0, 0.2, len(prices))
    made = []
    for number in range(count):
        architecture = ARCHITECTURES[number % len(ARCHITECTURES)]
        oof = prices * np.exp(shared + rng.normal(0, 0.2 + 0.05 * number, len(prices)))
        record = {
            "architecture": architecture,
            "settings": {"learning_rate": 2e-5, "dropout": 0.4, "max_length": 625},
            "notes": ["text encoder tiny: no network, so the documented encoders cannot be had"],
        }
        made.append(add_member(workspace, f"{architecture}-{number:04x}{'0' * 8}", oof, **record))
    return made


def add_trials(workspace: Workspace, results: Sequence[tuple[str, float]]) -> None:
    """Finished trials (architecture, SMAPE), one after the other, as `experiments.execution.job_worker` records them."""
    for number, (architecture, smape) in enumerate(results):
        path = workspace.path("trials", f"{architecture}-{number:012x}", "trial.json")
        metrics = {**all_metrics([10.0, 20.0], [11.0, 19.0]), "smape": smape}
        settings = {"learning_rate": [1e-5, 2e-5, 5e-5][number % 3], "dropout": 0.4, "epochs": 20}
        record = {"architecture": architecture, "settings": settings, "seed": 0, "metrics": metrics, "cut": False}
        write_json(path, {**record, "best_epoch": 1 + number, "seconds": 10.0 + number})
        os.utime(path, ns=(10**18 + number * 10**9,) * 2)


def with_texts(workspace: Workspace, texts: Sequence[str]) -> Workspace:
    """The same workspace with these texts in its first rows, as if they had been in the CSV."""
    train: Catalog = replace(workspace.train, texts=np.array([*texts, *workspace.train.texts[len(texts) :]], object))
    facts = replace(workspace.facts, catalog=catalog_fingerprint(train, workspace.test))
    workspace.create(train, workspace.test, workspace.folds, facts)
    return workspace


def trial(number: int, smape: float | None, **more: Any) -> dict[str, Any]:
    """A trial as `history.json` holds it, of two epochs and 30 seconds; what is not its own is a searched setting."""
    state = more.pop("state", "complete")
    end = more.pop("end", float(number))
    curve = [] if smape is None else [[1, smape + 5.0], [2, smape]]
    known = {"config": f"config-{number}", "curve": curve, "seconds": 30.0, "error": None, "answered_from": None}
    own = {key: more.pop(key, value) for key, value in known.items()}
    return {
        "number": number,
        "state": state,
        "smape": smape,
        "params": more,
        "origin": None,
        "standard_error": 0.5,
        "best_epoch": 2,
        "start": None if end is None else end - 30.0,
        "end": end,
        "settings": None,
        "metrics": None,
        "epochs": [],
        "cut": False,
        **own,
    }


def study(architecture: str, *trials: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A study as `history.json` holds it."""
    known = {"name": f"{architecture}-1a2b3c4d", "architecture": architecture, "documented": {}, "space": {}}
    return {**known, "importances": None, **more, "trials": list(trials)}


def write_history(workspace: Workspace, *studies: dict[str, Any], version: int = 1) -> None:
    """What a sweep leaves of its studies."""
    write_json(workspace.path("history.json"), {"format": version, "studies": list(studies)})
