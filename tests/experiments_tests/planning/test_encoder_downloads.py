"""Sweeps on a machine that has a GPU (its detection is replaced) and a hub: what is downloaded, and what the plan then says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from transformers import Siglip2VisionConfig, Siglip2VisionModel

import experiments.run
from core.architectures import neural_architecture
from core.encoders import hub_download
from core.encoders.neobert import NeoBERTConfig
from core.encoders.presets import PRESETS
from core.hardware import Machine
from experiments.planning import setup
from experiments.planning.budget import Budget
from tests.core_tests.encoders.checkpoints import bert, clip, neobert
from tests.core_tests.encoders.hub_server import Hub, hub_in_use, unreachable

STATION = Machine(cores=8, memory=64 * 2**30, device="cuda", gpus=1)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(hub_download, "_PAUSE_SECONDS", 0.0)
    with hub_in_use(tmp_path / "cache", monkeypatch) as hub:
        hub.limit = 20
        yield hub


@pytest.fixture
def documented(hub: Hub, tmp_path: Path) -> Hub:
    """The hub with the documented pair, in the layouts of its repositories."""
    hub.add(PRESETS["neobert"].hub, neobert(tmp_path / "neobert"), licence="mit")
    hub.add(PRESETS["clip"].hub, clip(tmp_path / "clip"))
    return hub


@pytest.fixture
def plan(typed: Callable[..., str], toy_files: Callable[..., tuple[Path, Path]], tmp_path: Path) -> Callable[..., str]:
    """Dry run of a sweep on the toy catalog, in this process."""
    train, test = toy_files()
    catalog = ("--train", train, "--test", test, "--workspace", tmp_path / "runs", "--dry-run")
    return partial(typed, "experiments.sweep", *catalog)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments.run, "detect", lambda: STATION)


@pytest.mark.usefixtures("gpu")
def test_auto_on_a_gpu_is_the_documented_pair_downloaded_first(documented: Hub, plan: Callable[..., str]) -> None:
    said = plan("multimodal")
    facts = said.index("licence mit, 222 M parameters"), said.index("licence not stated, 88 M parameters")
    assert max(facts) < said.index("fetched neobert in")
    assert "text encoder: neobert (auto: the documented encoder, and there is a GPU)" in said
    assert "vision encoder: clip (auto: the documented encoder, and there is a GPU)" in said
    assert "search_spaces/multimodal.yaml" in said
    assert len(documented.api) == 2
    asked = len(documented.requests)
    assert "vision encoder: clip (auto" in plan("multimodal", "--offline")
    assert len(documented.requests) == asked


def test_the_plan_says_how_much_a_pass_takes_of_the_gpu(
    documented: Hub, plan: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neural_architecture, "neobert_config", lambda _: NeoBERTConfig())
    monkeypatch.setattr(experiments.run, "detect", lambda: replace(STATION, gpu_memory=24 * 2**30))
    said = " ".join(plan("text", "multimodal", "lexical", "--set", "text.max_length=512").split())
    assert "text: 17,408 tokens a pass, 22.7 of 24 GiB (estimated; training begins with 65,536" in said
    assert "multimodal: 16,896 tokens a pass" in said and "lexical: " not in said.partition("tokens a pass")[2]
    half = " ".join(plan("text", "--gpus-per-trial", "0.5", "--set", "max_length=512").split())
    assert re.search(r"text: 6,\d{3} tokens a pass, 1[01]\.\d of 12 GiB", half)
    monkeypatch.setattr(experiments.run, "detect", lambda: STATION)
    assert "tokens a pass" not in plan("text")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_one_line_says_what_runs_instead(
    offline: bool, documented: Hub, plan: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not offline:
        unreachable(monkeypatch)
    said = plan("multimodal", *(["--offline"] if offline else []))
    (line,) = [line for line in said.splitlines() if "runs instead" in line]
    assert "tiny + tiny-vision runs instead" in line and "python -m core.encoders fetch neobert clip" in line
    assert documented.requests == []


def test_on_a_processor_nothing_is_downloaded_unasked(documented: Hub, plan: Callable[..., str]) -> None:
    assert "text encoder: tiny (auto" in plan("multimodal")
    assert documented.requests == []
    assert "text encoder: neobert (named)" in plan("text", "--text-encoder", "neobert")
    assert len(documented.api) == 1


def test_a_frozen_encoder_of_classical_models_is_downloaded_too(documented: Hub, plan: Callable[..., str]) -> None:
    assert "frozen encoder: none (named" in plan("lexical", "--set", "frozen_encoder=tiny")
    assert documented.requests == []
    assert "frozen encoder: neobert (named)" in plan("lexical", "--set", "frozen_encoder=neobert")
    assert len(documented.api) == 1


def test_a_named_encoder_that_is_not_here_is_refused_offline(documented: Hub, plan: Callable[..., str]) -> None:
    said = plan("text", "--text-encoder", "neobert", "--offline", code=2)
    assert "[encoder-needed-offline]" in said and "python -m core.encoders fetch neobert" in said
    assert documented.requests == []


def test_downloads_do_not_count_against_the_minutes(
    documented: Hub, plan: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[float] = []
    monkeypatch.setattr(experiments.run, "download_encoders", lambda *_: 1_000_000.0)
    monkeypatch.setattr(experiments.run, "Budget", lambda start, *rest: starts.append(start) or Budget(start, *rest))
    plan("text", "--text-encoder", "tiny", "--minutes", "5")
    monkeypatch.setattr(experiments.run, "download_encoders", lambda *_: 0.0)
    plan("text", "--text-encoder", "tiny", "--minutes", "5")
    assert starts[0] - starts[1] == pytest.approx(1_000_000, abs=600)


@pytest.mark.usefixtures("gpu")
def test_a_random_vision_encoder_is_never_trained_at_the_rates_of_a_pretrained_text_encoder(
    documented: Hub, plan: Callable[..., str], tmp_path: Path
) -> None:
    plan("text")  # the text encoder alone is here
    said = plan("multimodal", "--offline")
    assert "vision encoder: tiny-vision" in said and "text encoder's weights: as they are" in said
    assert "search_spaces/multimodal-tiny-vision.yaml" in said
    for settings in ("freeze_text=false", "lora_rank=4"):
        assert "[encoders-of-two-rates]" in plan("multimodal", "--offline", "--set", settings, code=2)
    said = plan("multimodal", "--vision-encoder", "tiny-vision", "--set", "learning_rate=1e-5", code=2)
    assert "[random-encoder-low-rate]" in said
    space = tmp_path / "space.yaml"
    space.write_text("values:\n  vision_encoder: [clip, tiny-vision]\n  learning_rate: [1e-3]\n")
    assert "[encoders-searched-together]" in plan("multimodal", "--space", space, code=2)


def test_a_random_text_encoder_is_refused_at_the_rates_of_a_pretrained_one(hub: Hub, plan: Callable[..., str]) -> None:
    said = plan("text", "--text-encoder", "tiny", "--space", "text", code=2)
    assert "[random-encoder-low-rate]" in said
    assert hub.requests == []


def test_a_dry_run_refuses_what_the_sweep_would_refuse(hub: Hub, plan: Callable[..., str], tmp_path: Path) -> None:
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    Siglip2VisionModel(Siglip2VisionConfig(**shape, num_patches=4)).save_pretrained(tmp_path / "any-ratio")
    said = plan("multimodal", "--vision-encoder", tmp_path / "any-ratio", code=2)
    assert "[encoder-no-patches]" in said
    folder = bert(tmp_path / "bert")
    (folder / "tokenizer.json").unlink()
    assert "[encoder-no-tokenizer]" in plan("text", "--text-encoder", folder, code=2)
    assert "[encoder-not-on-hub]" in plan("text", "--text-encoder", "nobody/nothing", code=2)


def test_nodes_of_a_cluster_get_the_encoders_from_the_driver(documented: Hub, toy_workspace: Any) -> None:
    planner = setup.Planner(
        setup.SearchConfig(architectures=("multimodal",), text_encoder="neobert", vision_encoder="clip"),
        setup.BudgetConfig(), toy_workspace, Machine(2, 8 * 2**30, "cpu", 0),
    )  # fmt: skip
    (found,) = planner.plans([setup.architecture("multimodal")])
    folders = found.encoder_folders()
    assert set(folders) == {"neobert", "clip"}
    assert all((folder / "model.safetensors").is_file() for folder in folders.values())
