"""Studies: nothing is trained twice, every trial ends in the state that it deserves, and a dead driver's trials come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from experiments.common.jobs import JobOutcome
from experiments.search.storage import open_storage
from experiments.search.study import SAMPLERS, Study, StudySettings, _Queued, check_sampler, distribution, study_name
from experiments.search.trial_store import PHRASE_LENGTH, differences, find_study, short_name
from tests.errors import refused
from tests.experiments_tests.search.toy_search import SPACE, ask, identify, outcome


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def study(url: str, sampler: str = "tpe", known: Mapping[str, JobOutcome] | None = None, seed: int = 0) -> Study:
    answers = known or {}
    return Study(
        "toy", SPACE, open_storage(url), identify=identify, known=answers.get, settings=StudySettings(sampler, seed)
    )


def frozen(url: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="toy", storage=url).trials


def test_documented_points_come_first_and_none_is_forgotten_or_repeated_when_a_sweep_goes_on(url: str) -> None:
    then = ({"depth": 1, "rate": 0.2}, {"depth": 2, "rate": 0.2}, {"depth": 3, "rate": 0.4})

    def begun() -> Study:
        return Study("toy", replace(SPACE, then=then), open_storage(url), identify=identify, known={}.get)

    seen = []
    for _ in range(3):  # each proposal by another process
        search = begun()
        proposal = ask(search)
        seen.append((proposal.number, proposal.searched))
        search.complete(proposal.name, outcome(40.0))
    assert seen == [(0, SPACE.best), (1, then[0]), (2, then[2])]


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_sampler_walks_the_whole_space_and_trains_no_point_twice(url: str, sampler: str) -> None:
    search, seen = study(url, sampler), []
    while (proposal := search.ask()) is not None:
        seen.append(proposal.name)
        search.complete(proposal.name, outcome(40.0 + proposal.searched["depth"]))
    assert len(seen) == len(set(seen)) == SPACE.points
    assert search.exhausted
    assert {trial.state for trial in frozen(url)} == {TrialState.COMPLETE}


def test_points_that_differ_only_in_settings_without_effect_are_one_config(url: str) -> None:
    """As `mixup_alpha` is while MixUp is off: the search ends when every different config has a result."""

    def by_depth(searched: Mapping[str, Any]) -> str:
        return f"depth {searched['depth']}"

    search = Study("toy", SPACE, open_storage(url), identify=by_depth, known={}.get)
    seen = []
    while (proposal := search.ask()) is not None:
        seen.append(proposal.name)
        search.complete(proposal.name, outcome(40.0))
    assert sorted(seen) == ["depth 1", "depth 2", "depth 3"]


def test_points_with_one_effect_are_trained_once_under_the_name_of_the_first(url: str) -> None:
    """As 625 and 1,024 tokens are for an encoder that reads 512: each has a name of its own, also when the study goes on."""

    def opened() -> Study:
        return Study(
            "toy", SPACE, open_storage(url), identify=identify, known={}.get,
            effect=lambda searched: identify({**searched, "depth": min(searched["depth"], 2)}),
            settings=StudySettings("grid"),
        )  # fmt: skip

    first = opened().ask()
    assert first is not None and first.searched == SPACE.best  # and is interrupted
    seen = []
    while (proposal := (search := opened()).ask()) is not None:
        seen.append(proposal.searched)
        search.complete(proposal.name, outcome(40.0 + 10 * proposal.searched["rate"]))
    assert seen[0] == SPACE.best and len(seen) == 6 == search.distinct
    assert {(point["depth"] > 1, point["rate"]) for point in seen} == {
        (d, r) for d in (False, True) for r in (0.1, 0.2, 0.4)
    }
    search._queue.append(_Queued({"depth": 3, "rate": 0.2}, "test"))
    assert search.ask() is None or not search._queue
    assert all(each.name == identify(each.searched) for each in search.ranking())


def test_a_repeat_is_answered_with_the_first_ones_value_and_curve(url: str) -> None:
    search = study(url)
    first = ask(search)
    search.report(first.name, 1, 50.0)
    search.complete(first.name, outcome(45.0))
    search._queue.append(_Queued(first.searched, "test"))
    assert search.ask() is not None
    repeat = frozen(url)[1]
    assert (repeat.state, repeat.value, repeat.user_attrs["answered_from"]) == (TrialState.COMPLETE, 45.0, 0)
    assert repeat.intermediate_values == {1: 50.0}


def test_a_repeat_of_a_running_trial_waits_for_it_and_shares_its_end(url: str) -> None:
    search = study(url)
    first = ask(search)
    search._queue.append(_Queued(first.searched, "test"))
    second = ask(search)
    assert second.name != first.name
    search.prune(first.name, 60.0)
    assert [trial.state for trial in frozen(url)] == [TrialState.PRUNED, TrialState.PRUNED, TrialState.RUNNING]


@pytest.mark.parametrize(("sentence", "proposed"), [("the sweep was interrupted", True), ("out of memory", False)])
def test_what_f17e332_left_interrupted_is_proposed_first(url: str, sentence: str, proposed: bool) -> None:
    """It stored the sentence and no code."""
    point = {"depth": 3, "rate": 0.4}
    distributions = {key: distribution(choices) for key, choices in SPACE.values.items()}
    optuna.create_study(storage=url, study_name="toy").add_trial(
        create_trial(state=TrialState.FAIL, params=point, distributions=distributions, user_attrs={"error": sentence})
    )
    proposal = ask(study(url))
    assert proposal.searched == (point if proposed else SPACE.best)


@pytest.mark.parametrize(
    ("params", "phrase"),
    [
        ({"rate": 2e-5, "encoder": "neobert", "layers": 2}, "best known"),
        ({"rate": 5e-5, "encoder": "/models/minilm", "layers": 2}, "rate 5e-5, encoder minilm"),
        ({"rate": 3.28412345e-5, "encoder": "neobert", "layers": 12}, "rate 3.284e-5, layers 12"),
    ],
)
def test_trials_are_named_by_what_differs_from_the_best_known(params: dict[str, Any], phrase: str) -> None:
    assert differences(params, {"rate": 2e-5, "encoder": "neobert", "layers": 2}) == phrase


def test_names_of_trials_are_bounded() -> None:
    params: dict[str, Any] = {f"setting_{number}": number for number in range(9)}
    assert differences(params, {}) == ("setting_0 0, setting_1 1, setting_2 2, setting_3 3, setting_4 4 and 4 more")
    long = differences({"encoder": "x" * 200, **params}, {})
    assert long.startswith("encoder xxx") and long.endswith("and 9 more") and len(long) <= PHRASE_LENGTH


def test_a_proposal_and_its_trial_say_what_differs(url: str) -> None:
    search = study(url)
    first, second = ask(search), ask(search)
    assert first.differs == "best known"
    assert [trial.user_attrs["differs"] for trial in frozen(url)] == ["best known", second.differs]
    assert all(f"{key} {value}" in second.differs for key, value in second.searched.items() if value != SPACE.best[key])


def test_a_config_known_from_an_earlier_study_is_not_trained(url: str) -> None:
    best = identify(SPACE.best)
    search = study(url, known={best: outcome(33.0)})
    proposal = ask(search)
    assert proposal.name != best
    assert [each.smape for each in search.ranking()] == [33.0]


def test_states_texts_and_codes_are_told_as_they_are(url: str) -> None:
    search = study(url, "grid")
    for end in (
        lambda name: search.complete(name, outcome(41.0)),
        lambda name: search.prune(name, 70.0),
        lambda name: search.fail(name, "out of memory", "out-of-memory-gradients"),
        lambda name: search.fail(name, "ZeroDivisionError: a bug"),
        search.interrupt,
    ):
        proposal = ask(search)
        end(proposal.name)
    trials = frozen(url)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED, *[TrialState.FAIL] * 3]
    assert trials[2].user_attrs["error"] == "out of memory"
    codes = [trial.user_attrs.get("error_code") for trial in trials]
    assert codes == [None, None, "out-of-memory-gradients", None, "trial-interrupted"]
    assert trials[0].user_attrs["r2"] == 0.5
    assert search.distinct == 2


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "interrupted"])
def test_what_an_earlier_driver_did_not_end_fails_and_is_proposed_first(url: str, killed: bool) -> None:
    before = study(url)
    lost = ask(before)
    if not killed:
        before.interrupt(lost.name)
    again = ask(study(url))
    assert again.searched == lost.searched and again.number == 1
    assert [trial.state for trial in frozen(url)] == [TrialState.FAIL, TrialState.RUNNING]


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_a_config_that_fails_is_not_tried_again_in_this_sweep_and_does_not_end_it(url: str, sampler: str) -> None:
    search, seen = study(url, sampler), []
    while (proposal := search.ask()) is not None:
        seen.append(proposal.name)
        search.fail(proposal.name, "out of memory")
    assert len(seen) == len(set(seen)) == SPACE.points
    assert study(url, sampler).ask() is not None


def test_answers_count_towards_the_trials_that_are_wanted(url: str) -> None:
    names = [identify(point) for point in SPACE.grid()]
    search = study(url, known={name: outcome(40.0) for name in names})
    assert search.ask(wanted=4) is None
    assert search.distinct == 4


def test_a_cut_training_counts_but_may_be_repeated(url: str) -> None:
    search = study(url)
    first = ask(search)
    search.complete(first.name, outcome(44.0, cut=True))
    assert search.ranking()[0].smape == 44.0
    assert search.seconds() == [1.5]
    search._queue.append(_Queued(first.searched, "test"))
    again = ask(search)
    assert again.name == first.name


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_one_seed_proposes_the_same_points(tmp_path: Path, sampler: str) -> None:
    def points(part: str) -> list[dict[str, Any]]:
        search, found = study(f"sqlite:///{tmp_path}/{part}.db", sampler, seed=7), []
        for _ in range(5):
            proposal = ask(search)
            found.append(proposal.searched)
            search.complete(proposal.name, outcome(40.0 + proposal.searched["rate"]))
        return found

    assert points("a") == points("b")


def test_study_names_tell_fresh_runs_apart_and_find_the_last_one(url: str) -> None:
    storage = open_storage(url)
    about = ["neobert + clip", "train.csv, 75,000 rows"]
    first = study_name("text", about, {"seed": 0}, storage, fresh=True)
    optuna.create_study(study_name=first, storage=storage)
    second = study_name("text", about, {"seed": 0}, storage, fresh=True)
    optuna.create_study(study_name=second, storage=storage)
    assert first.startswith("text | neobert + clip | train.csv, 75,000 rows | ") and second == f"{first}-run2"
    assert find_study(short_name(first), [second, first]) == first
    assert study_name("text", about, {"seed": 0}, storage, fresh=False) == second
    assert study_name("text", about, {"seed": 1}, storage, fresh=False) not in (first, second)


def test_a_study_of_an_older_version_goes_on_under_its_old_name(url: str) -> None:
    storage = open_storage(url)
    old = short_name(study_name("text", [], {"seed": 0}, storage, fresh=False))
    optuna.create_study(study_name=old, storage=storage)
    assert study_name("text", ["tiny", "train.csv, 9 rows"], {"seed": 0}, storage, fresh=False) == old
    assert short_name(old) == old == find_study(old, [old])


def test_unknown_samplers_are_the_users_to_mend() -> None:
    with refused("sampler-unknown"):
        check_sampler("tpee")
