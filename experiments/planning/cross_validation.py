"""Cross-validation of the best configs: missing folds, and finished members assembled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from core.arrays import Floats
from core.data.price_scale import metrics_in_units
from core.metrics import all_metrics, group_standard_error, smape, smape_terms
from core.protocols.architecture import Architecture, Prices
from core.store.oof_store import FoldFit, Member, MemberKey, geometric_mean
from core.store.workspace import Workspace
from experiments.execution.job_worker import member_key, refit_settings
from experiments.search.trial_selection import Finished


@dataclass(frozen=True)
class MemberPlan:
    """Config to be trained on all folds. missing: the folds that have no fit yet. origin: of the member's record."""

    key: MemberKey
    settings: dict[str, Any]
    missing: tuple[int, ...]
    origin: dict[str, Any]

    @property
    def name(self) -> str:
        return self.key.id

    @property
    def architecture(self) -> str:
        return self.key.architecture


class MemberBuilder:
    """Planner and assembler of the members of one workspace."""

    def __init__(self, workspace: Workspace, seed: int, notes: Mapping[str, tuple[str, ...]]) -> None:
        self.workspace, self.seed, self.notes = workspace, seed, notes
        self._plans: dict[str, MemberPlan] = {}

    def key(self, kind: Architecture, settings: Mapping[str, Any]) -> MemberKey:
        """Key of a config's member in this workspace: equal configs after defaults have equal keys."""
        return member_key(self.workspace, kind, settings, self.seed)

    def plan(self, kind: Architecture, settings: Mapping[str, Any], found: Finished) -> MemberPlan:
        """The member that follows from a finished trial. Its epochs come from the search, never from the fold it predicts."""
        refit = refit_settings(kind, settings, found.best_epoch)
        key = self.key(kind, refit)
        origin = {
            "trial": found.number, "trial_smape": found.smape, "steady_smape": found.steady,
            "standard_error": found.standard_error, "best_epoch": found.best_epoch,
        }  # fmt: skip
        plan = MemberPlan(key, refit, self._missing(key), origin)
        self._plans[key.id] = plan
        return plan

    def reseeded(self, name: str, seed: int) -> MemberPlan:
        """The member of that name, already planned, trained with another seed."""
        base = self._plans[name]
        key = replace(base.key, seed=seed)
        plan = MemberPlan(key, base.settings, self._missing(key), {**base.origin, "seed_of": base.name})
        self._plans[key.id] = plan
        return plan

    def refreshed(self, name: str) -> MemberPlan:
        """The plan of that name, with the folds that are missing now."""
        plan = self._plans[name]
        return replace(plan, missing=self._missing(plan.key))

    def planned(self, architecture: str) -> list[MemberPlan]:
        """Plans of an architecture with the sweep's own seed."""
        return [
            plan for plan in self._plans.values() if plan.architecture == architecture and plan.key.seed == self.seed
        ]

    def _missing(self, key: MemberKey) -> tuple[int, ...]:
        return tuple(fold for fold in range(self.workspace.folds.k) if not self.workspace.store.has_fit(key.id, fold))

    def assemble(self, name: str) -> dict[str, Any] | None:
        """Writes the member if its last fit is there and returns its record; None while folds are missing, or if it was there."""
        store, folds, plan = self.workspace.store, self.workspace.folds, self._plans[name]
        if store.has_member(name) or not all(store.has_fit(name, fold) for fold in range(folds.k)):
            return None
        fits = [store.read_fit(name, fold) for fold in range(folds.k)]
        oof = self._out_of_fold([fit.valid for fit in fits])
        record = self._record(plan, fits, oof)
        self._keep_quantiles(name, fits)
        store.write_member(Member(name, oof, geometric_mean([fit.test for fit in fits]), record))
        return record

    def _record(self, plan: MemberPlan, fits: list[FoldFit], oof: Prices) -> dict[str, Any]:
        train, folds = self.workspace.train, self.workspace.folds
        in_fold = [folds.split(fit.fold)[1] for fit in fits]
        return {
            **asdict(plan.key),
            "id": plan.name,
            "settings": plan.settings,
            "origin": plan.origin,
            "notes": list(self.notes.get(plan.architecture, ())),
            "metrics": metrics_in_units(all_metrics(train.known_prices, oof), self.workspace.facts.scale),
            "standard_error": group_standard_error(smape_terms(train.known_prices, oof), train.product_groups),
            "fold_smape": [smape(train.known_prices[rows], oof[rows]) for rows in in_fold],
            "seconds": round(sum(fit.seconds for fit in fits), 2),
        }

    def _keep_quantiles(self, name: str, fits: list[FoldFit]) -> None:
        valid = [fit.valid_quantiles for fit in fits if fit.valid_quantiles is not None]
        test = [fit.test_quantiles for fit in fits if fit.test_quantiles is not None]
        if len(valid) == len(test) == len(fits):
            self.workspace.store.write_quantiles(name, "oof", self._out_of_fold(valid))
            self.workspace.store.write_quantiles(name, "test", geometric_mean(test))

    def _out_of_fold(self, folds: Sequence[Floats]) -> Floats:
        """(rows, ...) of the whole catalog from the folds' rows, in the order of the folds."""
        assignment = self.workspace.folds.assignment
        joined = np.full((len(assignment), *folds[0].shape[1:]), np.nan)
        for number, values in enumerate(folds):
            joined[self.workspace.folds.split(number)[1]] = values
        return joined
