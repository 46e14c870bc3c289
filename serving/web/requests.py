"""Request handling: a price request checked, priced and explained; true prices recorded."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from core.inputs.images.image_urls import ImageError
from serving.common.limits import Limits, check_text
from serving.engine.engine import Overloaded
from serving.engine.request_fields import FieldError, TextWithFields, append_fields, check_fields
from serving.engine.service import PricedRow, Service
from serving.middleware.problems import request_id
from serving.monitoring.feedback import FeedbackStatus
from serving.monitoring.observer import Observer
from serving.web.schemas import (
    BatchAnswer,
    Explanation,
    ImageStatus,
    Interval,
    Outcome,
    OutcomeError,
    OutcomesAnswer,
    Piece,
    PriceAnswer,
    PriceRequest,
    RowError,
)

AT_ONCE = 128
"""Rows of one batch that wait for an answer at the same time: the largest batch must not fill the queue by itself.

Where the queue is short, half of it.
"""


class Pricing:
    """One service's. Raises Overloaded where no more rows are taken."""

    def __init__(self, service: Service, observer: Observer, limits: Limits) -> None:
        self._service, self._observer, self._limits = service, observer, limits

    async def one(self, asked: PriceRequest, upload: bytes | None, *, row: int | None = None) -> PriceAnswer:
        """row: its number in a batch, whose rows leave room for single requests. Raises ValueError for a text that is none."""
        read = self._text(asked)
        text = read.text
        image, missing, bulk = upload, "", row is not None
        try:
            if image is None and asked.image_url is not None:
                image = await self._service.images.fetcher.fetch(asked.image_url)
            priced = await self._service.price(text, image, bulk=bulk)
        except ImageError as error:
            image, missing = None, str(error)
            priced = await self._service.price(text, bulk=bulk)
        status = _image_status(image is not None, missing, priced)
        self._observer.metrics.images.labels(status).inc()
        notes = filter(None, (missing, _empty_text_note(text, priced), read.note))
        return self._answer(priced, row, status, "; ".join(notes) or None)

    async def batch(self, rows: list[Any]) -> BatchAnswer:
        """Each row by itself. Raises Overloaded only where there was no room for any of them."""
        queue_rows = self._service.served.engine.config.queue_rows
        room = asyncio.Semaphore(max(1, min(AT_ONCE, queue_rows // 2)))
        results = await asyncio.gather(*(self._row(row, number, room) for number, row in enumerate(rows)))
        refused = [result for result in results if isinstance(result, Overloaded)]
        if len(refused) == len(results):
            raise refused[0]
        answers = [RowError(error=str(result)) if isinstance(result, Overloaded) else result for result in results]
        failed = sum(isinstance(answer, RowError) for answer in answers)
        self._observer.metrics.row_errors.inc(failed)
        return BatchAnswer(results=answers, priced=len(answers) - failed, failed=failed)

    async def explain(self, asked: PriceRequest) -> Explanation:
        """Of the text; images are left out. Raises ValueError for a text that is none."""
        text = self._text(asked).text
        pieces = text_pieces(text)
        answers = await self._service.read([text, *(without(text, piece) for piece in pieces)])
        known = [answer for answer in answers if answer is not None]
        if len(known) < len(answers):  # processes are being started again
            raise Overloaded(1)
        whole, *others = known
        changes = [
            Piece(text=text[start:end].strip(), change=100 * (whole.price / other.price - 1))
            for (start, end), other in zip(pieces, others, strict=True)
        ]
        return Explanation(predicted_price=whole.price, fields=dict(whole.read or {}), pieces=changes)

    def _text(self, asked: PriceRequest) -> TextWithFields:
        """The text with the request's fields. Raises FieldError and ValueError for what is refused."""
        text, fields = check_text(asked.catalog_content, self._limits), asked.fields or {}
        columns = self._service.served.columns
        check_fields(fields, columns, self._limits)
        made = append_fields(text, fields, columns)
        check_text(made.text, self._limits)
        return made

    async def _row(self, row: Any, number: int, room: asyncio.Semaphore) -> PriceAnswer | RowError | Overloaded:
        try:
            asked = PriceRequest.model_validate(row)
            async with room:
                return await self.one(asked, None, row=number)
        except Overloaded as full:
            return full
        except ValidationError as error:
            return RowError(error=reason(error))
        except ValueError as error:
            return RowError(error=str(error))

    def _answer(self, priced: PricedRow, row: int | None, image: ImageStatus, note: str | None) -> PriceAnswer:
        answer = priced.answer
        prediction_id = request_id.get() if row is None else f"{request_id.get()}:{row}"
        self._observer.record_prediction(prediction_id, priced)
        coverage = self._service.served.bundle.facts.coverage
        return PriceAnswer(
            id=prediction_id,
            predicted_price=answer.price,
            interval=Interval(low=answer.low, high=answer.high, coverage=coverage),
            model_version=priced.version,
            members=list(answer.members),
            level=answer.level,
            fallback=priced.fallback,
            cached=priced.cached,
            picture=image,
            note=note,
        )


def _image_status(had: bool, missing: str, priced: PricedRow) -> ImageStatus:
    """Status of a row's image. missing: why it could not be had."""
    if missing:
        return ImageStatus.NOT_HAD
    if not had:
        return ImageStatus.NONE
    return ImageStatus.GIVEN if priced.used_image else ImageStatus.NOT_USED


def _empty_text_note(text: str, priced: PricedRow) -> str:
    """Note on the price of an empty text; "" for others."""
    if text.strip():
        return ""
    if priced.used_image:
        return "the text is empty: the price comes from the picture alone"
    return "the text is empty: the price is that of a product of which nothing is known"


def reason(error: ValidationError) -> str:
    """First validation error: place and message."""
    first = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))


def refused_product(error: ValueError) -> RequestValidationError:
    """The answer to a text, or to fields, that are refused."""
    return validation_error("fields" if isinstance(error, FieldError) else "catalog_content", error)


def validation_error(where: str, error: ValueError) -> RequestValidationError:
    """The same answer as for what the schema does not allow."""
    return RequestValidationError([{"loc": ("body", where), "msg": str(error), "type": "value_error", "input": None}])


MOST_PIECES = 24
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|,\s+(?=\S)")
_SHORT = 40
"""Lines of up to so many characters are pieces; longer ones are taken apart at sentences and commas."""


def text_pieces(text: str) -> list[tuple[int, int]]:
    """(start, end) of at most MOST_PIECES pieces, in order; the last one holds all that is left of a long text."""
    found: list[tuple[int, int]] = []
    for line in re.finditer(r"[^\n]*\S[^\n]*", text):
        found += _parts(text, line.start(), line.end())
    if len(found) > MOST_PIECES:
        found = [*found[: MOST_PIECES - 1], (found[MOST_PIECES - 1][0], found[-1][1])]
    return found


def without(text: str, piece: tuple[int, int]) -> str:
    start, end = piece
    return text[:start] + text[end:]


def _parts(text: str, start: int, end: int) -> list[tuple[int, int]]:
    if end - start <= _SHORT:
        return [(start, end)]
    cuts = [start, *(start + cut.end() for cut in _SENTENCE.finditer(text[start:end])), end]
    return [(begin, stop) for begin, stop in pairwise(cuts) if text[begin:stop].strip()]


def record_outcomes(observer: Observer, given: list[Any]) -> OutcomesAnswer:
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
    counts, live = observer.record_true_prices(fitting), observer.feedback.live
    figures = {} if live is None else {name: getattr(live, name) for name in ("smape", "standard_error", "coverage")}
    return OutcomesAnswer(
        known=counts[FeedbackStatus.FIRST] + counts[FeedbackStatus.AGAIN],
        unknown=counts[FeedbackStatus.UNKNOWN],
        repeated=counts[FeedbackStatus.AGAIN],
        failed=len(errors),
        errors=errors,
        rows=observer.feedback.rows,
        **figures,
    )
