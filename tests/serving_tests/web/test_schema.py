"""Two thousand requests drawn from the OpenAPI document: no answer is a fault of the service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from tests.serving_tests.test_api import FREE, running

CASES = 200
"""Of each of the ten operations."""


@pytest.fixture(scope="module")
def document(_exported: Any) -> Iterator[Any]:
    """The document of a running service that lets one caller ask as fast as it can."""
    with running(_exported.folder, "--workers", "1", *FREE, "--log-level", "error") as (_, address):
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


def test_nothing_drawn_from_the_document_is_answered_with_a_fault(document: Any) -> None:
    operations = [each.ok() for each in document.get_all_operations()]
    assert len(operations) == 10
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def answered(case: Any) -> None:
            answer = case.call()
            assert answer.status_code < 500 or answer.status_code == 503, answer.text

        answered()
