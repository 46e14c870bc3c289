"""Batch prediction of a file of any size, in parts, resumable.

<out>.parts        the rows that are finished, with everything that is known of them
<out>.parts.json   of which input and bundle they are

Both are gone once the output is there, which is made of them by one rename.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from core.atomic_files import atomic_path, locked, read_json, write_json
from core.data.catalog import ID, PRICE, Catalog
from core.data.column_mapping import TableColumns
from core.data.reading import read_in_parts
from core.errors import UserError, some
from core.inputs.images.files import list_images
from ensemble.pipeline.submission import check_place
from serving.bundle.bundle import BundleFacts
from serving.bundle.predictor import LEVELS, Predictor
from serving.engine.batch_job import BatchJob

OnProgress = Callable[[int, int], None]
OnNote = Callable[[str], None]

_NOTES = 10
_COLUMNS = [ID, PRICE, "low", "high", "level"]


@dataclass
class BatchResult:
    """bundle: its name and version. rows: all of the file. resumed: those that were priced by an earlier run.

    levels: how many rows were answered how.
    """

    bundle: str
    rows: int = 0
    resumed: int = 0
    levels: Counter[str] = field(default_factory=Counter)


@dataclass
class FileSummary:
    """Counts and notes of the first pass over the whole file. images: rows that name one; found: of these, in the folder."""

    rows: int = 0
    images: int = 0
    found: int = 0
    notes: list[str] = field(default_factory=list)


def price_file(job: BatchJob, on_progress: OnProgress, on_note: OnNote) -> BatchResult:
    """Prices a file. on_progress: called with (rows priced, all rows). on_note: called with warnings before anything is priced.

    Raises UserError for a bundle or a file that is not as it must be, before anything is priced, and while another run
    writes the same output.
    """
    check_place(job.out)
    _check_source(job.source)
    predictor = Predictor(job.bundle, job.device)
    columns = predictor.facts.table_columns
    summary = _scan(job, columns)
    result = BatchResult(f"{predictor.bundle.name} {predictor.bundle.version}", summary.rows)
    for text in (*summary.notes, *image_notes(predictor.facts, job.images, summary)):
        on_note(text)
    with locked(job.parts, wait=False) as alone:
        if not alone:
            raise UserError(
                f"another run is writing {job.out}",
                code="predict-out-locked",
                hint="wait for it, or name another file with --out",
            )
        _resume(job, result, on_note)
        on_progress(result.resumed, result.rows)
        _price(job, predictor, result, on_progress)
        _finish(job, columns, result)
    return result


def _price(job: BatchJob, predictor: Predictor, result: BatchResult, on_progress: OnProgress) -> None:
    """Appends the rows that are missing to the finished ones."""
    finished = result.resumed
    with job.parts.open("a", encoding="utf-8", newline="") as stream:
        for part in _remaining(job, predictor.facts.table_columns, result.resumed):
            answer = predictor.predict(part, rows=job.rows)
            numbers = (map(repr, column.tolist()) for column in (answer.prices, answer.low, answer.high))
            levels = (LEVELS[level] for level in answer.levels)
            _writer(stream).writerows(zip(part.ids, *numbers, levels, strict=True))
            stream.flush()
            finished += len(part)
            on_progress(finished, result.rows)


def _check_source(source: Path) -> None:
    """Raises UserError for what gives its bytes only once: the file is read through to check it, to price it and to compare."""
    if source.exists() and not source.is_file() and not source.is_dir():
        raise UserError(
            f"--in {source} is a pipe or a device, which can be read only once; the rows are read several times",
            code="predict-pipe",
            hint="write them to a file first, and name that with --in",
        )


def _scan(job: BatchJob, columns: TableColumns) -> FileSummary:
    """Counts the rows and checks them all, so that no hours are spent on a file that is refused at its end."""
    summary, notes = FileSummary(), dict[str, None]()
    for part, found in read_in_parts(job.source, job.rows, images=job.images, sheet=job.sheet, columns=columns):
        summary.rows += len(part)
        notes.update(dict.fromkeys(found))
        if job.images is not None:
            there = list_images(job.images, frozenset(part.image_paths))
            summary.images += int((part.image_paths != "").sum())
            summary.found += sum(name in there for name in part.image_paths)
    more = [f"... and {len(notes) - _NOTES} more notes"] if len(notes) > _NOTES else []
    summary.notes = [*list(notes)[:_NOTES], *more]
    return summary


def image_notes(facts: BundleFacts, images: Path | None, summary: FileSummary) -> list[str]:
    """Warnings where members read images that are not there."""
    readers = facts.image_readers
    if not readers or summary.found == summary.images > 0:
        return []
    if images is None:
        return [f"no pictures are read, for want of --images: {some(readers)} would look at them"]
    there = (
        f"{summary.found:,} of {summary.images:,} pictures found in {images}"
        if summary.images
        else "no row names a picture"
    )
    return [f"{there}; {some(readers)} would look at them"]


def _resume(job: BatchJob, result: BatchResult, on_note: OnNote) -> None:
    """Keeps the finished rows of an earlier run with the same input and bundle; else begins anew."""
    images = None if job.images is None else str(job.images.resolve())
    state = {"bundle": result.bundle, "input": _sha256(job.source), "rows": result.rows, "images": images}
    if job.sheet is not None:
        state["sheet"] = job.sheet
    if job.parts.exists() and job.state.exists() and _previous_state(job, on_note) == state:
        result.resumed = _whole_rows(job.parts)
        return
    job.parts.write_bytes(b"")
    write_json(job.state, state)


def _previous_state(job: BatchJob, on_note: OnNote) -> Any:
    """State file of an earlier run; None where it cannot be read."""
    try:
        return read_json(job.state)
    except ValueError:
        on_note(f"{job.state} is damaged: the rows that an earlier run has priced are priced again")
        return None


def _whole_rows(path: Path) -> int:
    """Number of rows in the file, after a half-written last one was cut off."""
    rows = quotes = end = 0
    with path.open("rb+") as stream:
        for line in stream:
            quotes += line.count(b'"')
            if line.endswith(b"\n") and quotes % 2 == 0:  # an id may contain a line break, in quotes
                rows, end = rows + 1, stream.tell()
        stream.truncate(end)
    return rows


def _remaining(job: BatchJob, columns: TableColumns, skipped: int) -> Iterator[Catalog]:
    """The parts of the file behind the first `skipped` rows."""
    before = 0
    for part, _ in read_in_parts(job.source, job.rows, images=job.images, sheet=job.sheet, columns=columns):
        first = max(0, skipped - before)
        before += len(part)
        if first < len(part):
            yield part.take(np.arange(first, len(part)))


def _finish(job: BatchJob, columns: TableColumns, result: BatchResult) -> None:
    """Makes the output of the finished rows, if they are those of the input: the same ids in the same order, with prices."""
    width = len(_COLUMNS) if job.details else 2
    with (
        atomic_path(job.out) as temporary,
        job.parts.open(encoding="utf-8", newline="") as stream,
        temporary.open("w", encoding="utf-8", newline="") as out,
    ):
        lines, writer = csv.reader(stream), _writer(out)
        writer.writerow(_COLUMNS[:width])
        for part, _ in read_in_parts(job.source, job.rows, images=job.images, sheet=job.sheet, columns=columns):
            for name in part.ids:
                line = next(lines, [])
                if len(line) != len(_COLUMNS) or line[0] != name or not 0 < float(line[1]) < inf:
                    raise _changed(job)
                writer.writerow(line[:width])
                result.levels[line[-1]] += 1
        if next(lines, None) is not None:
            raise _changed(job)
    job.state.unlink()
    job.parts.unlink()


def _changed(job: BatchJob) -> UserError:
    job.state.unlink()
    return UserError(
        f"{job.parts} does not have the rows of {job.source}: one of the two was changed meanwhile",
        code="predict-parts-changed",
        hint="run the command again; it begins anew",
    )


def _writer(stream: TextIO) -> Any:
    return csv.writer(stream, lineterminator="\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
