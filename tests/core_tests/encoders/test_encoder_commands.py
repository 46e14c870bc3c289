"""`python -m core.encoders`: fetch and list, as typed, against a hub on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from core.encoders import hub_download
from core.encoders.presets import PRESETS
from tests.core_tests.encoders.checkpoints import clip, neobert
from tests.core_tests.encoders.hub_server import Hub, hub_in_use


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(hub_download, "_PAUSE_SECONDS", 0.0)
    with hub_in_use(tmp_path / "cache", monkeypatch) as hub:
        folder = neobert(tmp_path / "neobert")
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
        hub.add(PRESETS["neobert"].hub, folder, licence="mit")
        hub.add(PRESETS["clip"].hub, clip(tmp_path / "clip"))
        yield hub


@pytest.fixture
def encoders(typed: Callable[..., str]) -> Callable[..., str]:
    return partial(typed, "core.encoders.__main__")


def line(said: str, name: str) -> list[str]:
    """Words of the encoder's line in the table."""
    return next(line.split() for line in said.splitlines() if line.startswith(f"{name} "))


def test_fetch_and_list(hub: Hub, encoders: Callable[..., str]) -> None:
    assert line(encoders("list"), "neobert") == ["neobert", "no", "-", "-", "222", "M", "chandar-lab/NeoBERT"]
    assert hub.requests == []
    said = encoders("fetch", "neobert", "clip")
    assert said.index("licence not stated, 88 M parameters") < said.index("fetched neobert in")
    assert "neobert is here: " in said and "clip is here: " in said
    asked = len(hub.requests)
    said = encoders("list")
    assert line(said, "neobert")[:2] == ["neobert", "yes"] and "mit" in line(said, "neobert")
    assert "not stated" in next(each for each in said.splitlines() if each.startswith("clip "))
    assert "fetching" not in encoders("fetch", "neobert")
    assert len(hub.requests) == asked
    assert line(encoders("list", "--ask", "clip", "neobert"), "clip")[1] == "yes"
    assert len(hub.requests) == asked


def test_list_asks_the_hub_only_when_told(hub: Hub, encoders: Callable[..., str]) -> None:
    said = encoders("list", "neobert", "--ask")
    assert line(said, "neobert")[1] == "no" and "mit" in line(said, "neobert")
    assert len(hub.api) == 1


@pytest.mark.parametrize(
    ("name", "code"),
    [("neobret", "encoder-unknown"), ("tiny", "encoder-random-weights"), ("nobody/nothing", "encoder-not-on-hub")],
)
def test_names_that_cannot_be_fetched(name: str, code: str, hub: Hub, encoders: Callable[..., str]) -> None:
    assert f"[{code}]" in encoders("fetch", name, code=2)


def test_a_cut_download_ends_with_exit_code_2_and_goes_on(hub: Hub, encoders: Callable[..., str]) -> None:
    served = hub.repositories[PRESETS["neobert"].hub]
    served.cut["model.safetensors"] = [100, *[0] * 20]
    assert "[encoder-download-cut]" in encoders("fetch", "neobert", code=2)
    assert line(encoders("list"), "neobert")[1] == "no"
    served.cut.clear()
    encoders("fetch", "neobert")
    assert hub.transfers("model.safetensors")[-1] == "bytes=100-"


def test_without_a_command_the_parameters_are_counted(encoders: Callable[..., str]) -> None:
    assert "221,665,536" in encoders()
