"""What failed trials share is told once per three; a search without any result ends, one with results goes on."""

from __future__ import annotations

from experiments.search.failures import HOPELESS, IN_A_ROW, Failures, common, kind


def test_kinds_do_not_depend_on_numbers() -> None:
    assert kind("needs 12.5 GiB\nmore") == kind("needs 9 GiB") != kind("needs a GPU")


def test_common_settings_are_those_that_no_successful_trial_had() -> None:
    failed = [{"batch": 64, "rate": 0.1, "depth": 1}, {"batch": 64, "rate": 0.1, "depth": 2}]
    assert common(failed, [{"batch": 32, "rate": 0.1, "depth": 1}]) == {"batch": 64}
    assert common(failed, []) == {"batch": 64, "rate": 0.1}


def test_three_alike_are_told_with_what_they_share() -> None:
    failures = Failures()
    failures.end_row({"batch": 32, "depth": 1})
    for depth in (1, 2, 3):
        assert failures.summary() is None
        failures.add(f"no memory for {depth} rows", {"batch": 64, "depth": depth})
    assert failures.summary() == (
        "3 in a row failed alike, all with batch=64, which no trial with a result had: no memory for 3 rows"
    )
    assert not failures.hopeless
    failures.add("no memory for 5 rows", {"batch": 64, "depth": 4})
    assert failures.summary() is None


def test_unlike_failures_are_accidents_until_there_are_many() -> None:
    failures = Failures()
    for letter in "abcdefghi"[: HOPELESS - 1]:
        failures.add(f"error {letter}", None)
        assert failures.summary() is None and not failures.hopeless
    failures.add("error z", None)
    assert failures.hopeless


def test_alike_failures_before_any_result_are_hopeless() -> None:
    failures = Failures()
    for _ in range(IN_A_ROW):
        failures.add("the encoder is damaged", {"batch": 64})
    assert failures.hopeless
    failures.end_row({"batch": 64})
    assert not failures.hopeless
