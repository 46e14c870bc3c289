"""The routes, as callers see them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.bundle.bundle import open_bundle
from serving.common.limits import Limits
from serving.engine.engine import EngineConfig
from serving.middleware.key_store import KeyRing, add_key
from serving.web.app import FILES, PAGE
from tests.experiments_tests.waiting import wait_for
from tests.serving_tests.conftest import client_of, png, reads_images
from tests.serving_tests.engine.test_service import renumbered
from tests.serving_tests.engines import Script, answers

TEXT = "Item Name: ACME Jam, 9 oz (Pack of 6)\nValue: 54.0\nUnit: Ounce\n"


def with_image(client: TestClient, text: str = "7", data: bytes | None = None) -> dict[str, Any]:
    """The answer to a form with an image, a red one if not given."""
    files = {"image": ("a.png", data or png(), "image/png")}
    answer = client.post("/predict", data={"catalog_content": text}, files=files)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_a_price_and_where_it_is_from(client: TestClient, exported: Path) -> None:
    facts = open_bundle(exported).facts
    answer = client.post("/predict", json={"catalog_content": "7"}).json()
    assert re.fullmatch(r"[0-9a-f]{32}", answer.pop("id"))
    assert answer == {
        "predicted_price": 7.0,
        "interval": {"low": 3.5, "high": 14.0, "level": 0.8, "coverage": facts.coverage},
        "model_version": exported.name.removeprefix("toy-"),
        "members": ["one"],
        "level": "stack",
        "fallback": False,
        "cached": False,
        "picture": "none",
        "note": None,
    }
    assert client.post("/predict", json={"catalog_content": "7"}).json()["cached"] is True


def test_a_form_with_its_image(exported: Path, script: Script) -> None:
    members = reads_images(exported)
    script.reply = lambda batch: [replace(answer, members=members) for answer in answers(batch)]
    with client_of(exported) as client:
        answer = with_image(client)
        assert (answer["predicted_price"], answer["picture"], answer["note"]) == (7.0, "given", None)
        assert with_image(client, " ")["note"] == "the text is empty: the price comes from the picture alone"
        metrics = client.get("/metrics").text
    assert 'pricestack_pictures_total{outcome="given"} 2.0' in metrics


def test_an_image_that_no_member_reads_is_not_used(exported: Path, script: Script) -> None:
    with client_of(exported) as client:
        assert with_image(client)["picture"] == "not used"
    reads_images(exported)  # the one that answers is not among them
    with client_of(exported) as client:
        assert with_image(client)["picture"] == "not used"


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_the_price_of_an_empty_text_has_a_note(client: TestClient, text: str) -> None:
    note = "the text is empty: the price is that of a product of which nothing is known"
    assert client.post("/predict", json={"catalog_content": text}).json()["note"] == note
    both = client.post("/predict", json={"catalog_content": text, "image_url": "file:///a"}).json()["note"]
    assert both.endswith(f"; {note}") and "fetches no image URLs" in both
    batch = client.post("/predict/batch", json={"rows": [{"catalog_content": text}, {"catalog_content": "7"}]}).json()
    assert [result["note"] for result in batch["results"]] == [note, None]


def test_an_image_that_is_no_file_is_refused(client: TestClient) -> None:
    fields = {"catalog_content": "7", "image_url": "https://images.example.com/a.png", "image": "@jam.jpg"}
    answer = client.post("/predict", files={name: (None, value) for name, value in fields.items()})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["loc"], error["msg"]) == (["body", "image"], "image must be a file, with a file name")


@pytest.mark.parametrize("url", ["https://images.example.com/a.png", "file:///etc/passwd"])
def test_a_url_that_is_not_fetched_leaves_the_text(client: TestClient, url: str) -> None:
    answer = client.post("/predict", json={"catalog_content": "7", "image_url": url}).json()
    assert (answer["predicted_price"], answer["picture"]) == (7.0, "not had")
    assert "fetches no image URLs" in answer["note"]


@pytest.mark.parametrize("data", [b"GIF89a and no more", png()[:40], b"<svg/>"])
def test_an_image_that_cannot_be_read_leaves_the_text(client: TestClient, data: bytes) -> None:
    answer = with_image(client, data=data)
    assert (answer["predicted_price"], answer["picture"]) == (7.0, "not had")
    assert answer["note"]


def test_the_largest_batch_is_priced_by_default_limits_and_leaves_the_queue_room(
    exported: Path, script: Script
) -> None:
    rows = [{"catalog_content": str(number)} for number in range(1, 1_025)]
    with client_of(exported) as client:
        answer = client.post("/predict/batch", json={"rows": rows})
        assert answer.status_code == 200, answer.text
        prices = [result["predicted_price"] for result in answer.json()["results"]]
        assert prices == [float(number) for number in range(1, 1_025)]
        again = client.post("/predict/batch", json={"rows": rows})
        assert again.status_code == 429 and 1 <= int(again.headers["Retry-After"]) <= 10


def test_rows_of_a_batch_stand_alone(client: TestClient) -> None:
    good, bad = [{"catalog_content": "7"}, {"catalog_content": "9"}], {"catalog_content": "8", "more": 1}
    rows = [good[0], {"catalog_content": 3}, "nothing", bad, good[1]]
    answer = client.post("/predict/batch", json={"rows": rows}).json()
    assert (answer["priced"], answer["failed"]) == (2, 3)
    prices = [result.get("predicted_price") for result in answer["results"]]
    assert prices == [7.0, None, None, None, 9.0]
    assert answer["results"][1]["error"] == "catalog_content: Input should be a valid string"
    assert answer["results"][0]["id"].endswith(":0") and answer["results"][4]["id"].endswith(":4")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"json": {"catalog_content": 3}}, 422),
        ({"json": {"catalog_content": "a", "price": 3}}, 422),
        ({"json": {}}, 422),
        ({"json": [1]}, 422),
        ({"content": b'{"catalog_content": "\\ud800"}', "headers": {"Content-Type": "application/json"}}, 422),
        ({"json": {"catalog_content": "a" * 101}}, 422),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b"a", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"files": {"other": ("a", b"a")}, "data": {"catalog_content": "a"}}, 422),
    ],
)
def test_misfit_requests_are_refused(exported: Path, script: Script, body: dict[str, Any], status: int) -> None:
    with client_of(exported, limits=Limits(text_chars=100)) as client:
        answer = client.post("/predict", **body)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert "Traceback" not in answer.text


def test_too_many_rows_are_refused(exported: Path, script: Script) -> None:
    with client_of(exported, limits=Limits(batch_rows=2)) as client:
        assert client.post("/predict/batch", json={"rows": [{"catalog_content": "7"}] * 3}).status_code == 422
        assert client.post("/predict/batch", json={"rows": []}).status_code == 422


def test_rows_count_for_the_rate(exported: Path, script: Script) -> None:
    with client_of(exported, limits=Limits(requests_per_second=0.001, burst=10)) as client:
        assert client.post("/predict/batch", json={"rows": [{"catalog_content": "7"}] * 8}).status_code == 200
        refused = client.post("/predict/batch", json={"rows": [{"catalog_content": "7"}] * 8})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0


@pytest.mark.parametrize("queue_rows", [1, 2, 16])
def test_a_batch_of_any_size_has_room_in_a_short_queue(exported: Path, script: Script, queue_rows: int) -> None:
    rows = [{"catalog_content": str(number)} for number in range(1, 51)]
    with client_of(exported, settings=EngineConfig(workers=1, queue_rows=queue_rows, batch_ms=0)) as client:
        answer = client.post("/predict/batch", json={"rows": rows}).json()
    assert (answer["priced"], answer["failed"]) == (50, 0)


def test_a_row_that_finds_a_full_queue_has_an_error(exported: Path, script: Script) -> None:
    rows = [{"catalog_content": "7"}, {"catalog_content": "8"}]
    with client_of(exported, settings=SHORT_QUEUE) as client:
        client.post("/predict", json=rows[0])
        with full_queue(client, script):
            answer = client.post("/predict/batch", json={"rows": rows}).json()
    assert (answer["priced"], answer["failed"]) == (1, 1)
    assert "too many rows wait" in answer["results"][1]["error"]


def test_overload_is_answered_503_with_a_time(exported: Path, script: Script) -> None:
    with client_of(exported, settings=SHORT_QUEUE) as client, full_queue(client, script):
        refused = client.post("/predict", json={"catalog_content": "3"})
    assert refused.status_code == 503
    assert 1 <= int(refused.headers["Retry-After"]) <= 30


SHORT_QUEUE = EngineConfig(workers=1, batch_rows=1, batch_ms=0, queue_rows=1)


@contextmanager
def full_queue(client: TestClient, script: Script) -> Iterator[None]:
    """A queue of one row filled by two requests during the block: one is being computed, one waits."""
    with ThreadPoolExecutor(2) as pool:
        script.gate.clear()
        before = len(script.batches)
        held = [pool.submit(client.post, "/predict", json={"catalog_content": "1"})]
        wait_for(lambda: len(script.batches) == before + 1)
        held.append(pool.submit(client.post, "/predict", json={"catalog_content": "2"}))
        wait_for(lambda: "pricestack_waiting_rows 1.0" in client.get("/metrics").text)
        yield
        script.gate.set()
        assert [each.result().status_code for each in held] == [200, 200]


def test_what_drove_a_price(client: TestClient) -> None:
    answer = client.post("/explain", json={"catalog_content": "Item Name: Jam\nUnit: Ounce"}).json()
    assert answer["fields"] == {"pack": 6.0}
    assert [piece["text"] for piece in answer["pieces"]] == ["Item Name: Jam", "Unit: Ounce"]
    assert answer["predicted_price"] == 27.0
    assert answer["pieces"][1]["change"] == pytest.approx(100 * (27 / 16 - 1))


def test_probes_and_facts(client: TestClient, exported: Path) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").json() == {"status": "ready"}
    version = client.get("/version").json()
    assert version["device"] == "cpu"
    assert f"{version['name']}-{version['version']}" == exported.name


def test_metrics_count_what_happened(client: TestClient) -> None:
    for text in ("7", "7", "8"):
        client.post("/predict", json={"catalog_content": text})
    client.get("/no-such-path/of-mine")
    text = client.get("/metrics").text
    for line in (
        'pricestack_rows_total{cached="true",level="stack"} 1.0',
        'pricestack_rows_total{cached="false",level="stack"} 2.0',
        'pricestack_requests_total{path="/predict",status="200"} 3.0',
        'pricestack_requests_total{path="(none)",status="404"} 1.0',
        "pricestack_batch_rows_count 2.0",
        "pricestack_workers 1.0",
    ):
        assert line in text
    assert "of-mine" not in text


def test_outcomes_give_the_live_error(client: TestClient) -> None:
    ids = [client.post("/predict", json={"catalog_content": text}).json()["id"] for text in ("10", "20")]
    sent = [{"id": ids[0], "price": 10.0}, {"id": ids[1], "price": 60.0}, {"id": "nobody's", "price": 1.0}]
    answer = client.post("/outcomes", json={"outcomes": sent}).json()
    assert (answer["known"], answer["unknown"], answer["rows"], answer["coverage"]) == (2, 1, 2, 0.5)
    assert answer["smape"] == pytest.approx(50.0)
    assert "pricestack_live_smape 50.0" in client.get("/metrics").text


def test_a_repeated_outcome_counts_once(client: TestClient) -> None:
    name = client.post("/predict", json={"catalog_content": "10"}).json()["id"]
    sent = {"outcomes": [{"id": name, "price": 10.0}]}
    first, again = (client.post("/outcomes", json=sent).json() for _ in range(2))
    assert (first["known"], first["repeated"], first["rows"], first["smape"]) == (1, 0, 1, None)
    assert (again["known"], again["repeated"], again["rows"], again["smape"]) == (1, 1, 1, None)
    assert "pricestack_live_outcomes 1.0" in client.get("/metrics").text


def test_outcomes_stand_alone(client: TestClient) -> None:
    name = client.post("/predict", json={"catalog_content": "10"}).json()["id"]
    sent = [{"id": name, "price": 0}, {"id": name, "price": 11.0}, "nothing", {"id": "", "price": 1.0}]
    answer = client.post("/outcomes", json={"outcomes": sent}).json()
    assert (answer["known"], answer["unknown"], answer["failed"], answer["rows"]) == (1, 0, 3, 1)
    assert [error["row"] for error in answer["errors"]] == [0, 2, 3]
    assert answer["errors"][0]["error"] == "price: Input should be greater than 0"
    assert client.post("/outcomes", json={"outcomes": []}).status_code == 422
    assert client.post("/outcomes", json={"outcomes": sent[:1] * 1_025}).status_code == 422


def test_bundles_are_swapped_by_admins_alone(exported: Path, script: Script, tmp_path: Path) -> None:
    renumbered(exported, 2)
    path = tmp_path / "keys.json"
    keys = {name: add_key(path, name, admin=name == "operator") for name in ("shop", "operator")}
    headers = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
    with client_of(exported, ring=KeyRing(path)) as client:
        assert client.post("/predict", json={"catalog_content": "7"}).status_code == 401
        assert client.post("/admin/reload", json={}, headers=headers["shop"]).status_code == 403
        assert client.post("/admin/reload", json={}, headers=headers["operator"]).json()["version"].startswith("2-")
        back = client.post("/admin/reload", json={"bundle": exported.name}, headers=headers["operator"])
        assert back.json()["version"].startswith("1-")
        missing = client.post("/admin/reload", json={"bundle": "../toy"}, headers=headers["operator"])
        assert missing.status_code == 409


def test_the_page_needs_no_key_and_loads_nothing_from_elsewhere(exported: Path, script: Script, tmp_path: Path) -> None:
    with client_of(exported, ring=KeyRing(tmp_path / "none.json")) as client:
        for place, name in FILES.items():
            answer = client.get(place)
            assert answer.status_code == 200
            assert answer.text == (PAGE / name).read_text()
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert name.endswith(".svg") or not re.search(r"https?://|style=|<script>", answer.text)


def test_real_processes_give_the_bundles_prices(exported: Path) -> None:
    with client_of(exported, settings=EngineConfig(workers=2)) as client:
        one = client.post("/predict", json={"catalog_content": TEXT}).json()
        rows = [{"catalog_content": f"{TEXT}{number}"} for number in range(40)]
        many = client.post("/predict/batch", json={"rows": rows})
        why = client.post("/explain", json={"catalog_content": TEXT}).json()
    assert one["level"] == "stack" and len(one["members"]) == 2
    assert many.json()["priced"] == 40
    assert why["fields"]["brand"] == "acme"
    assert why["predicted_price"] == pytest.approx(one["predicted_price"])
