"""FastAPI application: the routes of the service."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from serving.common.limits import Limits
from serving.engine.engine import Overloaded
from serving.engine.request_fields import field_schema
from serving.engine.service import Service, SwapError
from serving.middleware.access import admin_only
from serving.middleware.key_store import KeyRing
from serving.middleware.problems import problem
from serving.middleware.protect import protect
from serving.middleware.rate import RateLimiter, check_rate
from serving.monitoring.observer import Observer
from serving.monitoring.prometheus_metrics import CONTENT_TYPE
from serving.web import schemas
from serving.web.requests import Pricing, record_outcomes, refused_product, validation_error
from serving.web.schemas import Problem

FORM = "multipart/form-data"
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/PriceRequest"}},
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["catalog_content"],
                    "additionalProperties": False,
                    "properties": {
                        "catalog_content": {"type": "string"},
                        "image_url": {"type": "string"},
                        "fields": {"type": "string", "description": "a JSON object, as in a JSON body"},
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "its picture, as a file; goes before image_url",
                        },
                    },
                    "examples": [{"catalog_content": schemas.TEXT, "image": "(the bytes of jam.jpg)"}],
                }
            },
        },
    }
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": HTTPStatus(code).phrase}
    for code in (400, 401, 403, 408, 413, 415, 422, 429, 500, 503)
}
BEARER = Security(HTTPBearer(auto_error=False, description="a key of `python -m serving.keys add NAME`"))
"""Marks routes that need a key in the document; `serving.middleware.access` has checked it before any route is reached."""


PAGE = Path(__file__).parent / "page"
FILES = {
    "/": "index.html",
    "/page.css": "page.css",
    "/page.js": "page.js",
    "/icon.svg": "icon.svg",
    "/drift": "drift.html",
    "/drift.js": "drift.js",
}
"""Files of the web page, by path; it holds nothing of anybody's, so no key is asked for."""
OPEN_PATHS = frozenset({"/health", "/ready", *FILES})


def make_app(
    service: Service, observer: Observer, limits: Limits, ring: KeyRing | None, *, follow: bool = False
) -> FastAPI:
    """FastAPI application behind the middleware; it starts the service, unless it runs, and stops it.

    follow: serve a newer bundle as soon as it is there.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if not service.started:
            await service.start()
        observer.serve(service.served.bundle)
        tasks = [asyncio.create_task(observer.run())]
        if follow:
            tasks.append(asyncio.create_task(service.follow(observer.serve)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await service.stop()
            await observer.close_minute()
            await observer.alerts.close()

    app = FastAPI(
        title="Pricestack",
        description="Prices of products from their catalog text and picture.",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    limiter = protect(app, limits, ring, open_paths=OPEN_PATHS, on_request=observer.record_request)
    app.add_exception_handler(Overloaded, _answer_overload)
    keys = [] if ring is None else [BEARER]
    app.include_router(_pricing_routes(Pricing(service, observer, limits), limits, limiter), dependencies=keys)
    app.include_router(_service_routes(service, observer), dependencies=keys)
    app.include_router(_probe_routes(service))
    app.include_router(_page_routes())
    app.openapi = _with_bundle_fields(app, service)  # type: ignore[method-assign]
    return app


def _answer_overload(_: Request, error: Exception) -> Response:
    assert isinstance(error, Overloaded)
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers={"Retry-After": str(error.seconds)})


def _pricing_routes(pricing: Pricing, limits: Limits, limiter: RateLimiter) -> APIRouter:
    router = APIRouter(responses=PROBLEMS, tags=["prices"])

    @router.post("/predict", openapi_extra=BODY, response_model=schemas.PriceAnswer)
    async def predict(request: Request) -> schemas.PriceAnswer:
        """The price of one product, from JSON, or from a form with its image."""
        asked, upload = await _read(request)
        try:
            return await pricing.one(asked, upload)
        except ValueError as error:
            raise refused_product(error) from None

    @router.post("/predict/batch")
    async def predict_batch(request: Request, batch: schemas.BatchRequest) -> schemas.BatchAnswer:
        """Prices of many products. A row that cannot be priced says why, and changes nothing for the others."""
        if len(batch.rows) > limits.batch_rows:
            raise validation_error(
                "rows", ValueError(f"{len(batch.rows):,} rows, more than the limit of {limits.batch_rows:,}")
            )
        check_rate(limiter, request.scope, len(batch.rows) - 1, taken=1)  # the middleware took the first token
        return await pricing.batch(batch.rows)

    @router.post("/explain")
    async def explain(request: Request, asked: schemas.PriceRequest) -> schemas.Explanation:
        """What drove the price of a text: it is priced once more without each of its pieces."""
        check_rate(limiter, request.scope, 8, taken=1)
        try:
            return await pricing.explain(asked)
        except ValueError as error:
            raise refused_product(error) from None

    return router


def _service_routes(service: Service, observer: Observer) -> APIRouter:
    router = APIRouter(responses=PROBLEMS, tags=["service"])

    @router.get("/version")
    async def version() -> schemas.Version:
        """What is served."""
        return _version(service)

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(observer.metrics.text(service), media_type=CONTENT_TYPE)

    @router.get("/drift.json")
    async def drift() -> schemas.DriftAnswer:
        """The last rows beside the bundle's catalog."""
        known = observer.drift
        figures = [schemas.DriftFigure.model_validate(each) for each in (known.figures if known else ())]
        return schemas.DriftAnswer(rows=known.seen if known else 0, figures=figures)

    @router.post("/outcomes")
    async def outcomes(given: schemas.OutcomesRequest) -> schemas.OutcomesAnswer:
        """What products really cost: gives the live SMAPE. An outcome that does not fit changes nothing for the others."""
        return record_outcomes(observer, given.outcomes)

    @router.post("/admin/reload", dependencies=[Depends(admin_only)], responses={409: {"model": schemas.Problem}})
    async def reload(asked: schemas.ReloadRequest) -> schemas.Version:
        """Serves another bundle without a request lost; an older one by its name."""
        try:
            observer.serve(await service.swap(asked.bundle))
        except SwapError as error:
            raise HTTPException(HTTPStatus.CONFLICT, str(error)) from None
        return _version(service)

    return router


def _probe_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["service"])

    @router.get("/health")
    async def health() -> schemas.State:
        """The process answers."""
        return schemas.State(status=schemas.ServiceStatus.OK)

    @router.get("/ready", responses={503: {"model": schemas.State}})
    async def ready(response: Response) -> schemas.State:
        """A bundle is loaded, and a process computes from it."""
        if service.ready:
            return schemas.State(status=schemas.ServiceStatus.READY)
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return schemas.State(status=schemas.ServiceStatus.NOT_READY)

    return router


def _page_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for path, name in FILES.items():
        router.add_api_route(path, _file(name), response_class=FileResponse)
    return router


def _file(name: str) -> Callable[[], FileResponse]:
    return lambda: FileResponse(PAGE / name, headers={"Cache-Control": "no-cache"})


def _version(service: Service) -> schemas.Version:
    bundle = service.served.bundle
    return schemas.Version(
        name=bundle.name,
        version=bundle.version,
        nested_smape=bundle.facts.nested["smape"],
        coverage=bundle.facts.coverage,
        members=[member.id for member in bundle.facts.members],
        code=bundle.facts.code,
        device=service.served.engine.config.device,
        previous=sorted(path.name for path in service.others()),
    )


async def _read(request: Request) -> tuple[schemas.PriceRequest, bytes | None]:
    """Text and image of a request. Raises RequestValidationError for what does not fit, 415 for another type of body."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    upload: bytes | None = None
    if kind == "application/json":
        try:
            given: Any = await request.json()
        except ValueError:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "the body is no JSON") from None
    elif kind == FORM:
        form = await request.form(max_files=1, max_fields=4)
        given = {name: value for name, value in form.multi_items() if name != "image"}
        if isinstance(given.get("fields"), str):
            given["fields"] = _form_fields(given["fields"])
        for image in form.getlist("image"):
            if not isinstance(image, UploadFile):
                raise validation_error("image", ValueError("image must be a file, with a file name"))
            upload = await image.read() or None  # a form's empty file field is no image
    else:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send application/json or {FORM}")
    try:
        return schemas.PriceRequest.model_validate(given), upload
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None


def _form_fields(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise validation_error("fields", ValueError("fields are no JSON object")) from None


def _with_bundle_fields(app: FastAPI, service: Service) -> Callable[[], dict[str, Any]]:
    """OpenAPI document in which the fields of a request are those of the served bundle."""
    made = app.openapi

    def document() -> dict[str, Any]:
        schema = made()
        if service.started:
            request = schema["components"]["schemas"]["PriceRequest"]
            request["properties"]["fields"] = field_schema(service.served.columns)
        return schema

    return document
