"""Request and response schemas (pydantic) with their examples, from which the OpenAPI document is made."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from core.data.price_scale import MAX_PRICE
from serving.bundle.bundle import AnswerLevel
from serving.bundle.device_choice import DeviceChoice
from serving.bundle.interval import LEVEL
from serving.monitoring.drift import DriftMeasure

TEXT = "Item Name: Blackberry Jam, 9 oz (Pack of 6)\nBullet Point 1: No added sugar\nValue: 54.0\nUnit: Ounce\n"
URL = "https://images.example.com/jam.jpg"
_ID = "5c0f3b1e9a7d4c2f8b6e1d3a9f7c5b20"
_VERSION = "3-0a1b2c3d4e5f"
PRICE = {
    "id": _ID,
    "predicted_price": 27.4,
    "interval": {"low": 15.1, "high": 49.8, "level": LEVEL, "coverage": 0.801},
    "model_version": _VERSION,
    "members": ["boosted-9244d30f0e03", "text-28f84790c980"],
    "level": "stack",
    "fallback": False,
    "cached": False,
    "picture": "not had",
    "note": "this service fetches no image URLs",
}
REQUEST = {"catalog_content": TEXT, "image_url": URL}
BATCH_REQUEST = {"rows": [{"catalog_content": TEXT}, {"catalog_content": "Item Name: Black Tea, 100 Bags"}]}
BATCH = {
    "results": [{**PRICE, "id": f"{_ID}:0"}, {"error": "catalog_content: Input should be a valid string"}],
    "priced": 1,
    "failed": 1,
}
EXPLANATION = {
    "predicted_price": 27.4,
    "fields": {"kind": "jam", "pack": 6.0, "total_g": 1530.9},
    "pieces": [
        {"text": "Item Name: Blackberry Jam, 9 oz (Pack of 6)", "change": 41.2},
        {"text": "Bullet Point 1: No added sugar", "change": -2.3},
    ],
}
OUTCOMES_REQUEST = {"outcomes": [{"id": _ID, "price": 24.99}]}
OUTCOMES = {
    "known": 2,
    "unknown": 1,
    "repeated": 0,
    "failed": 1,
    "errors": [{"row": 3, "error": "price: Input should be greater than 0"}],
    "smape": 33.9,
    "standard_error": 1.2,
    "coverage": 0.79,
    "rows": 412,
}
VERSION = {
    "name": "shop",
    "version": _VERSION,
    "nested_smape": 34.61,
    "coverage": 0.801,
    "members": PRICE["members"],
    "code": {"core": "4", "features": "2"},
    "device": "cpu",
    "previous": ["shop-2-5b6c7d8e9f00"],
}
DRIFT = {
    "rows": 500,
    "figures": [{"what": "length", "measure": "ks", "value": 0.31, "limit": 0.2, "drifted": True}],
}
UNFIT = {
    "title": "Unprocessable Entity",
    "status": 422,
    "request_id": _ID,
    "detail": "the request does not fit the schema in 1 place",
    "errors": [{"loc": ["body", "catalog_content"], "msg": "Field required", "type": "missing"}],
}
LATER = {"title": "Too Many Requests", "status": 429, "request_id": _ID, "detail": "try again in 3 s"}


def _example(*values: dict[str, Any]) -> ConfigDict:
    """For a model's `model_config`: what it looks like, as the document shows it."""
    return ConfigDict(json_schema_extra={"examples": list(values)})


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class PriceRequest(Strict):
    """A product: its catalog text, and perhaps where its image is."""

    model_config = _example(REQUEST)

    catalog_content: str = Field(description="the product's text, as in the catalog", examples=[TEXT])
    image_url: str | None = Field(
        None, description="of its picture; fetched only where the operator allows its host", examples=[URL]
    )
    fields: dict[str, Any] | None = Field(
        None, description="the shop's columns beside the text, by name; what is missing counts as unknown"
    )


class BatchRequest(Strict):
    """Rows, each handled by itself: what is wrong with one changes nothing for the others."""

    model_config = _example(BATCH_REQUEST)

    rows: list[Any] = Field(
        min_length=1,
        description="products, at most 1,024 (`batch_rows`)",
        json_schema_extra={"items": {"$ref": "#/components/schemas/PriceRequest"}},
        examples=[[{"catalog_content": TEXT}]],
    )


class Interval(BaseModel):
    """Encloses the true price with probability `level`; `coverage` is the share it had on held-out rows."""

    low: float = Field(gt=0)
    high: float = Field(gt=0)
    level: float = LEVEL
    coverage: float


class ImageStatus(StrEnum):
    """Part that an image has in a price."""

    NONE = "none"
    GIVEN = "given"
    NOT_USED = "not used"
    NOT_HAD = "not had"


class PriceAnswer(BaseModel):
    """A price in the catalog's currency, and where it is from."""

    model_config = ConfigDict(protected_namespaces=(), **_example(PRICE))

    id: str = Field(description="by which its true price may be sent later (/outcomes)")
    predicted_price: float = Field(gt=0)
    interval: Interval
    model_version: str
    members: list[str] = Field(description="members of the stack that answered")
    level: AnswerLevel = Field(
        description="stack: all members; members: some; light: no network; median: none, the catalog's best constant"
    )
    fallback: bool = Field(description="whether anybody but the whole stack has answered")
    cached: bool = Field(description="whether it was computed for an earlier request")
    picture: ImageStatus = Field(
        description="none: there was none; given: read for this price; not used: no member that answered reads pictures; "
        "not had: it could not be fetched or read. Without `given` the price comes from the text alone"
    )
    note: str | None = Field(
        None, description="why a picture was not had; that the text is empty; fields that are unknown"
    )


class RowError(BaseModel):
    """Why a row of a batch has no price."""

    error: str


class BatchAnswer(BaseModel):
    """One result per row, in the rows' order."""

    model_config = _example(BATCH)

    results: list[PriceAnswer | RowError]
    priced: int
    failed: int


class Piece(BaseModel):
    """A piece of the text, and what it does: the price is `change` percent of what it would be without it, above or below."""

    text: str
    change: float


class Explanation(BaseModel):
    """The price, the fields that the models read in its text, and what each piece of it does to the price."""

    model_config = _example(EXPLANATION)

    predicted_price: float
    fields: dict[str, float | str]
    pieces: list[Piece]


class Outcome(Strict):
    """What a product really cost."""

    id: Annotated[str, Field(min_length=1, max_length=80, description="of the answer that predicted it")]
    price: Annotated[float, Field(gt=0, le=MAX_PRICE, allow_inf_nan=False)]


class OutcomesRequest(Strict):
    """Outcomes, each handled by itself: what is wrong with one changes nothing for the others."""

    model_config = _example(OUTCOMES_REQUEST)

    outcomes: list[Any] = Field(
        min_length=1,
        max_length=1024,
        description="of one id the last price counts, once",
        json_schema_extra={"items": Outcome.model_json_schema()},
    )


class OutcomeError(BaseModel):
    """Why an outcome does not count. row: its place among those that were sent, from 0."""

    row: int
    error: str


class OutcomesAnswer(BaseModel):
    """What became of the outcomes, and the live figures over the last `rows` of all; those come with the second one."""

    model_config = _example(OUTCOMES)

    known: int = Field(description="outcomes whose prediction is remembered")
    unknown: int = Field(description="outcomes of ids that are not, or no longer, remembered")
    repeated: int = Field(description="of the known ones, those of an id that was sent before")
    failed: int = Field(description="outcomes that do not fit, as `errors` say")
    errors: list[OutcomeError]
    smape: float | None = Field(None, description="in percent")
    standard_error: float | None = None
    coverage: float | None = Field(None, description="share of true prices in their intervals")
    rows: int


class ReloadRequest(Strict):
    model_config = _example({}, {"bundle": "shop-2-5b6c7d8e9f00"})

    bundle: str | None = Field(
        None, max_length=200, description="name of a folder beside the served bundle; the newest if not given"
    )


class Version(BaseModel):
    """What is served."""

    model_config = _example(VERSION)

    name: str
    version: str
    nested_smape: float
    coverage: float
    members: list[str]
    code: dict[str, str]
    device: DeviceChoice = Field(description="that the networks compute on: cpu or cuda")
    previous: list[str] = Field(description="bundles beside it, to which it may be swapped")


class ServiceStatus(StrEnum):
    """Answer of a probe."""

    OK = "ok"
    READY = "ready"
    NOT_READY = "not ready"


class State(BaseModel):
    model_config = _example({"status": "ready"})

    status: ServiceStatus


class DriftFigure(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    what: str
    measure: DriftMeasure
    value: float
    limit: float
    drifted: bool


class DriftAnswer(BaseModel):
    """The last rows beside the bundle's catalog; no figures before there are enough of them."""

    model_config = _example(DRIFT)

    rows: int
    figures: list[DriftFigure]


class Problem(BaseModel):
    """RFC 9457."""

    model_config = _example(UNFIT, LATER)

    title: str
    status: int
    request_id: str
    detail: str | None = None
    errors: list[dict[str, Any]] | None = None
