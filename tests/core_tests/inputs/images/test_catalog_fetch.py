"""Fetching of a catalog's pictures from a local server that throttles, cuts and lies."""

from __future__ import annotations

import asyncio
import csv
import resource
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.atomic_files import locked
from core.data.catalog import Catalog
from core.inputs.images.catalog_fetch import REPORT, CatalogFetch, FetchPlan, FetchState, plan_fetch, shown
from core.inputs.images.files import list_images
from core.inputs.images.image_fetcher import FetchLimits
from tests.core_tests.inputs.images.image_servers import Answer, Server, fetcher_for, moved, reply, running
from tests.errors import refused

LIMITS = FetchLimits(image_hosts=("*",), fetch_seconds=1.5, picture_bytes=100_000)


def jpeg(width: int = 40, height: int = 20, kind: str = "JPEG") -> bytes:
    made = BytesIO()
    Image.new("RGB", (width, height), (200, 10, 10)).save(made, format=kind)
    return made.getvalue()


def catalog_of(links: Sequence[str]) -> Catalog:
    cells = np.array(links, dtype=object)
    return Catalog(cells, cells, cells)


def fetch(
    answers: dict[str, Answer], folder: Path, links: Callable[[str], Sequence[str]], size: int = 32
) -> tuple[CatalogFetch, FetchPlan, Server, dict[str, str]]:
    """The run, its plan, the server and the report's states by the links' last parts."""

    async def run() -> tuple[CatalogFetch, FetchPlan, Server]:
        async with running(answers) as server:
            plan = plan_fetch([catalog_of(links(f"http://cdn.example.com:{server.port}"))], folder)
            work = CatalogFetch(folder, size, fetcher_for(server, LIMITS), pause=0.01)
            await asyncio.to_thread(work.run, plan)
            return work, plan, server

    work, plan, server = asyncio.run(run())
    with (folder / REPORT).open(encoding="utf-8", newline="") as file:
        states = {row["link"].rpartition("/")[2]: row["state"] for row in csv.DictReader(file)}
    return work, plan, server, states


def in_turn(*answers: Answer) -> Answer:
    left = list(answers)

    async def next_one(writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(writer)

    return next_one


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/jpeg\r\ncontent-length: 5000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


def test_pictures_are_saved_small_where_a_sweep_finds_them_and_not_fetched_again(tmp_path: Path) -> None:
    answers = {
        "/big.jpg": reply(jpeg(400, 200)),
        "/a%20b.png": reply(jpeg(10, 10, "PNG"), content_type="image/png"),
        "/photo?id=1": reply(jpeg()),
        "/photo?id=2": reply(jpeg()),
    }

    def links(base: str) -> list[str]:
        return [f'["{base}/big.jpg", "{base}/a b.png"]', f"{base}/photo?id=1|{base}/photo?id=2", f"{base}/big.jpg", ""]

    work, plan, server, states = fetch(answers, tmp_path, links)
    assert (plan.links, plan.distinct, work.fetched, states) == (5, 4, 4, {})
    with Image.open(tmp_path / "big.jpg") as image:
        assert image.size == (32, 16) and image.format == "JPEG"
    assert (tmp_path / "a b.png").read_bytes() == jpeg(10, 10, "PNG")
    catalog = catalog_of(links(f"http://cdn.example.com:{server.port}"))
    names = {name for row in catalog.image_lists(2) for name in row}
    assert len(names) == 4 and set(list_images(tmp_path, names)) == names
    again = plan_fetch([catalog], tmp_path)
    assert (again.there, again.wanted) == (4, [])


def test_links_with_one_basename_go_to_folders(tmp_path: Path) -> None:
    answers = {f"/{folder}/main.jpg": reply(jpeg(width, 8)) for folder, width in (("x", 9), ("y", 10), ("z", 11))}
    work, _, server, states = fetch(answers, tmp_path, lambda base: [f"{base}{path}" for path in answers])
    assert (work.fetched, states) == (3, {})
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg")} == {
        "x/main.jpg",
        "y/main.jpg",
        "z/main.jpg",
    }
    links = catalog_of([f"http://cdn.example.com:{server.port}/{folder}/main.jpg" for folder in "xyz"])
    assert len({file.path for file in list_images(tmp_path, set(links.image_paths)).values()}) == 3


@pytest.mark.parametrize(
    "first",
    [
        reply(b"", "429 Too Many Requests", retry_after="1"),
        reply(b"", "503 Busy", retry_after=format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)),
        reply(b"", "500 Oops"),
        reply(jpeg(), content_length="90000"),
    ],
    ids=["throttled", "busy", "broken", "cut"],
)
def test_what_may_be_over_is_tried_again(first: Answer, tmp_path: Path) -> None:
    work, _, server, states = fetch({"/a.jpg": in_turn(first, reply(jpeg()))}, tmp_path, lambda base: [f"{base}/a.jpg"])
    assert (work.fetched, states, len(server.requests)) == (1, {}, 2)


def test_a_server_that_asks_for_a_long_pause_is_left(tmp_path: Path) -> None:
    answers = {f"/{number}.jpg": reply(b"", "429 No", retry_after="86400") for number in range(9)}
    _, _, server, states = fetch(answers, tmp_path, lambda base: [f"{base}{path}" for path in answers])
    assert len(server.requests) <= 6
    assert set(states.values()) == {"host-skipped"}


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (reply(b"<html>", content_type="text/html"), FetchState.TYPE),
        (reply(b"<html>"), FetchState.DAMAGED),
        (reply(b""), FetchState.DAMAGED),
        (reply(jpeg()[:200]), FetchState.DAMAGED),
        (reply(jpeg(), content_length="900000"), FetchState.SIZE),
        (reply(jpeg(), content_length="90000"), FetchState.NETWORK),
        (drip, FetchState.TIME),
        (moved("/a.jpg"), FetchState.REDIRECTS),
        (moved("http://169.254.169.254/a.jpg"), FetchState.NO_LINK),
        (reply(b"", "404 Not Found"), FetchState.STATUS),
        (reply(b"", "429 No"), FetchState.THROTTLED),
    ],
)
def test_every_failure_has_a_state_in_the_report(answer: Answer, state: FetchState, tmp_path: Path) -> None:
    work, _, _, states = fetch({"/a.jpg": answer}, tmp_path, lambda base: [f"{base}/a.jpg"])
    assert (work.fetched, states) == (0, {"a.jpg": state})
    assert list(tmp_path.glob("*.jpg")) == []


def test_a_picture_with_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    made = BytesIO()
    Image.new("1", (20_000, 20_000)).save(made, format="PNG")
    answers = {"/a.png": reply(made.getvalue(), content_type="image/png")}
    assert fetch(answers, tmp_path, lambda base: [f"{base}/a.png"])[3] == {"a.png": "unreadable"}


@pytest.mark.parametrize(
    "link",
    ["file:///etc/passwd", "data:image/png;base64,AAAA", "javascript:alert(1)", "http://[x/1.jpg", "1.jpg", "http://"],
)
def test_what_is_no_web_link_is_not_fetched(link: str, tmp_path: Path) -> None:
    plan = plan_fetch([catalog_of([link])], tmp_path)
    assert plan.wanted == []
    assert [each.state for each in plan.missing] == [FetchState.NO_LINK]


def test_odd_web_links_have_names_that_stay_inside(tmp_path: Path) -> None:
    links = [
        "http://bücher.example/a/../../../../etc/passwd",
        "http://x.example/" + "a" * 10_000,
        "http://x.example/a%2f..%2fb.jpg",
        "http://x.example/a b?x=../../1",
        "http://x.example/..",
    ]
    plan = plan_fetch([catalog_of(links)], tmp_path)
    assert plan.wanted
    for wanted in plan.wanted:
        assert (tmp_path / wanted.target).resolve().is_relative_to(tmp_path.resolve())
        assert all(len(part.encode()) < 242 for part in wanted.target.split("/")) and wanted.link.isascii()


def test_links_are_shown_without_what_may_be_secret() -> None:
    assert shown("https://u:secret@x.example/a.jpg?token=secret#secret") == "https://x.example/a.jpg?..."


def test_a_second_run_in_one_folder_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / ".fetch.lock"), refused("fetch-running"):
        fetch({}, tmp_path, lambda base: [])


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".a.jpg.x1.tmp").write_bytes(b"half")
    fetch({"/a.jpg": reply(jpeg())}, tmp_path, lambda base: [f"{base}/a.jpg"])
    assert not list(tmp_path.glob(".*.tmp"))


def test_the_command_counts_and_says_that_nothing_could_be_fetched(typed: Callable[..., str], tmp_path: Path) -> None:
    tables = {}
    for name, head in (
        ("train", "sample_id,catalog_content,image_link,price"),
        ("test", "sample_id,catalog_content,image_link"),
    ):
        tables[name] = tmp_path / f"{name}.csv"
        price = ",3" if name == "train" else ""
        rows = [f"{name}{row},mug {row},http://127.0.0.1/{row}.jpg{price}" for row in range(25)]
        tables[name].write_text("\n".join([head, *rows]) + "\n")
    folder = tmp_path / "images"
    words = ("core.images", "fetch", "--train", tables["train"], "--test", tables["test"], "--images", folder)
    assert "50 links, 25 distinct, 0 already there, 25 to fetch" in typed(*words, "--dry-run")
    assert not folder.exists()
    assert "[fetch-nothing]" in typed(*words, code=2)
    assert (folder / REPORT).read_text().count("host-not-public") == 25


def test_a_folder_that_cannot_be_written_to_ends_the_run(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with refused("fetch-unwritable"):
            fetch({"/a.jpg": reply(jpeg())}, tmp_path, lambda base: [f"{base}/a.jpg"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("*.jpg")) and not list(tmp_path.glob(".*.tmp"))
