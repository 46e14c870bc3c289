"""Marginal gain of a further member to the stack, and the step of most gain per second. Pure functions.

A candidate's prices are known on the holdout fold alone, so its gain is measured there: by how much the SMAPE of the members'
stack falls when the candidate is added. A candidate of lower accuracy whose errors differ may gain more than a better one
whose errors are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from core.arrays import Floats, RowIndices
from core.metrics import smape_of_logs, smape_terms_of_logs
from ensemble.methods.simplex import fit_simplex

SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""Weights of a candidate beside the stack that are tried."""
PRETRAINED, NEW_KIND, UNTRAINED, NEW_CONFIG, NEW_SEED = 0.05, 0.02, 0.004, 0.006, 0.003
"""Priors of gains, as shares of the stack's SMAPE, before anything was measured (docs/planning.md): of a kind of model that
the stack lacks, with a pretrained encoder, without any, with one that starts from random weights; of another config of a kind
that it has; of the same config with another seed."""
FADING = 0.5
"""Ratio of a source's next gain to the one before: errors of members of one source are alike."""


def gains(members: Floats, candidates: Floats, parts: RowIndices) -> tuple[Floats, Floats]:
    """(c,) percentage points by which each candidate lowers the stack's SMAPE, and their standard errors (c,).

    Negative where the best weight was fitted to noise.

    members: (n, m) and candidates: (n, c), log prices minus the true ones, on rows that no model has seen; parts: (n,) numbers.
    The stack's weights and the candidate's weight beside it are fitted without one part and evaluated on it, part by part: a
    candidate that only fits the noise of these rows gains nothing. Where there is one part, nothing is known: an infinite error.
    """
    if len(np.unique(parts)) < 2:
        return np.zeros(candidates.shape[1]), np.full(candidates.shape[1], np.inf)
    fallen = np.empty(candidates.shape)
    for part in np.unique(parts):
        inside = parts == part
        stack = members @ _weights(members[~inside])
        scores = np.stack([_terms(stack[~inside, None], candidates[~inside], share).mean(axis=0) for share in SHARES])
        best = np.array(SHARES)[scores.argmin(axis=0)]
        better = scores.min(axis=0) < smape_of_logs(stack[~inside])
        after = _terms(stack[inside, None], candidates[inside], np.where(better, best, 0.0))
        before = smape_terms_of_logs(stack[inside])
        fallen[inside] = before[:, None] - after
    return fallen.mean(axis=0), fallen.std(axis=0) / np.sqrt(len(parts))


def shrunk_gain(gain: float, error: float, prior: float) -> float:
    """Posterior mean of a measured gain with this standard error: shrunk to the prior, which is mean and spread (Bayes).

    A holdout fold of some hundred rows hardly tells the usual gains from zero; unshrunk, they would keep a search going for
    noise.
    """
    if error == 0.0:
        return gain
    trust = prior**2 / (prior**2 + error**2)
    return trust * gain + (1.0 - trust) * prior


def stack_smape(members: Floats) -> float:
    """SMAPE in percent of the best weights on these rows, (n, m) log prices minus the true ones."""
    return smape_of_logs(members @ _weights(members))


def _weights(members: Floats) -> Floats:
    return fit_simplex(np.exp(members), np.ones(len(members)), "log").weights


def _terms(stack: Floats, candidates: Floats, share: float | Floats) -> Floats:
    return smape_terms_of_logs((1.0 - share) * stack + share * candidates)


@dataclass(frozen=True)
class MemberSource:
    """Source of candidates: an architecture's search, or further seeds of its best member.

    prior: percentage points expected of one before any was seen. seen: gains of those seen, members' faded.
    work, wall: as of a `NextStep`, for a new one from its trial to its last fold.
    """

    name: str
    prior: float
    seen: tuple[float, ...]
    work: float
    wall: float

    def expected(self, at_hand: float) -> float:
        """Expected gain of the better of a new candidate and the one at hand: the mean over those seen and the prior."""
        known = (self.prior, *self.seen)
        return sum(max(gain, at_hand) for gain in known) / len(known)


class StepKind(StrEnum):
    """A member from a candidate, a new candidate from a source, or at once a member with another seed."""

    MEMBER = "member"
    CANDIDATE = "candidate"
    SEED = "seed"


@dataclass(frozen=True)
class NextStep:
    """Possible next step: complete the candidate of that name, or train a new candidate or seed from the source of that name.

    source: of the candidate. gain: in SMAPE, now. work: seconds of the trainings that are lacking. wall: seconds until they
    would have ended.
    """

    kind: StepKind
    name: str
    source: str
    gain: float
    work: float
    wall: float

    @property
    def rate(self) -> float:
        return self.gain / max(self.work, 1e-9)  # a candidate may lack no training


def next_step(candidates: Sequence[NextStep], sources: Sequence[MemberSource], left: float) -> NextStep | None:
    """The step of the highest gain per second among those that end in the time `left`, or None.

    One step is looked ahead: a source is tried where the better of what it may bring and of its best candidate at hand
    outweighs the seconds of one training more. A step that would not fit any more after the chosen one goes first if it brings
    more than that and all that is expected to follow.
    """
    tried = []
    for each in sources:
        at_hand = max((step.gain for step in candidates if step.source == each.name), default=0.0)
        tried.append(NextStep(StepKind.CANDIDATE, each.name, each.name, each.expected(at_hand), each.work, each.wall))
    fitting = [step for step in (*candidates, *tried) if step.gain > 0 and step.wall <= left]
    if not fitting:
        return None
    best = max(fitting, key=lambda step: step.rate)
    last_calls = [step for step in fitting if step.wall > left - best.wall and step.gain > best.gain / (1.0 - FADING)]
    return max(last_calls, key=lambda step: step.rate, default=best)
