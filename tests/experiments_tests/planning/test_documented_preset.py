"""`--preset documented`: every setting against the document's table, its folds, what is refused, and a sweep from the command."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.architectures import architecture
from core.atomic_files import read_json
from core.data.folds import make_folds
from core.protocols.architecture import make_config
from core.store.workspace import Workspace
from experiments.planning.budget import BudgetConfig
from experiments.planning.setup import Planner
from experiments.prepare import fill_workspace, folds_of_preset
from experiments.search.search_config import SearchConfig
from experiments.sweep_config import SweepConfig
from search_spaces import load_space
from tests.commands import run
from tests.core_tests.classical_toys import small_encoder
from tests.errors import refused
from tests.experiments_tests.planning.local_sweep import LAPTOP

SHARED = {
    "text_encoder": "neobert", "freeze_text": False, "frozen_layers": 0, "lora_rank": 0, "layer_decay": 1.0, "head_rate": 1.0,
    "pooling": "cls", "head": "point", "loss": "smape", "fields": "none",
    "batch_size": 64, "dropout": 0.4, "warmup": 0.03, "gradient_norm": 1.0, "patience": 4, "stop_epoch": None,
}  # fmt: skip
DOCUMENT: dict[str, dict[str, Any]] = {
    "text": {
        **SHARED, "learning_rate": 2e-5, "max_length": 625, "weight_decay": 0.03, "regressor_width": 256, "regressor_depth": 1,
        "epochs": 20,
    },
    "multimodal": {
        **SHARED, "learning_rate": 1e-5, "max_length": 512, "weight_decay": 0.05, "regressor_width": 512, "regressor_depth": 2,
        "epochs": 12, "vision_encoder": "clip", "image_tokens": "patches", "padding": "black", "augment": True,
        "cached_views": 0, "random_erase": 0.2, "use_mixup": False, "mixup_alpha": 0.3,
    },
}  # fmt: skip


def preset(*names: str, **options: Any) -> SweepConfig:
    return SweepConfig.of(architectures=names, preset="documented", **options)


@pytest.mark.parametrize("name", sorted(DOCUMENT))
def test_trial_0_of_the_preset_is_the_document_to_the_letter(name: str) -> None:
    kind, search = architecture(name), preset(name).search
    space = load_space(f"{name}-documented", kind.Config)
    config = make_config(kind.Config, {**search.fixed_settings([kind])[name], **space.best})
    settings = config.model_dump()
    assert {key: settings[key] for key in DOCUMENT[name]} == DOCUMENT[name]
    assert space.values == load_space(name, kind.Config).values
    assert config.frozen() == ({"vision"} if name == "multimodal" else set())  # type: ignore[attr-defined]
    assert search.seed == 42 and search.changes(kind) == {}


def test_the_multimodal_preset_augments_anew_on_every_step() -> None:
    kind = architecture("multimodal")
    config: Any = make_config(kind.Config, preset("multimodal").search.fixed_settings([kind])["multimodal"])
    assert config.live_pixels and config.views.count == 0


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"architectures": ("text", "lexical")}, "preset-other-architecture"),
        ({"architectures": "all"}, "preset-other-architecture"),
        ({"space": Path("text-tiny")}, "preset-with-space"),
        ({"seed": 7}, "preset-other-seed"),
        ({"folds": 5}, "preset-other-split"),
        ({"preset": "documnted"}, "bad-option-value"),
    ],
)
def test_flags_that_contradict_the_preset_are_refused(options: dict[str, Any], code: str) -> None:
    with refused(code) as caught:
        SweepConfig.of(**{"architectures": "text", "preset": "documented", **options})
    assert caught.value.hint


def test_a_new_workspace_has_the_folds_of_the_document(
    tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]
) -> None:
    train, test = toy_files(60, 12)
    workspace = Workspace(tmp_path / "documented")
    workspace.check_writable()
    asked = preset("text", train=train, test=test, fold_groups="off")
    fill_workspace(workspace, folds_of_preset(workspace, asked), asked.search.seed, lambda _: None)
    assert (workspace.facts.k, workspace.facts.fold_seed) == (10, 42)
    expected, _ = make_folds(workspace.train, workspace.test, k=10, seed=42, fold_groups="off")
    assert workspace.folds.hash == expected.hash
    workspace.path("trials").mkdir()
    assert folds_of_preset(workspace, asked).folds == 10


def test_a_workspace_with_work_on_other_folds_is_refused_with_a_command_for_another(toy_workspace: Workspace) -> None:
    asked = preset("text", workspace=toy_workspace.folder, settings=["dropout=0.2"])
    assert folds_of_preset(toy_workspace, asked).folds == 10  # nothing was trained: its folds are made again
    toy_workspace.path("trials").mkdir()
    with refused("preset-other-folds") as caught:
        folds_of_preset(toy_workspace, asked)
    typed = shlex.split(caught.value.hint[caught.value.hint.index("python ") :])
    assert typed == [
        "python", "-m", "experiments.sweep", "text", "--preset", "documented", "--workspace",
        f"{toy_workspace.folder}-documented", "--train", toy_workspace.facts.train, "--test", toy_workspace.facts.test,
        "--set", "dropout=0.2",
    ]  # fmt: skip
    assert folds_of_preset(toy_workspace, SweepConfig.of(architectures="text")).folds is None


def test_settings_that_depart_from_the_preset_are_noted(toy_workspace: Workspace, tmp_path: Path) -> None:
    encoder = small_encoder(tmp_path / "encoder")

    def notes(*settings: str) -> str:
        search = SearchConfig(
            architectures=("text",), preset="documented", text_encoder=str(encoder), settings=settings
        )
        [plan] = Planner(search, BudgetConfig(minutes=1e-6), toy_workspace, LAPTOP).plans(search.kinds())
        assert "text-documented" in plan.space.source, "nothing is frozen for want of time"
        return plan.resolution.notes[-1]

    named = f"text_encoder {encoder} (documented: neobert)"
    assert notes() == notes("dropout=0.4", "tokens_per_pass=512") == f"preset documented: not to the letter: {named}"
    assert notes("epochs=3", "lora_rank=8") == (
        f"preset documented: not to the letter: epochs 3 (documented: 20), lora_rank 8 (documented: 0), {named}"
    )


def test_random_weights_are_refused_at_the_rates_of_the_document(toy_workspace: Workspace) -> None:
    search = preset("text", text_encoder="tiny").search
    with refused("random-encoder-low-rate"):
        Planner(search, BudgetConfig(), toy_workspace, LAPTOP).plans(search.kinds())


@pytest.mark.e2e
def test_the_preset_runs_and_stands_beside_our_defaults(
    tmp_path: Path, toy_files: Callable[..., tuple[Path, Path]]
) -> None:
    train, test = toy_files(60, 12)
    home = ["--workspace", tmp_path / "runs"]
    small = [
        "--trials",
        1,
        "--members",
        1,
        "--text-encoder",
        "tiny",
        "--set",
        "epochs=1",
        "--set",
        "learning_rate=1e-3",
    ]
    said = run(
        "experiments.sweep", "text", "multimodal", "--preset", "documented", "--train", train, "--test", test, *home, *small,
        "--vision-encoder", "tiny-vision",
    )  # fmt: skip
    assert "epochs 1 (documented: 12)" in said and "epochs 1 (documented: 20)" in said and "member multimodal-" in said
    workspace = Workspace(tmp_path / "runs")
    for name in workspace.store.complete():
        settings = workspace.store.read(name).record["settings"]
        assert (settings["pooling"], settings["loss"], settings["head"]) == ("cls", "smape", "point")
    run("experiments.sweep", "text", *home, *small, "--seed", 42)
    studies = read_json(workspace.path("history.json"))["studies"]
    assert [study["name"].startswith(f"{study['architecture']} | preset documented | ") for study in studies] == [
        True, True, False,
    ]  # fmt: skip
    assert studies[0]["preset"] == "documented" and "preset" not in studies[2]
    [shown] = read_json(workspace.path("report.json"))["sweep"]["architectures"][0]["presets"]
    assert shown["smape"] == studies[0]["trials"][0]["smape"] and shown["default"] == studies[2]["trials"][0]["smape"]
    assert shown["changes"]["epochs"] == [20, 1]
    assert "preset documented (not to the letter: epochs 1 in place of 20" in workspace.path("report.html").read_text()
