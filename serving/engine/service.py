"""Service core without HTTP: prices from cache, engine or the median, and bundle swapping."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from cachetools import TTLCache
from pydantic import Field

from core.atomic_files import digest
from core.command_config import CommandConfig
from core.data.column_mapping import TableColumns
from core.errors import UserError
from serving.bundle.bundle import MANIFEST, AnswerLevel, Bundle, BundleFacts, bundle_folders, open_bundle
from serving.bundle.device_choice import choose_device
from serving.common.limits import Limits
from serving.engine.engine import Engine, EngineConfig, OnBatch, Overloaded
from serving.engine.process_worker import RowAnswer
from serving.engine.request_images import RequestImages, StoredImage

log = logging.getLogger(__name__)

FOLLOW_SECONDS = 5.0
"""Seconds between two looks at a watched folder."""


@dataclass(frozen=True)
class PricedRow:
    """Price of a row and its origin. cached: it was computed for an earlier request. version: of the bundle.

    used_image: a member that answered reads images, and there was one.
    """

    answer: RowAnswer
    cached: bool
    version: str
    used_image: bool = False

    @property
    def fallback(self) -> bool:
        """True where anything but the whole stack has answered."""
        return self.answer.level != AnswerLevel.STACK


@dataclass(frozen=True)
class ServedBundle:
    """A bundle with the engine that computes from it."""

    bundle: Bundle
    engine: Engine

    @cached_property
    def columns(self) -> TableColumns:
        """Columns of the bundle's catalog, from which requests have fields."""
        return self.bundle.facts.table_columns


FolderState = dict[Path, tuple[int, int]]
"""Size and time of the last change of each file of a bundle's folder: both change while it is copied."""


class SwapError(Exception):
    """Reason why a bundle is not swapped in, fit for an HTTP response; the one that was served goes on."""


OnRow = Callable[[str, bool, PricedRow], None]


class CacheConfig(CommandConfig):
    """Responses that are kept, those used last."""

    remembered: Annotated[int, Field(ge=0, description="Answers kept by content.")] = 20_000
    remembered_seconds: Annotated[float, Field(ge=0, description="For so long.")] = 3600.0


class Service:
    """Used from one event loop. `start` and `stop` frame its life.

    bundle: the folder to serve first; others beside it may be swapped in. cache: of responses. on_batch: called with (rows,
    seconds) of each batch. on_row: called with (text, whether it had an image, answer) of each row that was priced.
    """

    def __init__(
        self,
        bundle: Path,
        engine: EngineConfig,
        limits: Limits,
        *,
        cache: CacheConfig | None = None,
        log_config: Mapping[str, Any] | None = None,
        on_batch: OnBatch = lambda rows, seconds: None,
        on_row: OnRow = lambda text, image, priced: None,
    ) -> None:
        # A link may be moved while its bundle is served; versions stand beside what it points to.
        self._first = bundle.resolve()
        self.home, self.limits, self.images = self._first.parent, limits, RequestImages(limits)
        self._engine, self._log_config, self._on_batch, self._on_row = engine, log_config, on_batch, on_row
        self._served: ServedBundle | None = None
        cache = cache or CacheConfig()
        self._cache: TTLCache[str, RowAnswer] = TTLCache(cache.remembered, cache.remembered_seconds)
        self._in_progress: dict[str, asyncio.Future[RowAnswer | None]] = {}
        self._swapping = asyncio.Lock()
        self._draining: set[asyncio.Task[None]] = set()

    @property
    def served(self) -> ServedBundle:
        """Bundle and engine that are served now."""
        if self._served is None:
            raise RuntimeError("the service has not started")
        return self._served

    @property
    def started(self) -> bool:
        return self._served is not None

    @property
    def ready(self) -> bool:
        return self._served is not None and self._served.engine.alive > 0

    @property
    def cached_rows(self) -> int:
        """Number of cached responses."""
        return len(self._cache)

    async def start(self) -> None:
        """Raises UserError for a bundle that cannot be served."""
        self._served = await self._load(self._first)

    async def stop(self) -> None:
        """Ends the processes; rows that still wait are dropped, as no request waits for them."""
        await asyncio.gather(*self._draining)
        if self._served is not None:
            await self._served.engine.stop(answer=False)
        self.images.close()

    async def price(self, text: str, image: bytes | None = None, *, bulk: bool = False) -> PricedRow:
        """The price of one row. Raises Overloaded, and ImageError for an image that is none.

        The same content is computed once, also while it is being computed. Answers of anybody but the whole stack are not
        remembered: the stack may be whole again the next time.
        """
        kept = None if image is None else await self.images.put(image)
        served = self.served
        key = digest(text, kept.content if kept else "")
        known = self._cache.get(key)
        if known is None and key not in self._in_progress:
            self._begin(served, key, text, kept, bulk)
        elif kept is not None:
            self.images.drop(kept)
        answer = known or await asyncio.shield(self._in_progress[key]) or _median(served.bundle.facts)
        readers = served.bundle.facts.image_readers
        used_image = image is not None and any(name in readers for name in answer.members)
        priced = PricedRow(answer, known is not None, served.bundle.version, used_image)
        self._on_row(text, image is not None, priced)
        return priced

    async def read(self, texts: list[str]) -> list[RowAnswer | None]:
        """Answers to rows that belong together, with the fields that were read; neither remembered nor counted."""
        engine = self.served.engine
        engine.check_room()
        return await asyncio.gather(*(engine.put(text, bulk=True, fields=True) for text in texts))

    async def swap(self, name: str | None = None) -> Bundle:
        """Serves another bundle from the same folder, without a request lost; the newest one if no name is given.

        The new one loads and answers a first row before the old one is left, which ends once its last row is answered.
        Raises SwapError.
        """
        if self._swapping.locked():
            raise SwapError("another bundle is being loaded")
        async with self._swapping:
            folder = self.newest() if name is None else self._beside(name)
            if folder.name == self.served.bundle.folder.name:
                return self.served.bundle
            try:
                new = await self._load(folder)
            except (UserError, OSError) as error:
                log.error("bundle %s is not served: %s", folder.name, error)
                raise SwapError(f"{folder.name} cannot be served; the log says why") from None
            old, self._served = self.served, new
            self._cache.clear()
            self._in_progress = {}
            task = asyncio.create_task(old.engine.stop())
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
            log.info("bundle %s is served instead of %s", new.bundle.folder.name, old.bundle.folder.name)
            return new.bundle

    async def follow(self, swapped: Callable[[Bundle], None], seconds: float = FOLLOW_SECONDS) -> None:
        """Swaps in what is newer and was not there before, until it is cancelled; an operator's way back is left alone.

        One that is refused may still be on its way: it is tried again whenever it has changed and then stood still for a look.
        """
        known = {path.name for path in self._bundles()}
        last: FolderState | None = None
        refused: FolderState | None = None
        last_error = ""
        while True:
            await asyncio.sleep(seconds)
            try:
                newest = self.newest()
                if newest.name in known or self._swapping.locked():
                    continue
                before, last = last, await asyncio.get_running_loop().run_in_executor(None, _folder_state, newest)
                if refused is not None and (last == refused or last != before):
                    continue
                refused = last
                swapped(await self.swap(newest.name))
                known.add(newest.name)
                refused = None
            except SwapError as error:
                log.error("a newer bundle is not served: %s; it is tried again when its files change", error)
            except OSError as error:  # a file that is gone between two looks, a disk that is away for a while
                if str(error) != last_error:
                    last_error = str(error)
                    log.error("the bundles in %s cannot be looked at, which is tried again: %s", self.home, error)

    def newest(self) -> Path:
        """The bundle of the served one's name with the highest number."""
        folders = bundle_folders(self.home, self.served.bundle.name)
        found = {number: path for number, path in folders.items() if (path / MANIFEST).is_file()}
        return found[max(found)] if found else self.served.bundle.folder

    def others(self) -> list[Path]:
        """Bundles that may be swapped in."""
        return [path for path in self._bundles() if path.name != self.served.bundle.folder.name]

    def _bundles(self) -> list[Path]:
        return [path for path in self.home.iterdir() if (path / MANIFEST).is_file()]

    def _beside(self, name: str) -> Path:
        for path in self._bundles():  # a name is looked up and never joined to a path
            if path.name == name:
                return path
        raise SwapError("there is no such bundle beside the one that is served")

    async def _load(self, folder: Path) -> ServedBundle:
        loop = asyncio.get_running_loop()
        bundle = await loop.run_in_executor(None, open_bundle, folder)
        asked, members = self._engine.device, bundle.facts.members
        device = await loop.run_in_executor(None, choose_device, asked, members)
        engine = Engine(bundle.folder, self._engine.on(device), self.images.folder, self._log_config, self._on_batch)
        await engine.start()
        return ServedBundle(bundle, engine)

    def _begin(self, served: ServedBundle, key: str, text: str, image: StoredImage | None, bulk: bool) -> None:
        """The row is being computed from now on: all who ask the same meanwhile share the answer. Raises Overloaded."""
        try:
            served.engine.check_room()
        except Overloaded:
            if image is not None:
                self.images.drop(image)
            raise
        computing = self._in_progress
        computing[key] = future = served.engine.put(text, image.name if image else "", bulk=bulk)

        def done(_: object) -> None:
            del computing[key]
            if image is not None:
                self.images.drop(image)
            answer = future.result()
            if (
                answer is not None
                and answer.level == AnswerLevel.STACK
                and self._served is served
                and self._cache.maxsize
            ):
                self._cache[key] = answer

        future.add_done_callback(done)


def _median(facts: BundleFacts) -> RowAnswer:
    """Fallback answer where nothing can be computed: the best constant price."""
    return RowAnswer(facts.middle, facts.low, facts.high, (), AnswerLevel.MEDIAN)


def _folder_state(folder: Path) -> FolderState:
    found = ((path, path.stat()) for path in folder.rglob("*"))
    return {path: (state.st_size, state.st_mtime_ns) for path, state in found}
