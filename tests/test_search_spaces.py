"""Search spaces: the documented grids to the letter, and files whose mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.architectures import ARCHITECTURES, architecture
from core.errors import UserError
from core.protocols.architecture import make_config
from search_spaces import FOLDER, load_space
from tests.errors import refused

TEXT = architecture("text").Config
DOCUMENTED = {
    "text": (
        {
            "learning_rate": (1e-5, 2e-5, 5e-5), "batch_size": (32, 64, 128), "max_length": (512, 625, 1024),
            "dropout": (0.2, 0.4, 0.5), "weight_decay": (0.01, 0.03, 0.05), "regressor_width": (128, 256, 512),
            "regressor_depth": (1, 2, 3),
        },
        {
            "learning_rate": 2e-5, "batch_size": 64, "max_length": 625, "dropout": 0.4, "weight_decay": 0.03,
            "regressor_width": 256, "regressor_depth": 1,
        },
    ),
    "multimodal": (
        {
            "learning_rate": (5e-6, 1e-5, 2e-5), "batch_size": (32, 64), "max_length": (512,), "dropout": (0.3, 0.4, 0.5),
            "weight_decay": (0.03, 0.05, 0.1), "regressor_width": (256, 512, 1024), "regressor_depth": (1, 2, 3),
            "mixup_alpha": (0.2, 0.3, 0.5), "random_erase": (0.1, 0.2, 0.3),
        },
        {
            "learning_rate": 1e-5, "batch_size": 64, "max_length": 512, "dropout": 0.4, "weight_decay": 0.05,
            "regressor_width": 512,
            "regressor_depth": 2, "mixup_alpha": 0.3, "random_erase": 0.2,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_the_documented_grids_are_exact(name: str) -> None:
    values, best = DOCUMENTED[name]
    space = load_space(name, architecture(name).Config)
    assert space.values == values
    assert space.best == best


def owner(stem: str) -> str:
    return stem.partition("-")[0]


@pytest.mark.parametrize("stem", sorted(file.stem for file in FOLDER.glob("*.yaml")))
def test_every_point_of_every_space_is_a_config(stem: str) -> None:
    kind = architecture(owner(stem)).Config
    space = load_space(stem, kind)
    assert space.best, "every shipped space names its best point"
    assert space.points == sum(1 for _ in space.grid()) or space.points > 10_000
    assert make_config(kind, space.best)
    assert all(make_config(kind, point) and point != space.best for point in space.then)


def test_every_architecture_has_a_space() -> None:
    assert set(ARCHITECTURES) <= {owner(file.stem) for file in FOLDER.glob("*.yaml")}


def test_points_to_try_next_say_what_they_change_of_the_best(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "values: {dropout: [0.1, 0.2], epochs: [3, 4]}\nbest: {dropout: 0.1, epochs: 3}\nthen: [{epochs: 4}, {dropout: 0.2}]"
    )
    space = load_space(path, TEXT)
    assert space.then == ({"dropout": 0.1, "epochs": 4}, {"dropout": 0.2, "epochs": 3})
    assert space.without({"epochs": 4}).then == ({"dropout": 0.1}, {"dropout": 0.2})


def test_what_the_user_fixed_is_not_searched() -> None:
    space = load_space("text", TEXT).without({"dropout": 0.1})
    assert "dropout" not in space.values and "dropout" not in space.best
    assert space.points == 3**6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("values: {droput: [0.1]}", "did you mean 'dropout'"),
        ("values: {dropout: []}", "at least one choice"),
        ("values: {dropout: 0.1}", "at least one choice"),
        ("values: {dropout: [many]}", "bad value for dropout"),
        ("values: {dropout: [0.1]}\nbest: {dropout: 0.2}", "not among its choices"),
        ("values: {dropout: [0.1], epochs: [3]}\nbest: {dropout: 0.1}", "best lacks"),
        ("values: {dropout: [0.1]}\nbest: {dropout: 0.1}\nthen: [{dropout: 0.2}]", "not among its choices"),
        ("values: {dropout: [0.1]}\nbest: {dropout: 0.1}\nthen: {dropout: 0.1}", "must list settings"),
        ("values: {dropout: [0.1]}\nthen: [{dropout: 0.1}]", "must list settings"),
        ("dropout: [0.1]", "must have the keys"),
        ("values: {dropout: [0.1]}\nranges: {}", "must have the keys"),
        ("values: [", "not readable as YAML"),
        ("", "must have the keys"),
    ],
)
def test_mistakes_in_a_space_file_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        load_space(path, TEXT)


def test_a_missing_space_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with refused("space-missing"):
        load_space(tmp_path / "none.yaml", TEXT)
