from __future__ import annotations

import pytest

from core.formatting import amount, metrics_text, written_out


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234.50"), (0.01, "0.01"), (0.0, "0.00"), (0.0000123456, "1.23e-05"), (1e13, "10,000,000,000,000.00")],
)
def test_no_amount_reads_0_but_0(value: float, text: str) -> None:
    assert amount(value) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (5.6, 6, "5.6"), (10.0, 6, "10"), (188.609, 4, "188.6"), (11_111_111, 12, "11,111,111"), (61_312_345.0, 4, "61,310,000"),
        (1.25e-6, 6, "0.00000125"),
    ],
)  # fmt: skip
def test_prices_are_grouped_and_have_no_exponent(value: float, digits: int, text: str) -> None:
    assert written_out(value, digits) == text


def test_errors_of_tiny_prices_are_shown() -> None:
    metrics = {"smape": 20.0, "mae": 1.5e-7, "rmse": 2.5, "r2": 0.5}
    assert metrics_text(metrics) == "SMAPE 20.00  MAE 1.5e-07  RMSE 2.50  R2 0.500"
