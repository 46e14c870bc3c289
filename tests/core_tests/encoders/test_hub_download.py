"""Downloads from a hub on this machine: found again, counted, resumed, checked, and refused in a sentence."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from core.cache import size_text
from core.encoders import hub_download, load_encoder
from core.encoders.hub_cache import found, licence, needed
from core.encoders.hub_download import fetch
from core.encoders.loading import available, identity, locate
from core.encoders.presets import PRESETS
from tests.core_tests.encoders.checkpoints import bert, clip
from tests.core_tests.encoders.hub_server import Hub, hub_in_use, unreachable
from tests.errors import refused

NAME = "somebody/encoder"
WEIGHTS = "model.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(hub_download, "_PAUSE_SECONDS", 0.0)
    with hub_in_use(tmp_path / "cache", monkeypatch) as hub:
        yield hub


def snapshots(repository: str) -> list[Path]:
    """Folders of the cache that could be taken for the encoder."""
    name = f"models--{repository.replace('/', '--')}"
    return sorted((Path(constants.HF_HUB_CACHE) / name / "snapshots").glob("*"))


def test_what_was_downloaded_is_found_again_without_a_request(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, bert(tmp_path / "made"))
    states = load_encoder(NAME, "text")[0].state_dict()
    assert len(hub.api) == 1
    assert [hub.transfers(name) for name in ("config.json", WEIGHTS, "tokenizer.json")] == [[None]] * 3
    asked = len(hub.requests)
    unreachable(monkeypatch)
    again = load_encoder(NAME, "text")[0].state_dict()
    assert all((again[name] == tensor).all() for name, tensor in states.items())
    assert identity(NAME, "text") == identity(str(tmp_path / "made"), "text")
    assert len(hub.requests) == asked


def test_names_are_asked_for_once_however_often_an_identity_is_needed(hub: Hub, tmp_path: Path) -> None:
    hub.limit = 10
    hub.add(PRESETS["clip"].hub, clip(tmp_path / "clip"))
    hub.add(NAME, bert(tmp_path / "bert"))
    names = {(identity("clip", "vision"), identity(NAME, "text")) for _ in range(2_000)}
    assert len(names) == 1
    assert len(hub.api) <= 2
    assert all(len(hub.transfers(name)) == 1 for name in ("pytorch_model.bin", "preprocessor_config.json", WEIGHTS))
    assert hub.transfers("tf_model.h5") == []
    assert available() == {"clip"}


def test_facts_are_printed_before_the_first_byte(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bert(tmp_path / "made")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# card\n")
    served = hub.add(NAME, folder, licence="apache-2.0")
    served.sent["config.json"] = b"{}"
    with refused("encoder-download-wrong"):
        fetch([NAME])
    size = sum(len(body) for body in served.files.values())
    assert f"fetching {NAME}: {NAME}, " in (said := capsys.readouterr().out)
    assert f"({size:,} bytes), licence apache-2.0, parameters not stated" in said
    served.sent.clear()
    fetch([NAME])
    found_there = found(NAME)
    assert found_there is not None and licence(found_there) == "apache-2.0"
    hub.add(PRESETS["clip"].hub, clip(tmp_path / "clip"))
    fetch(["clip"])
    assert "licence not stated, 88 M parameters" in capsys.readouterr().out


def test_without_a_terminal_lines_say_how_far_it_is(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub_download, "_LINE_SECONDS", 0.0)
    served = hub.add(NAME, bert(tmp_path / "made"))
    fetch([NAME])
    whole = size_text(sum(len(body) for body in served.files.values()))
    assert f"{NAME}: {whole} of {whole}" in capsys.readouterr().out


def test_a_cut_download_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    served = hub.add(NAME, bert(tmp_path / "made"))
    served.cut[WEIGHTS] = [1000, 500]
    fetch([NAME])
    assert hub.transfers(WEIGHTS) == [None, "bytes=1000-", "bytes=1500-"]
    assert locate(NAME).joinpath(WEIGHTS).read_bytes() == served.files[WEIGHTS]


def test_a_download_that_stays_cut_counts_as_nothing_and_is_resumed_by_the_next_command(
    hub: Hub, tmp_path: Path
) -> None:
    served = hub.add(NAME, bert(tmp_path / "made"))
    served.cut[WEIGHTS] = [1000, *[0] * 20]
    with refused("encoder-download-cut") as caught:
        load_encoder(NAME, "text")
    assert "was cut at 1,000 of" in caught.value.what
    assert snapshots(NAME) == []
    served.cut.clear()
    fetch([NAME])
    assert hub.transfers(WEIGHTS)[-1] == "bytes=1000-"
    assert hub.transfers("config.json") == [None]
    load_encoder(NAME, "text")


@pytest.mark.parametrize("file", [WEIGHTS, "config.json"])
@pytest.mark.parametrize("wrong", ["other bytes", "longer", "shorter"])
def test_a_file_that_is_not_what_was_announced_counts_as_nothing(
    file: str, wrong: str, hub: Hub, tmp_path: Path
) -> None:
    served = hub.add(NAME, bert(tmp_path / "made"))
    body = served.files[file]
    served.sent[file] = {"other bytes": body[:-1] + b"?", "longer": body + b"more", "shorter": body[:-4]}[wrong]
    with refused("encoder-download-wrong") as caught:
        fetch([NAME])
    assert file in caught.value.what
    assert snapshots(NAME) == [] and found(NAME) is None
    served.sent.clear()
    load_encoder(NAME, "text")


def test_two_at_once_transfer_each_file_once(hub: Hub, tmp_path: Path) -> None:
    served = hub.add(NAME, bert(tmp_path / "made"))
    with ThreadPoolExecutor(2) as both:
        list(both.map(fetch, [[NAME], [NAME]]))
    assert all(len(hub.transfers(name)) == 1 for name in served.files)


def test_a_hub_that_gives_sizes_in_the_tree_alone(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, bert(tmp_path / "made"), bare=True)
    load_encoder(NAME, "text")
    assert len(hub.api) == 2


def test_gated_unknown_and_too_many_requests(hub: Hub, tmp_path: Path) -> None:
    hub.add("somebody/gated", bert(tmp_path / "made"), gated=True)
    with refused("encoder-gated") as caught:
        fetch(["somebody/gated"])
    assert "https://huggingface.co/somebody/gated" in caught.value.hint
    with refused("encoder-not-on-hub"):
        fetch(["nobody/nothing"])
    with refused("encoder-not-on-hub"):
        fetch(["no..name/--"])
    hub.repositories[NAME] = hub.repositories["somebody/gated"]
    hub.limit = 0
    with refused("hub-rate-limit"):
        fetch([NAME])
    assert found(NAME) is None


def test_a_commit_that_leads_out_of_the_cache_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, bert(tmp_path / "made"), version="../../../elsewhere")
    with refused("hub-bad-answer"):
        fetch([NAME])
    assert not list(tmp_path.rglob("elsewhere"))


def test_a_repository_without_weights(hub: Hub, tmp_path: Path) -> None:
    folder = bert(tmp_path / "made")
    (folder / WEIGHTS).rename(folder / "tf_model.h5")
    hub.add(NAME, folder)
    with refused("encoder-repository-without-weights"):
        fetch([NAME])
    assert hub.transfers("config.json") == []


def test_a_full_disk_is_found_before_the_first_byte(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(NAME, bert(tmp_path / "made"))
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 5_000, 5_000))
    with refused("encoder-disk-full") as caught:
        fetch([NAME])
    assert "HF_HOME" in caught.value.hint
    assert hub.transfers("config.json") == [] and found(NAME) is None


def test_without_a_network_the_way_to_get_it_is_printed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable(monkeypatch)
    with refused("encoder-not-fetched") as caught:
        load_encoder("neobert", "text")
    assert "python -m core.encoders fetch neobert" in caught.value.hint
    assert hub.requests == []


@pytest.mark.parametrize("patterns", [None, ["*.json", "*.safetensors"]])
def test_what_another_program_downloaded_is_found(patterns: list[str] | None, hub: Hub, tmp_path: Path) -> None:
    folder = bert(tmp_path / "made")
    (folder / "README.md").write_text("# card\n")
    hub.add(NAME, folder)
    snapshot_download(NAME, allow_patterns=patterns)
    asked = len(hub.requests)
    load_encoder(NAME, "text")
    assert len(hub.requests) == asked


def test_what_another_program_left_half_done_is_completed(hub: Hub, tmp_path: Path) -> None:
    hub.add(NAME, bert(tmp_path / "made"))
    snapshot_download(NAME, allow_patterns=["*.safetensors", "config.json"])
    assert found(NAME) is None
    assert load_encoder(NAME, "text")[1] is not None
    assert len(hub.transfers("tokenizer.json")) == 1


def test_the_files_of_an_encoder() -> None:
    tokenizer = ["config.json", "spm.model", "vocab.txt"]
    old = ["README.md", "model.py", "onnx/model.onnx", "pytorch_model.bin", "tf_model.h5", "training_args.bin"]
    assert needed([*tokenizer, *old]) == ["README.md", "config.json", "pytorch_model.bin", "spm.model", "vocab.txt"]
    assert "pytorch_model.bin" not in needed([*tokenizer, *old, WEIGHTS])
