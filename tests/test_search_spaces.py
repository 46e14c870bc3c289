"""Search spaces: the documented grids to the letter, and files whose mistakes are named."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.architectures import ARCHITECTURES, architecture
from core.protocols.architecture import make_config
from experiments.search.search_config import SearchConfig
from experiments.search.study import distribution
from search_spaces import FOLDER, Range, Space, load_space
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
            "regressor_width": 512, "regressor_depth": 2, "mixup_alpha": 0.3, "random_erase": 0.2,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("stem", [f"{name}{ending}" for name in sorted(DOCUMENTED) for ending in ("", "-documented")])
def test_the_documented_grids_are_exact(stem: str) -> None:
    values, best = DOCUMENTED[owner(stem)]
    space = load_space(stem, architecture(owner(stem)).Config)
    assert space.values == values
    assert space.best == best


def written(folder: Path, text: str) -> Space:
    """The space that is read from this text of a file."""
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return load_space(path, TEXT)


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
    values = "values: {dropout: [0.1, 0.2], epochs: [3, 4]}"
    space = written(tmp_path, f"{values}\nbest: {{dropout: 0.1, epochs: 3}}\nthen: [{{epochs: 4}}, {{dropout: 0.2}}]")
    assert space.then == ({"dropout": 0.1, "epochs": 4}, {"dropout": 0.2, "epochs": 3})
    assert space.without({"epochs": 4}).then == ({"dropout": 0.1}, {"dropout": 0.2})


def test_what_the_user_fixed_is_not_searched() -> None:
    space = load_space("text", TEXT).without({"dropout": 0.1})
    assert "dropout" not in space.values and "dropout" not in space.best
    assert space.points == 3**6


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("values: {droput: [0.1]}", "space-unknown-setting"),
        ("values: {dropout: []}", "space-no-choices"),
        ("values: {dropout: 0.1}", "space-no-choices"),
        ("values: {dropout: [many]}", "config-bad-value"),
        ("values: {dropout: [0.1]}\nbest: {dropout: 0.2}", "space-not-a-choice"),
        ("values: {dropout: [0.1], epochs: [3]}\nbest: {dropout: 0.1}", "space-best-incomplete"),
        ("values: {dropout: [0.1]}\nbest: {dropout: 0.1}\nthen: [{dropout: 0.2}]", "space-not-a-choice"),
        ("values: {dropout: [0.1]}\nbest: {dropout: 0.1}\nthen: {dropout: 0.1}", "space-bad-initial-points"),
        ("values: {dropout: [0.1]}\nthen: [{dropout: 0.1}]", "space-bad-initial-points"),
        ("values: {dropout: [0.1]}\ninitial_points: [0.1]", "space-bad-initial-points"),
        ("values: {dropout: {low: 0.5, high: 0.1}}", "space-bad-range"),
        ("values: {dropout: {low: 0.1}}", "space-bad-range"),
        ("values: {dropout: {low: 0, high: 0.5, log: true}}", "space-bad-range"),
        ("values: {dropout: {low: 0.1, high: 0.5, steps: 3}}", "space-bad-range"),
        ("values: {dropout: {low: 0.1, high: 7}}", "config-bad-value"),
        ("values: {dropout: {low: 0.1, high: 0.5}}\nbest: {dropout: 0.7}", "space-not-a-choice"),
        ("values: {dropout: [0.1]}\nfixed: {dropout: 0.2}", "space-bad-fixed"),
        ("values: {dropout: [0.1]}\nfixed: [epochs]", "space-bad-fixed"),
        ("values: {dropout: [0.1]}\nfixed: {epoch: 3}", "space-unknown-setting"),
        ("values: {dropout: [0.1]}\nfixed: {epochs: 0}", "config-bad-value"),
        ("dropout: [0.1]", "space-bad-keys"),
        ("values: {dropout: [0.1]}\nranges: {}", "space-bad-keys"),
        ("values: [", "space-not-yaml"),
        ("", "space-bad-keys"),
    ],
)
def test_mistakes_in_a_space_file_are_named(tmp_path: Path, content: str, code: str) -> None:
    with refused(code):
        written(tmp_path, content)


def test_settings_fixed_in_a_space_give_way_to_the_users(tmp_path: Path) -> None:
    written(tmp_path, "values: {dropout: [0.1]}\nfixed: {learning_rate: 1e-3, epochs: 3}")
    search = SearchConfig(architectures=("text",), space=tmp_path / "space.yaml", settings=("epochs=5",))
    assert search.fixed_settings(search.kinds()) == {"text": {"learning_rate": 1e-3, "epochs": 5}}


def test_a_missing_space_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with refused("space-missing"):
        load_space(tmp_path / "none.yaml", TEXT)


def test_ranges_are_read_also_where_yaml_reads_a_number_as_text(tmp_path: Path) -> None:
    ranges = "learning_rate: {low: 1e-6, high: 1e-4, log: true}, epochs: {low: 2, high: 12, step: 2}"
    space = written(tmp_path, f"values: {{{ranges}, dropout: [1e-1, 0.2]}}")
    assert space.values == {
        "learning_rate": Range(1e-6, 1e-4, log=True),
        "epochs": Range(2, 12, step=2),
        "dropout": (0.1, 0.2),
    }
    assert space.points == math.inf
    assert space.listed("epochs") == (2, 4, 6, 8, 10, 12)
    assert space.highest("epochs", 1) == 12 and space.highest("batch_size", 64) == 64
    assert space.record()["learning_rate"] == {"low": 1e-6, "high": 1e-4, "log": True}


def test_a_grid_over_a_range_without_a_step_is_refused(tmp_path: Path) -> None:
    endless = written(tmp_path, "values: {dropout: {low: 0.1, high: 0.5}}")
    with refused("space-endless-grid") as caught:
        endless.check_finite("--grid")
    assert "dropout" in caught.value.what and "--grid" in caught.value.what
    finite = written(tmp_path, "values: {dropout: {low: 0.1, high: 0.5, step: 0.2}, epochs: [3, 4]}")
    assert finite.points == 6 == sum(1 for _ in finite.grid())


def test_a_space_is_found_by_its_name_or_its_file(tmp_path: Path) -> None:
    assert load_space(Path("text-tiny"), TEXT) == load_space("text-tiny", TEXT)
    assert written(tmp_path, "values: {dropout: [0.1]}").values == {"dropout": (0.1,)}


def test_initial_points_are_tried_first(tmp_path: Path) -> None:
    text = "values: {dropout: {low: 0.1, high: 0.5}, epochs: [3, 4]}\ninitial_points: [{dropout: 0.2, epochs: 3}, {epochs: 4}]"
    space = written(tmp_path, text)
    assert space.best == {"dropout": 0.2, "epochs": 3}
    assert space.then == ({"dropout": 0.2, "epochs": 4},)
    text = "values: {dropout: [0.1, 0.2]}\nbest: {dropout: 0.1}\ninitial_points: [{dropout: 0.2}]"
    assert written(tmp_path, text).then == ({"dropout": 0.2},)


ENDS = st.one_of(
    st.tuples(st.integers(1, 1_000), st.integers(1, 1_000)).map(lambda ends: (ends[0], ends[0] + ends[1])),
    st.tuples(st.floats(1e-6, 1e3), st.floats(1e-3, 1e3)).map(lambda ends: (ends[0], ends[0] + ends[1])),
)


@given(ends=ENDS, log=st.booleans(), seed=st.integers(0, 99))
def test_every_drawn_value_lies_in_its_range_and_optuna_agrees(ends: tuple[float, float], log: bool, seed: int) -> None:
    choices = Range(*ends, log=log)
    value = choices.sample(Random(seed))
    assert value in choices and isinstance(value, int) == choices.whole
    assert distribution(choices)._contains(distribution(choices).to_internal_repr(value))


@given(low=st.integers(0, 50), count=st.integers(1, 20), step=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_stepped_range_is_its_list(low: int, count: int, step: int, seed: int) -> None:
    choices = Range(low, low + count * step, step=step)
    assert choices.values == tuple(range(low, low + count * step + 1, step))
    assert choices.sample(Random(seed)) in choices and low + step in choices
    assert (low + 0.5) not in choices and True not in choices
