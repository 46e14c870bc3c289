"""Token buckets, by a clock that the tests turn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.common.limits import Limits
from serving.middleware.access import Access
from serving.middleware.rate import RateLimit, RateLimiter, client_network
from tests.serving_tests.asgi_toys import converse, echo, scope_of
from tests.serving_tests.conftest import Clock


def limiter(clock: Clock, **changed: float) -> RateLimiter:
    return RateLimiter(
        Limits.model_validate({"requests_per_second": 2, "burst": 4, "tracked": 3} | changed), clock=clock
    )


def test_a_burst_then_as_many_as_the_rate_gives() -> None:
    clock = Clock(100.0)
    buckets = limiter(clock)
    assert [buckets.take("a") for _ in range(6)] == [0, 0, 0, 0, 0.5, 0.5]
    clock.now += 0.5
    assert [buckets.take("a") for _ in range(2)] == [0, 0.5]
    clock.now += 1000
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]


def test_callers_do_not_pay_for_each_other() -> None:
    buckets = limiter(Clock(100.0))
    assert [buckets.take("a") for _ in range(5)][-1] > 0
    assert buckets.take("b") == 0


def test_what_costs_more_waits_longer_and_never_for_ever() -> None:
    clock = Clock(100.0)
    buckets = limiter(clock)
    assert buckets.take("a", 3) == 0
    assert buckets.take("a", 3) == 1.0
    assert buckets.take("a", 1000) == 1.5
    clock.now += 1.5
    assert buckets.take("a", 1000) == 0
    assert buckets.take("a") == 0.5


def test_only_so_many_are_remembered_those_seen_last() -> None:
    buckets = limiter(Clock(100.0))
    for caller in ("a", "b", "c"):
        for _ in range(5):
            buckets.take(caller)
    assert buckets.take("a") > 0
    assert buckets.take("d") == 0 and len(buckets) == 3
    assert buckets.take("a") > 0 and buckets.take("c") > 0
    assert buckets.take("b") == 0


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0.1, 6)), max_size=40))
def test_no_more_is_taken_than_a_burst_and_the_rate(steps: list[tuple[float, float]]) -> None:
    clock, taken = Clock(100.0), 0.0
    buckets = limiter(clock)
    for pause, cost in steps:
        clock.now += pause
        wait = buckets.take("a", cost)
        assert wait >= 0
        if wait == 0:
            taken += min(cost, 4)
        assert taken <= 4 + 2 * (clock.now - 100) + 1e-6


def test_the_middleware_answers_429_with_seconds_to_wait() -> None:
    clock = Clock(100.0)
    app = Access(RateLimit(echo, limiter(clock, burst=1, requests_per_second=0.4)), None)
    local = {"host": "127.0.0.1"}
    assert converse(app, scope_of(**local))[0] == 200
    status, headers, _ = converse(app, scope_of(**local))
    assert (status, headers["retry-after"], headers["content-type"]) == (429, "3", "application/problem+json")
    clock.now += 3
    assert converse(app, scope_of(**local))[0] == 200
    for _ in range(3):
        assert converse(app, scope_of("/health"))[0] == 200


@pytest.mark.parametrize(
    ("client", "site"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("2606:4700:1:2:3:4:5:6", "2606:4700:1:2::/64"),
        ("2606:4700:1:2::", "2606:4700:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_neighbours_in_ipv6_share_a_bucket(client: str, site: str) -> None:
    assert client_network(scope_of(client=(client, 1))) == site
    assert client_network(scope_of(client=None)) == ""


def test_what_costs_more_than_a_bucket_waits_for_the_rest_of_it_alone() -> None:
    buckets = limiter(Clock(100.0), requests_per_second=10, burst=20)
    assert buckets.take("shop") == 0
    assert buckets.take("shop", 1_023, taken=1) == 0  # the rest of the bucket
    assert buckets.take("shop", 5) == pytest.approx(0.5)
