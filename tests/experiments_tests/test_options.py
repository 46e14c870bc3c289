"""What the flags mean, and how wrong ones are answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UserError
from experiments.common.options import DEFAULT_TRIALS, Options, architectures_of, user_settings


def options(*names: str, **changes: object) -> Options:
    return Options(names or ("text",), Path("runs"), **changes)  # type: ignore[arg-type]


def settings(given: Options) -> dict[str, dict[str, object]]:
    return user_settings(given, architectures_of(given))


def test_all_is_every_architecture_and_doubles_count_once() -> None:
    assert options("all").names() == ("text", "multimodal", "lexical", "boosted")
    assert options("boosted", "text", "boosted").names() == ("boosted", "text")


def test_an_unknown_architecture_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'multimodal'"):
        options("multimodel").names()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"train": Path("a.csv")}, "--train was given alone"),
        ({"test": Path("a.csv")}, "--test was given alone"),
        ({"images": Path("pictures")}, "--images was given without a catalog"),
        ({"minutes": 0.0}, "--minutes 0 leaves no time"),
        ({"minutes": -3.0}, "--minutes -3 leaves no time"),
        ({"memory": 2**32, "address": "auto"}, "--memory is this machine's"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text) as error:
        options(**changes)
    assert error.value.hint


def test_a_space_file_belongs_to_one_architecture() -> None:
    with pytest.raises(UserError, match="--space is one architecture's"):
        options("text", "lexical", space=Path("space.yaml"))


def test_trials_default_to_a_number_only_where_no_budget_decides() -> None:
    assert options().wanted_trials == DEFAULT_TRIALS
    assert options(minutes=5.0).wanted_trials is None
    assert options(minutes=5.0, trials=3).wanted_trials == 3
    assert options(grid=True).wanted_trials is None


def test_settings_go_to_the_architectures_that_have_them() -> None:
    given = options("text", "multimodal", "lexical", settings=("dropout=0.3", "text.loss=huber", "epochs=3"))
    found = settings(given)
    assert found["text"] == {"dropout": 0.3, "loss": "huber", "epochs": 3}
    assert found["multimodal"] == {"dropout": 0.3, "epochs": 3}


def test_encoders_are_settings_of_the_neural_architectures() -> None:
    found = settings(options("multimodal", "lexical", text_encoder="tiny", vision_encoder="tiny-vision"))
    assert found == {"multimodal": {"text_encoder": "tiny", "vision_encoder": "tiny-vision"}, "lexical": {}}
    with pytest.raises(UserError, match="no setting 'vision_encoder' in text"):
        settings(options("text", vision_encoder="clip"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("dropout", "has no value"), ("droput=0.3", "did you mean 'dropout'"), ("lexical.dropout=0.3", "no setting")],
)
def test_bad_set_flags_are_answered(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(options("text", settings=(text,)))
