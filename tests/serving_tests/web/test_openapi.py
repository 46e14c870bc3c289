"""The OpenAPI document: every route, an example of every body, where a key is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from serving.middleware.key_store import KeyRing, add_key
from serving.web.app import OPEN_PATHS
from tests.serving_tests.conftest import client_of
from tests.serving_tests.engines import Script


def test_the_document_names_every_route_with_examples(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/predict", "/predict/batch", "/explain", "/outcomes", "/admin/reload",
        "/health", "/ready", "/version", "/metrics", "/drift.json",
    }  # fmt: skip
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert document["components"]["schemas"]["PriceRequest"]["properties"]["catalog_content"]["examples"]
    assert "securitySchemes" not in document["components"]  # no keys are asked for


def test_every_body_in_the_document_has_an_example_that_is_one(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    bodies = list(bodies_of(document))
    assert len(bodies) > 20
    for body in bodies:
        name = body.get("$ref", "").rpartition("/")[2]
        schema = document["components"]["schemas"][name] if name else body
        assert schema["examples"], name
        for example in schema["examples"]:
            Draft202012Validator({**schema, "components": document["components"]}).validate(example)


def bodies_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas of all requests and answers."""
    for path in document["paths"].values():
        for operation in path.values():
            for one in (operation.get("requestBody", {}), *operation["responses"].values()):
                for kind, content in one.get("content", {}).items():
                    assert content["schema"] or kind == "text/plain"
                    yield content["schema"]


def test_the_document_marks_routes_that_need_a_key(exported: Path, script: Script, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    headers = {"Authorization": f"Bearer {add_key(path, 'shop')}"}
    with client_of(exported, ring=KeyRing(path)) as client:
        document = client.get("/openapi.json", headers=headers).json()
        assert client.post("/predict", json={"catalog_content": "7"}, headers=headers).status_code == 200
    ((name, scheme),) = document["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation.get("security", []) == ([] if path in OPEN_PATHS else [{name: []}])
