"""The service without its web: memory, sharing, images, fallback, swapping."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from core.atomic_files import read_json, write_json
from core.inputs.images.image_urls import ImageError
from serving.bundle.bundle import open_bundle
from serving.bundle.device_choice import DeviceChoice
from serving.common.limits import Limits
from serving.engine import service as service_module
from serving.engine.engine import EngineConfig, Overloaded
from serving.engine.process_worker import RowAnswer, WorkerBatch
from serving.engine.service import CacheConfig, PricedRow, Service, SwapError
from tests.serving_tests.conftest import png
from tests.serving_tests.engines import Script, answers, losing, while_started

SETTINGS = EngineConfig(workers=1, batch_ms=0)


def run(bundle: Path, work: Callable[[Service], Awaitable[Any]], **more: Any) -> Any:
    settings = more.pop("settings", SETTINGS)
    return while_started(lambda: Service(bundle, settings, Limits(), **more), work)


def renumbered(bundle: Path, number: int) -> Path:
    """A copy of the bundle beside it, as a later export would be called."""
    manifest = read_json(bundle / "manifest.json")
    content = manifest["version"].partition("-")[2]
    copy = bundle.parent / f"{manifest['name']}-{number}-{content}"
    shutil.copytree(bundle, copy)
    write_json(copy / "manifest.json", {**manifest, "version": f"{number}-{content}"})
    return copy


def test_the_same_content_is_computed_once(exported: Path, script: Script) -> None:
    seen: list[tuple[str, bool, bool]] = []

    async def work(service: Service) -> list[PricedRow]:
        together = await asyncio.gather(*(service.price("7") for _ in range(5)))
        return [*together, await service.price("7"), await service.price("8")]

    found = run(exported, work, on_row=lambda text, image, priced: seen.append((text, image, priced.cached)))
    assert [each.answer.price for each in found] == [7.0] * 6 + [8.0]
    assert [each.cached for each in found] == [False] * 5 + [True, False]
    assert script.batches == [["7"], ["8"]]
    assert seen == [("7", False, False)] * 5 + [("7", False, True), ("8", False, False)]


@pytest.mark.parametrize(
    ("device", "given", "shape"),
    [
        (DeviceChoice.CUDA, {}, (2, 256, 2048)),
        (DeviceChoice.CUDA, {"workers": 1, "batch_rows": 8}, (1, 8, 2048)),
        (DeviceChoice.CPU, {"workers": 3}, (3, 64, 512)),
    ],
)
def test_the_engine_follows_the_device(
    device: DeviceChoice,
    given: dict[str, int],
    shape: tuple[int, ...],
    exported: Path,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[DeviceChoice] = []
    monkeypatch.setattr(service_module, "choose_device", lambda wanted, members: asked.append(wanted) or device)

    async def work(service: Service) -> EngineConfig:
        return service.served.engine.config

    config = run(exported, work, settings=EngineConfig(**given))
    assert asked == [DeviceChoice.AUTO] and config.device == device
    assert (config.workers, config.batch_rows, config.queue_rows) == shape
    assert script.devices == [device] * config.workers


@pytest.mark.parametrize(
    ("cache", "cached"),
    [
        (CacheConfig(remembered=1), [False, False, True, False]),
        (CacheConfig(remembered=2), [False, False, True, True]),
        (CacheConfig(remembered=0), [False] * 4),
        (CacheConfig(remembered_seconds=0), [False] * 4),
    ],
    ids=["the last", "the last two", "none", "for no time"],
)
def test_answers_are_remembered_within_bounds(
    exported: Path, script: Script, cache: CacheConfig, cached: list[bool]
) -> None:
    async def work(service: Service) -> list[bool]:
        return [(await service.price(text)).cached for text in ("7", "8", "8", "7")]

    assert run(exported, work, cache=cache) == cached


def test_what_is_not_by_the_whole_stack_is_not_remembered(exported: Path, script: Script) -> None:
    script.reply = lambda batch: [RowAnswer(3.0, 2.0, 4.0, ("one",), "light") for _ in batch.texts]

    async def work(service: Service) -> list[PricedRow]:
        return [await service.price("7"), await service.price("7")]

    found = run(exported, work)
    assert [(each.cached, each.fallback, each.answer.level) for each in found] == [(False, True, "light")] * 2
    assert script.batches == [["7"], ["7"]]


def test_at_the_very_last_the_median_is_answered(exported: Path, script: Script) -> None:
    script.reply = losing("7")
    priced: PricedRow = run(exported, lambda service: service.price("7"))
    facts = open_bundle(exported).facts
    assert (priced.answer.price, priced.answer.low, priced.answer.high) == (facts.middle, facts.low, facts.high)
    assert (priced.answer.level, priced.answer.members, priced.fallback) == ("median", (), True)


def test_images_are_part_of_the_content_and_gone_afterwards(exported: Path, script: Script) -> None:
    there: list[bool] = []

    def reply(batch: WorkerBatch) -> list[RowAnswer]:
        there.extend((Path(str(batch.folder)) / name).read_bytes() == png() for name in batch.images if name)
        return answers(batch)

    script.reply = reply

    async def work(service: Service) -> list[Path]:
        for image in (None, png(), png(), png(9)):
            assert (await service.price("7", image)).answer.price == 7.0
        return list(service.images.folder.iterdir())

    assert run(exported, work) == []
    assert there == [True, False]
    assert len(script.batches) == 3


@pytest.mark.parametrize("data", [b"", b"no picture", png()[:30]])
def test_bytes_that_are_no_image_raise(exported: Path, script: Script, data: bytes) -> None:
    with pytest.raises(ImageError):
        run(exported, lambda service: service.price("7", data))


def test_a_full_queue_takes_no_more_and_keeps_no_image(exported: Path, script: Script) -> None:
    script.gate.clear()

    async def work(service: Service) -> list[Path]:
        held = [asyncio.create_task(service.price("1"))]
        await script.busy()  # with the first; two more may wait
        held += [asyncio.create_task(service.price(text)) for text in ("2", "3")]
        await until(lambda: service.served.engine.waiting == 2)
        with pytest.raises(Overloaded):
            await service.price("9", png())
        left = list(service.images.folder.iterdir())
        script.gate.set()
        await asyncio.gather(*held)
        return left

    assert run(exported, work, settings=EngineConfig(workers=1, batch_rows=1, batch_ms=0, queue_rows=2)) == []


def test_a_newer_bundle_is_swapped_in_and_back_again(exported: Path, script: Script) -> None:
    renumbered(exported, 7)

    async def work(service: Service) -> list[str]:
        versions = [(await service.price("1")).version]
        script.gate.clear()
        waiting = asyncio.create_task(service.price("2"))
        await asyncio.sleep(0.05)
        swapped = await service.swap()
        script.gate.set()
        versions += [(await waiting).version, (await service.price("1")).version]
        await service.swap(exported.name)
        versions.append((await service.price("1")).version)
        assert swapped.version.startswith("7-")
        return versions

    content = exported.name.rpartition("-")[2]
    assert run(exported, work) == [f"1-{content}", f"1-{content}", f"7-{content}", f"1-{content}"]
    assert script.batches == [["1"], ["2"], ["1"], ["1"]]  # another bundle remembers nothing of the first
    assert script.stopped == 3


@pytest.mark.parametrize("name", ["../elsewhere", "no-such-1-0123456789ab", "", "/etc"])
def test_only_bundles_beside_it_are_swapped_in(exported: Path, script: Script, name: str) -> None:
    with pytest.raises(SwapError, match="no such bundle"):
        run(exported, lambda service: service.swap(name))


def test_a_damaged_bundle_is_not_swapped_in(exported: Path, script: Script) -> None:
    newer = renumbered(exported, 2)
    (newer / "bundle.json").write_text("{}")

    async def work(service: Service) -> float:
        with pytest.raises(SwapError, match="the log says why"):
            await service.swap()
        return (await service.price("5")).answer.price

    assert run(exported, work) == 5.0


def test_a_watched_folder_brings_newer_bundles(exported: Path, script: Script) -> None:
    async def work(service: Service) -> list[str]:
        swapped: list[str] = []
        following = asyncio.create_task(service.follow(lambda bundle: swapped.append(bundle.version), 0.02))
        await asyncio.sleep(0.05)
        renumbered(exported, 3)
        await until(lambda: swapped)
        await service.swap(exported.name)  # the operator goes back, and that stays
        await asyncio.sleep(0.1)
        following.cancel()
        return [*swapped, service.served.bundle.version]

    content = exported.name.rpartition("-")[2]
    assert run(exported, work) == [f"3-{content}", f"1-{content}"]


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.01)


def test_a_bundle_that_arrives_slowly_is_served_once_it_is_there(
    exported: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = shutil.move(renumbered(exported, 2), tmp_path / "elsewhere")
    coming = exported.parent / f"toy-2-{exported.name.rpartition('-')[2]}"

    def refusals() -> int:
        return sum("a newer bundle is not served" in each.getMessage() for each in caplog.records)

    async def work(service: Service) -> str:
        looks: list[Path] = []
        newest = service.newest
        monkeypatch.setattr(service, "newest", lambda: looks.append(newest()) or looks[-1])
        following = asyncio.create_task(service.follow(lambda bundle: None, 0.01))
        await until(lambda: len(looks) > 0)
        coming.mkdir()
        shutil.copy(whole / "manifest.json", coming)
        await until(lambda: refusals() > 0)
        seen = len(looks)
        await until(lambda: len(looks) > seen + 10)  # it stands still, and is not logged again
        assert refusals() == 1
        shutil.copytree(whole, coming, dirs_exist_ok=True)
        await until(lambda: service.served.bundle.version.startswith("2-"))
        following.cancel()
        return service.served.bundle.folder.name

    assert run(exported, work) == coming.name


def test_a_disk_that_is_away_for_a_while_does_not_end_the_watch(
    exported: Path, script: Script, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(service: Service) -> str:
        newest, away = service.newest, [OSError(5, "Input/output error")] * 3

        def looked() -> Path:
            if away:
                raise away.pop()
            return newest()

        monkeypatch.setattr(service, "newest", looked)
        following = asyncio.create_task(service.follow(lambda bundle: None, 0.01))
        await until(lambda: following.done() or not away)
        renumbered(exported, 2)
        await until(lambda: following.done() or service.served.bundle.version.startswith("2-"))
        following.cancel()
        return service.served.bundle.version

    assert run(exported, work).startswith("2-")
    assert sum("cannot be looked at" in each.getMessage() for each in caplog.records) == 1


def test_a_link_that_moves_leads_back_to_what_was_served(exported: Path, script: Script) -> None:
    newer, link = renumbered(exported, 2), exported.parent / "current"
    link.symlink_to(exported)

    async def work(service: Service) -> list[str]:
        link.unlink()
        link.symlink_to(newer)
        names = [service.served.bundle.folder.name, (await service.swap()).folder.name]
        return [*names, (await service.swap(exported.name)).folder.name]

    assert run(link, work) == [exported.name, newer.name, exported.name]
