"""What happened since it was last asked for: a minute of requests and rows in a few figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from serving.engine.service import Priced
from serving.monitoring.alerts import Alert, Thresholds


@dataclass
class Recent:
    """Collects; `figures` and `alerts` say what it is. seconds: of requests for prices. prices: predicted."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    refused: int = 0
    prices: list[float] = field(default_factory=list)
    cached: int = 0
    fallbacks: int = 0
    batches: list[int] = field(default_factory=list)

    def request(self, status: int, seconds: float) -> None:
        """An answered request for prices."""
        self.seconds.append(seconds)
        self.refused += status == 503
        self.failed += status >= 500 and status != 503

    def row(self, priced: Priced) -> None:
        self.prices.append(priced.answer.price)
        self.cached += priced.cached
        self.fallbacks += priced.fallback

    def figures(self, minutes: float) -> dict[str, float]:
        """For the diary; figures of what did not happen are left out. minutes: that it was collected for."""
        found: dict[str, float] = {"requests_per_second": len(self.seconds) / (60 * minutes)}
        if self.seconds:
            p50, p95, p99 = 1000 * np.quantile(self.seconds, [0.5, 0.95, 0.99])
            found |= {
                "inference_latency_ms": 1000 * float(np.mean(self.seconds)),
                "inference_latency_p50_ms": float(p50),
                "inference_latency_p95_ms": float(p95),
                "inference_latency_p99_ms": float(p99),
                "error_rate": self.failed / len(self.seconds),
                "overload_rate": self.refused / len(self.seconds),
            }
        if self.prices:
            found |= {
                "prediction_mean": float(np.mean(self.prices)),
                "prediction_std": float(np.std(self.prices)),
                "prediction_min": float(np.min(self.prices)),
                "prediction_max": float(np.max(self.prices)),
                "cache_hit_rate": self.cached / len(self.prices),
                "fallback_rate": self.fallbacks / len(self.prices),
            }
        if self.batches:
            found["batch_size"] = float(np.mean(self.batches))
        return found

    def alerts(self, thresholds: Thresholds) -> Sequence[Alert]:
        """What was beyond its threshold."""
        if len(self.seconds) < thresholds.requests:
            return []
        answered = max(1, len(self.prices))
        p99 = float(np.quantile(self.seconds, 0.99))
        looked_at = [
            ("errors", self.failed / len(self.seconds), thresholds.errors, "of the last minute's requests failed"),
            ("overload", self.refused / len(self.seconds), thresholds.errors, "of the last minute's requests found no room"),
            ("fallbacks", self.fallbacks / answered, thresholds.fallbacks, "of the rows were not answered by the whole stack"),
        ]  # fmt: skip
        found = [
            Alert(name, share, most, f"{share:.0%} {what}") for name, share, most, what in looked_at if share > most
        ]
        if p99 > thresholds.p99_seconds:
            found.append(
                Alert("latency", p99, thresholds.p99_seconds, f"one request in a hundred took over {p99:.2f} s")
            )
        return found
