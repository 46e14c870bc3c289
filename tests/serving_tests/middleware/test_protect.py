"""All guards together, in front of a FastAPI application: over a client, and over a real server."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
import uvicorn
from fastapi import Depends, FastAPI, File, HTTPException, UploadFile
from pydantic import BaseModel
from starlette.responses import HTMLResponse
from starlette.testclient import TestClient

from serving.common.limits import Limits
from serving.middleware.access import admin_only
from serving.middleware.key_store import KeyRing, add_key
from serving.middleware.logs import logging_config
from serving.middleware.protect import HEADERS, protect

LIMITS = Limits(json_bytes=2_000, form_bytes=4_000, json_depth=4, requests_per_second=0.001, burst=100)


class Row(BaseModel, extra="forbid"):
    catalog_content: str
    count: int = 1


def application(ring: KeyRing | None, limits: Limits = LIMITS) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.post("/predict")
    def predict(row: Row) -> dict[str, float]:
        if row.catalog_content == "boom":
            raise RuntimeError(f"{row.catalog_content} /etc/passwd")
        if row.catalog_content == "busy":
            raise HTTPException(503, "try again", headers={"Retry-After": "1"})
        return {"predicted_price": float(len(row.catalog_content))}

    @app.post("/upload")
    async def upload(image: Annotated[UploadFile, File()]) -> int:
        return len(await image.read())

    @app.post("/admin/reload", dependencies=[Depends(admin_only)])
    def reload() -> str:
        return "reloaded"

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse("<p>price</p>", headers={"Cache-Control": "max-age=60"})

    protect(app, limits, ring, open_paths={"/", "/health"})
    return app


@pytest.fixture
def key(tmp_path: Path) -> str:
    return add_key(tmp_path / "keys.json", "shop")


@pytest.fixture
def client(tmp_path: Path, key: str) -> TestClient:
    return TestClient(application(KeyRing(tmp_path / "keys.json")), headers={"Authorization": f"Bearer {key}"})


def test_a_request_with_a_key_is_answered(client: TestClient) -> None:
    answer = client.post("/predict", json={"catalog_content": "tea"})
    assert (answer.status_code, answer.json()) == (200, {"predicted_price": 3.0})
    assert client.post("/upload", files={"image": b"x" * 3_000}).json() == 3_000


def test_every_refusal_is_a_problem_with_its_id_and_the_headers(client: TestClient) -> None:
    row = {"catalog_content": "tea"}
    refusals = {
        401: client.post("/predict", json=row, headers={"Authorization": "Bearer x"}),
        403: client.post("/admin/reload"),
        404: client.get("/none"),
        405: client.get("/predict"),
        413: client.post("/predict", json={"catalog_content": "x" * 3_000}),
        400: client.post("/predict", content="[[[[[]]]]]"),
        422: client.post("/predict", json={"catalog_content": 3}),
        503: client.post("/predict", json={"catalog_content": "busy"}),
        500: client.post("/predict", json={"catalog_content": "boom"}),
    }
    for status, answer in refusals.items():
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status and problem["request_id"] == answer.headers["x-request-id"]
        assert answer.headers["cache-control"] == "no-store"
        assert all(answer.headers[name] == value for name, value in HEADERS.items())
        assert "/etc" not in answer.text and "Traceback" not in answer.text and ".py" not in answer.text
    assert refusals[503].headers["retry-after"] == "1" and refusals[503].json()["detail"] == "try again"


def test_the_schemas_refusal_does_not_send_the_input_back(client: TestClient) -> None:
    answer = client.post("/predict", json={"catalog_content": "organic tea", "count": "secret"})
    (error,) = answer.json()["errors"]
    assert (error["loc"], error["type"], set(error)) == (["body", "count"], "int_parsing", {"loc", "msg", "type"})
    assert "organic" not in answer.text and "secret" not in answer.text
    assert answer.json()["detail"] == "the request does not fit the schema in 1 place"
    many = client.post("/predict", json={f"n{number}": 1 for number in range(100)})
    assert len(many.json()["errors"]) == 20 and "in 101 places" in many.json()["detail"]


BROKEN = ["{", '{"catalog_content": "tea"', "tea", "1e999", "[[[]]]", '"\\ud800"', '{"catalog_content": "organic']


@pytest.mark.parametrize(
    "content", [*BROKEN, '{"count": ' + "9" * 1_000 + "}", '{"\\ud800": 1, "catalog_content": "a"}']
)
def test_broken_json_is_the_callers_fault(client: TestClient, content: str) -> None:
    answer = client.post("/predict", content=content, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500 and "organic" not in answer.text


def test_callers_without_a_key_are_refused_before_their_body_is_read(tmp_path: Path, key: str) -> None:
    client = TestClient(application(KeyRing(tmp_path / "keys.json")))
    assert client.post("/predict", content="[" * 5_000).status_code == 401
    assert client.get("/health").status_code == 200
    assert client.request("GET", "/health", content="[" * 1_000).status_code == 200


def test_the_page_is_open_keeps_its_caching_and_may_run_no_inline_script(client: TestClient) -> None:
    answer = client.get("/", headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "max-age=60")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert "strict-transport-security" not in answer.headers
    assert "strict-transport-security" in TestClient(client.app, base_url="https://testserver").get("/").headers


def test_headers_are_there_once_whatever_a_route_sets(client: TestClient) -> None:
    @client.app.get("/own")  # type: ignore[attr-defined]
    def own() -> HTMLResponse:
        return HTMLResponse(
            "", headers={"Content-Security-Policy": "default-src *", "x-frame-options": "ALLOW", "X-Own": "1"}
        )

    headers = client.get("/own").headers
    assert all(headers.get_list(name) == [value] for name, value in HEADERS.items()) and headers["x-own"] == "1"


def test_the_rate_is_each_keys_own(tmp_path: Path, key: str) -> None:
    other = add_key(tmp_path / "keys.json", "other")
    limits = LIMITS.model_copy(update={"burst": 2})
    client = TestClient(application(KeyRing(tmp_path / "keys.json"), limits))
    statuses = [
        client.post("/predict", json={"catalog_content": "a"}, headers={"Authorization": f"Bearer {one}"}).status_code
        for one in (key, key, key, other)
    ]
    assert statuses == [200, 200, 429, 200]


@pytest.fixture
def served(tmp_path: Path, key: str) -> Iterator[int]:
    """The port of a real server with keys."""
    config = uvicorn.Config(application(KeyRing(tmp_path / "keys.json")), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


def test_a_real_server_bounds_chunked_bodies(served: int, key: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    small, large = [b'{"catalog_content": ', b'"tea"}'], [b'{"catalog_content": "', *[b"x" * 500] * 5]
    connection.request("POST", "/predict", iter(small), headers, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (200, {"predicted_price": 3.0})
    connection.request("POST", "/predict", iter(large), headers, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Content-Type")) == (413, "application/problem+json")
    connection.close()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Length: 9999999\r\n\r\n", b""),
        ("Content-Length: 8000000\r\n\r\n", b"x" * 8_000_000),
        ("Transfer-Encoding: chunked\r\n\r\n7a1200\r\n", b"x" * 8_000_000 + b"\r\n0\r\n\r\n"),
    ],
    ids=["announced alone", "whole", "chunked"],
)
def test_a_client_that_sends_too_much_gets_the_refusal(served: int, key: str, head: str, body: bytes) -> None:
    """A connection closed on bytes that were not read would be reset, and the answer lost."""
    with socket.create_connection(("127.0.0.1", served), timeout=30) as connection:
        connection.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{head}".encode())
        connection.sendall(body)
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 413")


def test_a_real_server_answers_what_fails_and_logs_no_trace(
    served: int, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    formatter = logging_config()["formatters"]["json"]["()"]()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with caplog.at_level(logging.INFO):
        connection = http.client.HTTPConnection("127.0.0.1", served, timeout=30)
        connection.request("POST", "/predict?token=secret", b'{"catalog_content": "boom"}', headers)
        answer = connection.getresponse()
        assert answer.status == 500
        number = json.loads(answer.read())["request_id"]
        connection.close()
    lines = [formatter.format(record) for record in caplog.records]
    failed = [json.loads(line) for line in lines if "RuntimeError" in line]
    assert len(failed) == 1 and failed[0]["error"] == "RuntimeError"
    assert answer.getheader("X-Request-ID") == number
    everything = "\n".join(lines)
    assert not any(secret in everything for secret in (key, "secret", "passwd", "Traceback"))
