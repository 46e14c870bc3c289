"""OpenAPI document: form bodies, problem responses and security schemes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import Security
from fastapi.security import HTTPBearer

from serving.web import examples
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
                        "image": {
                            "type": "string",
                            "format": "binary",
                            "description": "its picture, as a file; goes before image_url",
                        },
                    },
                    "examples": [{"catalog_content": examples.TEXT, "image": "(the bytes of jam.jpg)"}],
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
"""Says where a key is asked for. Whether it is valid was judged before any route was reached (`serving.middleware.access`)."""
