"""Tables of ensembling.py's results, and a check of its targets."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ensemble_peers import METHODS

Record = dict[str, Any]
BLOCKS = ("given", "told")
SECONDS, MEMORY, WIDE_SECONDS = 90.0, 2048.0, 360.0
GREEDY_SHARE, RELATIVE = 1 / 3, 0.08
DISTURBED = 0.2
"""Cores."""


@dataclass(frozen=True)
class Configuration:
    """Of a matrix. wide: many members, which ours alone combines."""

    rows: int
    members: int
    kinds: bool
    wide: bool = False

    @property
    def held_out(self) -> int:
        return self.rows // 3

    def __str__(self) -> str:
        return f"{self.rows:,} rows x {self.members}, kinds of product {'matter' if self.kinds else 'do not matter'}"


def disturbed(record: Record) -> bool:
    """Whether other processes took so much of the machine that its seconds say little."""
    return record["others"] > DISTURBED


def by_seed(results: Sequence[Record], configuration: Configuration, block: str, method: str) -> dict[int, Record]:
    """The finished results of a method."""
    return {
        record["seed"]: record for record in _of(results, configuration, block, method) if record["outcome"] == "done"
    }


def table(results: Sequence[Record], configuration: Configuration, block: str) -> str:
    """Markdown: medians over seeds, the largest memory, and medians of the ratios to ours on the same seed."""
    rows: list[tuple[str, ...]] = [("method", "SMAPE", "seconds", "peak MiB", "SMAPE / auto", "seconds / simplex", "")]
    finished = {name: by_seed(results, configuration, block, name) for name in (*METHODS, "auto")}
    for name, records in finished.items():
        every = _of(results, configuration, block, name)
        if not every:
            continue
        bad = [record["outcome"] for record in every if record["outcome"] != "done"]
        bad += ["disturbed" for record in every if disturbed(record)]
        note = ", ".join(f"{bad.count(what)} {what}" for what in sorted(set(bad)))
        if not records:
            rows.append((name, *["–"] * 5, note))
            continue
        simplex = finished[f"simplex-{METHODS[name].space}"] if name in METHODS else {}
        rows.append((
            name, f"{_median(records, 'smape'):.3f}", f"{_median(records, 'seconds'):.2f}",
            f"{max(record['mib'] for record in records.values()):.0f}",
            _ratio(records, finished["auto"], "smape"), _ratio(records, simplex, "seconds"), note,
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def aims(results: Sequence[Record], configurations: Sequence[Configuration], absent: Collection[str]) -> Iterator[str]:
    """Lines for each configuration: its aims, met or not. absent: peers that are not installed."""
    for configuration in configurations:
        yield f"{configuration}:"
        if configuration.wide:
            yield _cost(results, configuration, "given", WIDE_SECONDS, None)
            continue
        for space in ("price", "log"):
            yield from _against_greedy(results, configuration, space)
        yield _cost(results, configuration, "told", SECONDS, MEMORY)
        yield from _against_peers(results, configuration, absent)


def _against_greedy(results: Sequence[Record], configuration: Configuration, space: str) -> Iterator[str]:
    ours, greedy = (by_seed(results, configuration, "told", f"{name}-{space}") for name in ("simplex", "greedy"))
    seeds = sorted(ours.keys() & greedy.keys())
    faster, lower = (
        f"simplex-{space}: at most 1/3 of greedy's seconds",
        f"simplex-{space}: a SMAPE no higher than greedy's",
    )
    if not seeds:
        yield from (_unmeasured(aim) for aim in (faster, lower))
        return
    share = median(ours[seed]["seconds"] / greedy[seed]["seconds"] for seed in seeds)
    yield _line(share <= GREEDY_SHARE, faster, f"{share:.2f} at the median of {len(seeds)} seed(s)")
    buffers = by_seed(results, configuration, "told", f"greedy-{space}-buffers")
    if buffers:
        known = median(ours[seed]["seconds"] / buffers[seed]["seconds"] for seed in ours.keys() & buffers.keys())
        yield f"  {'(no aim)':12}  simplex-{space}: of the seconds of greedy in buffers: {known:.2f} at the median"
    gaps = [ours[seed]["smape"] - greedy[seed]["smape"] for seed in seeds]
    told = f"{median(gaps):+.4f} at the median, no higher on {sum(gap <= 0 for gap in gaps)} of {len(seeds)} seed(s)"
    yield _line(median(gaps) <= 0, lower, f"{told}, {max(gaps):+.4f} at most")


def _cost(
    results: Sequence[Record], configuration: Configuration, block: str, limit: float, memory: float | None
) -> str:
    aim = f"auto: at most {limit:.0f} s" + (f" and {memory:.0f} MiB" if memory else "")
    every = _of(results, configuration, block, "auto")
    undone = [record["outcome"] for record in every if record["outcome"] != "done"]
    if undone:
        return _line(False, aim, f"{', '.join(undone)} in {len(every)} seed(s)")
    if not every:
        return _unmeasured(aim)
    seconds, mib = (max(record[key] for record in every) for key in ("seconds", "mib"))
    met = seconds <= limit and (memory is None or mib <= memory)
    return _line(met, aim, f"{seconds:.1f} s and {mib:.0f} MiB at most, {len(every)} seed(s)")


def _against_peers(results: Sequence[Record], configuration: Configuration, absent: Collection[str]) -> Iterator[str]:
    """With a peer that was absent, or did not finish, no aim is called met."""
    aims = ["auto: a lower SMAPE than every peer on all seeds"]
    if configuration.kinds:
        aims.append(f"auto: at least {RELATIVE:.0%} lower than the best peer at the median")
    peers = {name: by_seed(results, configuration, "told", name) for name, method in METHODS.items() if not method.ours}
    auto = {record["seed"]: record for record in _of(results, configuration, "told", "auto")}
    best = {
        seed: min((records[seed]["smape"], name) for name, records in peers.items() if seed in records)
        for seed in auto
        if any(seed in records for records in peers.values())
    }
    if not best:
        yield from (_unmeasured(aim) for aim in aims)
        return
    undone = [seed for seed, record in auto.items() if record["outcome"] != "done"]
    if undone:
        yield from (_line(False, aim, f"auto did not finish on seed(s) {undone}") for aim in aims)
        return
    lower = {seed: 1 - auto[seed]["smape"] / smape for seed, (smape, _) in best.items()}
    closest = min(lower, key=lambda seed: lower[seed])
    middle = median(lower.values())
    wanting = sorted({name for name, records in peers.items() if best.keys() - records.keys()} | set(absent))
    verdicts = [
        (
            lower[closest] > 0,
            f"lower on {sum(gap > 0 for gap in lower.values())} of {len(lower)} seed(s), "
            f"by {lower[closest]:+.2%} on the closest (seed {closest}, {best[closest][1]})",
        ),
        (middle >= RELATIVE, f"{middle:.2%} lower"),
    ]
    for aim, (met, told) in zip(aims, verdicts, strict=False):  # the second aim is one where kinds matter
        yield _line(met, aim, told, wanting)


def _line(met: bool, aim: str, told: str, wanting: Sequence[str] = ()) -> str:
    verdict = "MISSED" if not met else "not judged" if wanting else "met"
    return f"  {verdict:12}  {aim}: {told}" + (f"; without {', '.join(wanting)}" if wanting else "")


def _unmeasured(aim: str) -> str:
    return f"  {'not measured':12}  {aim}"


def _of(results: Sequence[Record], configuration: Configuration, block: str, method: str) -> list[Record]:
    wanted = {**vars(configuration), "block": block, "method": method}
    return [record for record in results if record.items() >= wanted.items()]


def _median(records: dict[int, Record], key: str) -> float:
    return median(record[key] for record in records.values())


def _ratio(records: dict[int, Record], ours: dict[int, Record], key: str) -> str:
    ratios = [record[key] / ours[seed][key] for seed, record in records.items() if seed in ours]
    return f"{median(ratios):.3f}" if ratios else "–"
