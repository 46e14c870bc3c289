"""API keys: contents of the file, valid callers, and changes while a service runs."""

from __future__ import annotations

import json
import logging
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.formatting import KEY_PREFIX
from serving import keys as command
from serving.middleware.key_store import KeyRing, add_key, hash_key, read_keys, revoke_key
from tests.errors import refused

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "keys.json"


def test_the_file_keeps_hashes_and_not_keys(path: Path) -> None:
    secret = add_key(path, "shop")
    assert secret.startswith(KEY_PREFIX) and len(secret) >= len(KEY_PREFIX) + 43
    assert secret[len(KEY_PREFIX) :] not in path.read_text()
    (key,) = read_keys(path)
    assert (key.name, key.sha256, key.admin, key.expires) == ("shop", hash_key(secret), False, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_each_key_is_another(path: Path) -> None:
    names = [f"key-{number}" for number in range(5)]
    secrets, ring = [add_key(path, name) for name in names], KeyRing(path)
    assert len(set(secrets)) == 5
    assert [found.name for secret in secrets if (found := ring.find(secret))] == names


def test_unknown_keys_are_not_found(path: Path) -> None:
    secret = add_key(path, "shop")
    ring = KeyRing(path)
    for other in ("", secret[:-1], secret + "a", secret.upper(), "shop", hash_key(secret), "\ud800", "ü"):
        assert ring.find(other) is None


def test_keys_expire(path: Path) -> None:
    secret = add_key(path, "shop", expires=NOON)
    now = [NOON - timedelta(seconds=1)]
    ring = KeyRing(path, now=lambda: now[0])
    assert ring.find(secret) is not None and len(ring) == 1
    now[0] = NOON
    assert ring.find(secret) is None and len(ring) == 0


def test_a_running_service_learns_of_new_and_revoked_keys(path: Path) -> None:
    old = add_key(path, "old")
    ring = KeyRing(path)
    new = add_key(path, "new", admin=True)
    assert ring.find(old) is not None
    found = ring.find(new)
    assert found is not None and found.admin
    revoke_key(path, "old")
    assert ring.find(old) is None and ring.find(new) is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_service_can_read_what_root_has_changed(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    os.chown(path.parent, 12_345, 12_345)
    add_key(path, "shop")
    assert (path.stat().st_uid, path.stat().st_gid) == (12_345, 12_345)
    os.chown(path, 23_456, 23_456)
    revoke_key(path, "shop")
    assert (path.stat().st_uid, path.stat().st_gid) == (23_456, 23_456)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_read_is_tried_again_though_it_stays_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shop = add_key(path, "shop")
    ring = KeyRing(path)
    revoke_key(path, "shop")
    read, denied = Path.read_bytes, [True]

    def read_bytes(self: Path) -> bytes:
        if denied[0]:
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with caplog.at_level(logging.ERROR):
        assert ring.find(shop) is not None and ring.find(shop) is not None
    assert len(caplog.records) == 1
    denied[0] = False
    assert ring.find(shop) is None


def test_without_its_file_no_key_is_valid(path: Path) -> None:
    secret = add_key(path, "shop")
    ring = KeyRing(path)
    path.unlink()
    assert ring.find(secret) is None
    assert KeyRing(path.with_name("none.json")).find(secret) is None


def test_a_file_that_broke_leaves_the_keys_before(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = add_key(path, "shop")
    ring = KeyRing(path)
    path.write_text('{"keys": [')
    os.utime(path, ns=(1, 1))
    with caplog.at_level(logging.ERROR):
        assert ring.find(secret) is not None
        assert ring.find(secret) is not None
    (record,) = caplog.records
    assert "cannot be read" in record.getMessage() and str(path) not in record.getMessage()
    add_key(path.with_name("other.json"), "other")
    path.with_name("other.json").replace(path)
    assert ring.find(secret) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"keys": 1}', '{"keys": [{"name": "a"}]}', '{"keys": [], "more": 1}',
             json.dumps({"keys": [{"name": "a", "sha256": "A" * 64, "created": "2026-01-01T00:00:00Z"}]}),
             json.dumps({"keys": [{"name": "a", "sha256": "a" * 64, "created": "2026-01-01T00:00:00"}]})],
)  # fmt: skip
def test_a_file_of_something_else_is_refused(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with refused("keys-damaged"):
        KeyRing(path)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "-a", "ü", "a" * 65, "../a"])
def test_odd_names_are_refused(path: Path, name: str) -> None:
    with refused("key-bad-name"):
        add_key(path, name)


def test_names_are_taken_once_and_suggested(path: Path) -> None:
    add_key(path, "shop")
    with refused("key-name-taken"):
        add_key(path, "shop")
    with refused("key-unknown"):
        revoke_key(path, "shpo")


def test_the_command_adds_lists_and_revokes(path: Path) -> None:
    run, keys = CliRunner(), ["--keys", str(path)]
    added = run.invoke(command.app, ["add", "shop-1", "--days", "400", *keys])
    assert added.exit_code == 0
    secret = added.stdout.strip()
    found = KeyRing(path).find(secret)
    assert found is not None and found.expires is not None and (found.expires - found.created).days == 400
    assert run.invoke(command.app, ["add", "boss", "--admin", *keys]).exit_code == 0
    listed = run.invoke(command.app, ["list", *keys]).stdout
    assert "shop-1" in listed and "boss" in listed and "predict, admin" in listed and "never" in listed
    assert secret not in listed and hash_key(secret) not in listed
    assert run.invoke(command.app, ["revoke", "shop-1", *keys]).exit_code == 0
    assert [key.name for key in read_keys(path)] == ["boss"]


def test_the_commands_file_is_the_workspaces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRICESTACK_WORKSPACE", str(tmp_path))
    assert CliRunner().invoke(command.app, ["list"]).stdout.strip() == f"{tmp_path / 'keys.json'} holds no keys"
