from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from core.atomic_files import locked
from core.store.workspace import Workspace
from serving.bundle.bundle import open_bundle
from serving.bundle.predictor import Predictor
from serving.engine import batch
from serving.engine.batch import BatchResult, FileSummary, image_notes, price_file
from serving.engine.batch_job import BatchJob
from tests.core_tests.data.xlsx import write_xlsx
from tests.errors import refused


@pytest.fixture
def job(exported: Path, stacked: Workspace, tmp_path: Path) -> BatchJob:
    frame = pd.DataFrame({"sample_id": stacked.test.ids, "catalog_content": stacked.test.texts, "image_link": ""})
    frame.to_csv(tmp_path / "new.csv", index=False)
    return BatchJob(bundle=exported, source=tmp_path / "new.csv", out=tmp_path / "out" / "prices.csv", rows=8)


class Stop(Exception):
    """The end of a process."""


def price(job: BatchJob, stop_at: int = 10**9, notes: list[str] | None = None) -> tuple[BatchResult, list[int]]:
    """The result, and the rows priced at each report."""
    reported: list[int] = []
    noted = [] if notes is None else notes

    def report(done: int, total: int) -> None:
        reported.append(done)
        if done >= stop_at:
            raise Stop

    return price_file(job, report, noted.append), reported


def test_prices_are_the_submitted_ones_and_nothing_else_is_left(job: BatchJob, stacked: Workspace) -> None:
    done, reported = price(job)
    found = pd.read_csv(job.out, dtype={"sample_id": str})
    submitted = pd.read_csv(stacked.path("submission.csv"), dtype={"sample_id": str})
    assert list(found.columns) == ["sample_id", "price"] and found["sample_id"].tolist() == stacked.test.ids.tolist()
    assert found["price"].to_numpy() == pytest.approx(submitted["price"].to_numpy(), rel=1e-4)
    assert (done.rows, done.resumed, done.levels) == (40, 0, {"stack": 40}) and reported == [0, 8, 16, 24, 32, 40]
    assert [path.name for path in job.out.parent.iterdir()] == ["prices.csv"]


@pytest.mark.parametrize("kind", ["semicolons in UTF-16", "parquet", "json lines", "excel"])
def test_any_format_gives_the_same_prices(job: BatchJob, kind: str) -> None:
    price(job)
    expected = job.out.read_bytes()
    frame, other = pd.read_csv(job.source, dtype=str, keep_default_na=False), job.source.with_name("other")
    if kind == "parquet":
        frame.to_parquet(other)
    elif kind == "json lines":
        frame.to_json(other, orient="records", lines=True)
    elif kind == "excel":
        other.write_bytes(write_xlsx([["nothing"]], [list(frame), *frame.to_numpy().tolist()]))
    else:
        frame.to_csv(other, sep=";", encoding="utf-16", index=False)
    price(job.model_copy(update={"source": other, "sheet": "Sheet2" if kind == "excel" else None}))
    assert job.out.read_bytes() == expected


def test_a_stopped_run_goes_on_and_gives_the_same_bytes(job: BatchJob, monkeypatch: pytest.MonkeyPatch) -> None:
    price(job)
    whole = job.out.read_bytes()
    job.out.unlink()
    with pytest.raises(Stop):
        price(job, stop_at=16)
    assert not job.out.exists()
    with job.parts.open("a") as stream:
        stream.write('100016,"12.')  # as a killed process leaves it
    asked: list[int] = []
    predict = Predictor.predict
    monkeypatch.setattr(
        Predictor, "predict", lambda self, part, **how: asked.append(len(part)) or predict(self, part, **how)
    )
    done, _ = price(job)
    assert (done.resumed, sum(asked), done.levels) == (16, 24, {"stack": 40})
    assert job.out.read_bytes() == whole


def test_two_runs_do_not_write_one_output(job: BatchJob) -> None:
    job.out.parent.mkdir()
    with locked(job.parts), refused("predict-out-locked"):
        price(job)
    assert price(job)[0].rows == 40


def rewrite(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(path, dtype=str)).to_csv(path, index=False)


def test_another_input_begins_anew(job: BatchJob) -> None:
    with pytest.raises(Stop):
        price(job, stop_at=16)
    rewrite(job.source, lambda frame: frame.replace({"catalog_content": {frame["catalog_content"][3]: "tea"}}))
    done, _ = price(job)
    assert done.resumed == 0
    assert len(pd.read_csv(job.out)) == 40


def test_details_are_the_interval_and_the_level(job: BatchJob) -> None:
    price(job.model_copy(update={"details": True}))
    found = pd.read_csv(job.out)
    assert list(found.columns) == ["sample_id", "price", "low", "high", "level"]
    assert ((found["low"] <= found["price"]) & (found["price"] <= found["high"])).all()
    assert set(found["level"]) == {"stack"}


def test_a_file_that_is_refused_at_its_end_is_refused_before_anything_is_priced(job: BatchJob) -> None:
    text = job.source.read_text()
    first = text.splitlines()[1].split(",")[0]
    job.source.write_text(text + f"{first},again,\n")
    with refused("catalog-bad-rows"):
        price(job)
    assert list(job.out.parent.iterdir()) == []


def test_missing_images_have_notes(job: BatchJob) -> None:
    facts, folder = open_bundle(job.bundle).facts, job.source.parent
    some, reader = FileSummary(rows=3, images=3, found=1), "multimodal-1 would look at them"
    assert image_notes(facts, None, some) == []
    seeing = replace(facts, members=(replace(facts.members[0], id="multimodal-1", pictures=True), facts.members[1]))
    assert image_notes(seeing, None, some) == [f"no pictures are read, for want of --images: {reader}"]
    assert image_notes(seeing, folder, some) == [f"1 of 3 pictures found in {folder}; {reader}"]
    assert image_notes(seeing, folder, replace(some, found=3)) == []
    assert image_notes(seeing, folder, FileSummary(rows=3)) == [f"no row names a picture; {reader}"]


@pytest.mark.parametrize(("there", "found"), [((), 0), (("1.png", "x.png"), 1), (("1.png", "2.png"), 2)])
def test_images_are_counted_before_anything_is_priced(
    job: BatchJob, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], found: int
) -> None:
    links = ["", "https://x/1.png", "https://x/2.png", *[""] * 37]
    rewrite(job.source, lambda frame: frame.assign(image_link=links))
    images = job.source.parent / "pictures"
    images.mkdir()
    for name in there:
        (images / name).write_bytes(b"")
    looks: list[FileSummary] = []
    noted = batch.image_notes
    monkeypatch.setattr(
        batch, "image_notes", lambda facts, images, look: looks.append(look) or noted(facts, images, look)
    )
    price(job.model_copy(update={"images": images}))
    assert [(look.rows, look.images, look.found) for look in looks] == [(40, 2, found)]


def test_notes_come_before_the_first_price(job: BatchJob) -> None:
    rewrite(job.source, lambda frame: frame.assign(price="1"))
    notes: list[str] = []
    with pytest.raises(Stop):
        price(job, stop_at=0, notes=notes)
    assert notes == [f"{job.source}: column price is not used"]


def test_a_pipe_is_refused(job: BatchJob) -> None:
    """It would have nothing left to read when the rows are priced; the test waits for no writer."""
    pipe = job.source.parent / "pipe"
    os.mkfifo(pipe)
    with refused("predict-pipe"):
        price(job.model_copy(update={"source": pipe}))


def test_a_broken_record_of_an_earlier_run_begins_anew(job: BatchJob) -> None:
    with pytest.raises(Stop):
        price(job, stop_at=16)
    job.state.write_text("{")
    notes: list[str] = []
    done, _ = price(job, notes=notes)
    assert done.resumed == 0 and len(pd.read_csv(job.out)) == 40
    assert notes == [f"{job.state} is damaged: the rows that an earlier run has priced are priced again"]


def test_names_with_commas_and_quotes_and_gzip(job: BatchJob, tmp_path: Path) -> None:
    ids = ['a,"b"', "ü\n2", " 3 "]
    frame = pd.DataFrame({"sample_id": ids, "catalog_content": ["", "tea", "Acme tea, Pack of 3"]})
    with gzip.open(tmp_path / "odd.csv.gz", "wt", encoding="utf-8", newline="") as stream:
        frame.to_csv(stream, index=False)
    odd = BatchJob(bundle=job.bundle, source=tmp_path / "odd.csv.gz", out=job.out, rows=1)
    with pytest.raises(Stop):
        price(odd, stop_at=2)
    done, _ = price(odd)
    assert done.resumed == 2
    assert pd.read_csv(job.out, dtype={"sample_id": str})["sample_id"].tolist() == ids
