"""What a sweep with a time limit is going to do, as far as it can be told before anything was measured. For `--dry-run` too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from experiments.common.formatting import duration
from experiments.planning.budget import CAUTION, Limits, makespan

START_SECONDS = 6.0
"""From the plan to the first training: Ray, the studies and the diary begin meanwhile."""


def forecast(seconds: Mapping[str, float], trainings: int, limits: Limits, now: float) -> Iterator[str]:
    """Lines in the order of what happens. seconds: of one training by architecture; trainings: of one member."""
    budget = limits.budget
    left = max(0.0, budget.left(now) - START_SECONDS)
    yield f"{duration(left)} for trainings, {budget.concurrent} at once; {duration(budget.closing)} are kept for report and stack"
    number, later = 0, list[str]()
    opening = [name for name, each in seconds.items() if limits.few or budget.opens(each, trainings)]
    for name in sorted(seconds, key=lambda name: (name not in opening, seconds[name])):
        member = makespan((), [seconds[name]] * trainings, budget.concurrent)
        one = f"about {duration(seconds[name])} a training"
        if CAUTION * member > left:
            yield f"not started: {name}, {one}; a member of {trainings} would take {duration(member)}"
            continue
        if name in opening:
            number += 1
            left -= member
            yield f"{number}. {name}, its documented best as a member at once: {trainings} trainings, {one}, {duration(member)}"
        else:
            later.append(f"{name} ({one}; a member would take {duration(member)})")
    cheapest = min(makespan((), [each] * trainings, budget.concurrent) for each in seconds.values())
    further = int(left / (CAUTION * cheapest))
    if later:
        number += 1
        yield f"{number}. where their rate of gain is the highest: {', '.join(later)}"
    if limits.few is not None:
        then = f"their other documented points, then the same with other seeds, until each has {limits.few} members"
    else:
        then = "whatever is expected to lower the stack's SMAPE most per second"
    yield f"{number + 1}. {then}: {duration(left)}, enough for {further} more members of the cheapest kind"
