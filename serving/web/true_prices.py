"""True prices as they are told: what fits is counted, and what does not says why."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from serving.monitoring.feedback import Told
from serving.monitoring.observer import Observer
from serving.web.requests import reason
from serving.web.schemas import Outcome, OutcomeError, OutcomesAnswer


def told(observer: Observer, given: list[Any]) -> OutcomesAnswer:
    """Each outcome by itself."""
    fitting: list[tuple[str, float]] = []
    errors: list[OutcomeError] = []
    for row, each in enumerate(given):
        try:
            outcome = Outcome.model_validate(each)
        except ValidationError as error:
            errors.append(OutcomeError(row=row, error=reason(error)))
        else:
            fitting.append((outcome.id, outcome.price))
    counts, live = observer.came(fitting), observer.outcomes.live
    figures = {} if live is None else {name: getattr(live, name) for name in ("smape", "standard_error", "coverage")}
    return OutcomesAnswer(
        known=counts[Told.FIRST] + counts[Told.AGAIN],
        unknown=counts[Told.UNKNOWN],
        repeated=counts[Told.AGAIN],
        failed=len(errors),
        errors=errors,
        rows=observer.outcomes.rows,
        **figures,
    )
