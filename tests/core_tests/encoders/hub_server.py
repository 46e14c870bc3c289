"""Small model hub on this machine: a real HTTP server with the few endpoints that Pricestack asks, a limit, and faults."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session  # type: ignore[attr-defined]

LARGE = 2_000
"""Bytes from which the hub keeps a file outside git, and names its SHA-256."""


@dataclass
class Repository:
    """Files of one repository, and what its server does wrong.

    cut: file -> bytes after which its connection breaks, as often as listed. sent: file -> other bytes than were announced.
    version: what is called the commit. bare: sizes and hashes are in the tree alone, as on some mirrors.
    """

    files: dict[str, bytes]
    licence: str | None = None
    gated: bool = False
    bare: bool = False
    version: str | None = None
    cut: dict[str, list[int]] = field(default_factory=dict)
    sent: dict[str, bytes] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """Name of the content, as git has one."""
        return (
            self.version
            or hashlib.sha1(b"".join(name.encode() + body for name, body in sorted(self.files.items()))).hexdigest()
        )

    def siblings(self) -> list[dict[str, Any]]:
        """The files with sizes and hashes, as the hub lists them with `blobs=true`."""
        listed: list[dict[str, Any]] = []
        for name, body in self.files.items():
            git = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            entry: dict[str, Any] = {"rfilename": name, "size": len(body), "blobId": git}
            if len(body) >= LARGE:
                entry["lfs"] = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest(), "pointerSize": 134}
            listed.append(entry)
        return listed


@dataclass
class Hub:
    """What is served, and what was asked: (method, path, `Range`). limit: of /api/ requests, then 429."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    limit: int | None = None
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    @property
    def api(self) -> list[str]:
        """The requests that count against the hub's limit; huggingface_hub's own question, once a day, is not ours."""
        return [path for _, path, _ in self.requests if path.startswith("/api/") and "agent-harnesses" not in path]

    def transfers(self, name: str) -> list[str | None]:
        """`Range` of each request for the file of that name."""
        return [part for _, path, part in self.requests if path.endswith(f"/{name}")]

    def add(self, repository: str, folder: Path, **facts: Any) -> Repository:
        """Serves the files of the folder."""
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        self.repositories[repository] = Repository(files, **facts)
        return self.repositories[repository]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Nothing: `Hub.requests` has it."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.hub.requests.append((self.command, self.path, self.headers.get("Range")))
        parts = path.strip("/").split("/")
        if path.startswith("/api/") and self.hub.limit is not None and len(self.hub.api) > self.hub.limit:
            self._send(429, b"{}", {"RateLimit": '"api";r=0;t=300'})
        elif (
            parts[:2] == ["api", "models"] and "/".join(parts[2:4]) in self.hub.repositories and parts[4:5] == ["tree"]
        ):
            self._send_tree(self.hub.repositories["/".join(parts[2:4])])
        elif parts[:2] == ["api", "models"] and "/".join(parts[2:4]) in self.hub.repositories:
            self._send_facts("/".join(parts[2:4]))
        elif parts[2:3] == ["resolve"] and "/".join(parts[:2]) in self.hub.repositories:
            self._send_file(self.hub.repositories["/".join(parts[:2])], "/".join(parts[4:]))
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _send_facts(self, name: str) -> None:
        repository = self.hub.repositories[name]
        record: dict[str, Any] = {
            "_id": "0", "id": name, "modelId": name, "sha": repository.commit, "private": False, "gated": repository.gated,
            "disabled": False, "tags": [], "downloads": 0, "likes": 0, "siblings": repository.siblings(),
        }  # fmt: skip
        if repository.licence is not None:
            record["cardData"] = {"license": repository.licence}
        if repository.bare:
            record["siblings"] = [{"rfilename": name} for name in repository.files]
        self._send(200, json.dumps(record).encode(), {})

    def _send_tree(self, repository: Repository) -> None:
        entries = [
            {"type": "file", "path": each["rfilename"], "size": each["size"], "oid": each["blobId"]}
            for each in repository.siblings()
        ]
        self._send(200, json.dumps(entries).encode(), {})

    def _send_file(self, repository: Repository, name: str) -> None:
        if repository.gated:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
            return
        body = repository.sent.get(name, repository.files.get(name))
        if body is None:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(body) > 0:
            self._send(416, b"", {})
            return
        breaks = repository.cut.get(name)
        headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": repository.commit}
        self._send(206 if start else 200, body[start:], headers, breaks.pop(0) if breaks else None)

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True


@contextmanager
def serving() -> Iterator[Hub]:
    """An empty hub, served until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def hub_in_use(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """This process asks a hub of its own, has nothing in its cache, and sees no other."""
    with serving() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        close_session()
        yield hub
        close_session()


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nothing listens where the hub was."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    close_session()
