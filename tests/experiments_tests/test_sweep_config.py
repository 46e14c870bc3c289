"""A sweep's options: from keyword arguments, from the command line, and what is refused."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest
import typer
from typer.testing import CliRunner

from experiments.planning.budget import DEFAULT_TRIALS, BudgetConfig
from experiments.search.search_config import SearchConfig
from experiments.sweep import HELP_ORDER, app
from experiments.sweep_config import SweepConfig
from tests.errors import refused


def settings(*names: str, **changes: object) -> dict[str, dict[str, object]]:
    search = SearchConfig.of(architectures=names, **changes)
    return search.fixed_settings(search.kinds())


def test_flat_arguments_reach_their_parts_and_none_is_the_default() -> None:
    config = SweepConfig.of(
        architectures="lexical", workspace="here", train="a.csv", test="b.csv", trials=3, memory="4GiB", json=True, folds=None
    )  # fmt: skip
    assert config.workspace == Path("here") and config.search.architectures == ("lexical",)
    assert (config.catalog.train, config.catalog.folds) == (Path("a.csv"), None)
    assert (config.budget.trials, config.resources.memory, config.tracking.json_events) == (3, 4 * 2**30, True)
    assert SweepConfig.of().search.seed == 0


def test_unknown_arguments_and_bad_values_are_refused_with_a_hint() -> None:
    with refused("unknown-option") as caught:
        SweepConfig.of(trails=3)
    assert "did you mean 'trials'" in caught.value.hint
    with refused("bad-option-value") as caught:
        SweepConfig.of(folds=1)
    assert "folds" in caught.value.what


def test_the_command_has_one_flag_for_each_field_in_the_documented_order() -> None:
    command = typer.main.get_command(app)
    assert [each.name for each in command.params if each.param_type_name == "option"] == HELP_ORDER
    assert "--no-grid" not in CliRunner().invoke(app, ["--help"]).output


def test_flags_become_the_same_config_as_keyword_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Mock(return_value=True)
    monkeypatch.setattr("experiments.run.sweep", sweep)
    typed = [
        "text",
        "--workspace",
        "w",
        "--set",
        "dropout=0.1",
        "--set",
        "loss=huber",
        "--cache-limit",
        "2GB",
        "--grid",
    ]
    result = CliRunner().invoke(app, typed, env={"MLFLOW_TRACKING_URI": "http://host"}, catch_exceptions=False)
    assert result.exit_code == 0
    config = SweepConfig.of(
        architectures=["text"], workspace=Path("w"), settings=["dropout=0.1", "loss=huber"], cache_limit=2 * 10**9,
        grid=True, tracking="http://host",
    )  # fmt: skip
    # The process's own start: slow imports are part of the minutes.
    sweep.assert_called_once_with(config, start=psutil.Process().create_time())


def test_all_is_every_architecture_and_doubles_count_once() -> None:
    assert SearchConfig().names() == ("text", "multimodal", "lexical", "boosted")
    assert SearchConfig(architectures=("boosted", "text", "boosted")).names() == ("boosted", "text")


def test_an_unknown_architecture_is_refused_with_the_nearest() -> None:
    with refused("unknown-architecture") as caught:
        SearchConfig(architectures=("multimodel",)).names()
    assert "did you mean 'multimodal'" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"test": Path("a.csv")}, "catalog-file-alone"),
        ({"images": Path("images")}, "images-without-catalog"),
        ({"minutes": 0.0}, "no-minutes"),
        ({"minutes": -3.0}, "no-minutes"),
        ({"memory": 2**32, "address": "auto"}, "memory-with-address"),
        ({"gpus_per_trial": 1.5}, "gpus-per-trial-in-parts"),
        ({"architectures": ("text", "lexical"), "space": Path("space.yaml")}, "space-of-several-architectures"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(changes: dict[str, object], code: str) -> None:
    with refused(code) as caught:
        SweepConfig.of(**changes)
    assert caught.value.hint


def test_trials_default_to_a_number_only_where_no_budget_decides() -> None:
    assert BudgetConfig().wanted_trials(grid=False) == DEFAULT_TRIALS
    assert BudgetConfig(minutes=5.0).wanted_trials(grid=False) is None
    assert BudgetConfig(minutes=5.0, trials=3).wanted_trials(grid=False) == 3
    assert BudgetConfig().wanted_trials(grid=True) is None


def test_settings_go_to_the_architectures_that_have_them() -> None:
    found = settings("text", "multimodal", "lexical", settings=("dropout=0.3", "text.loss=huber", "epochs=3"))
    assert found["text"] == {"dropout": 0.3, "loss": "huber", "epochs": 3}
    assert found["multimodal"] == {"dropout": 0.3, "epochs": 3}


def test_encoders_are_settings_of_the_neural_architectures() -> None:
    found = settings("multimodal", "lexical", text_encoder="tiny", vision_encoder="tiny-vision")
    assert found == {"multimodal": {"text_encoder": "tiny", "vision_encoder": "tiny-vision"}, "lexical": {}}
    with refused("unknown-architecture-setting"):
        settings("text", vision_encoder="clip")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("dropout", "setting-without-value"),
        ("droput=0.3", "unknown-architecture-setting"),
        ("lexical.dropout=0.3", "unknown-architecture-setting"),
    ],
)
def test_bad_set_flags_are_refused(text: str, code: str) -> None:
    with refused(code):
        settings("text", settings=(text,))
