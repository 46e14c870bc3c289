"""Picture download: fetches the pictures of a catalog's links into the folder that a sweep reads, and reports what is missing."""

from __future__ import annotations

import asyncio
import csv
import errno
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlsplit

import tenacity

from core.atomic_files import atomic_path, locked
from core.data.catalog import Catalog, image_path, listed_links
from core.errors import UserError
from core.inputs.images.files import Progress, UnreadableImageError, match_images, shrink, spelling
from core.inputs.images.image_fetcher import FetchLimits, ImageFetcher
from core.inputs.images.image_urls import ImageUrlError

REPORT = "fetch-report.csv"
LIMITS = FetchLimits(image_hosts=("*",), fetch_seconds=30.0, redirects=5, picture_bytes=32 * 2**20)
PER_HOST = 6
"""Connections to one host at most: as many as a browser opens."""

_ATTEMPTS = 4
_LONGEST_PAUSE = 120.0
_FAILURES = 40
"""Failures to reach a host in a row after which its other links wait for the next run."""
_NAME_ERRORS = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ}


class FetchState(StrEnum):
    """Reasons why a link has no picture, as the report has them."""

    NO_LINK = "not-a-web-link"
    HOST = "host-not-public"
    UNKNOWN = "host-unknown"
    REDIRECTS = "too-many-redirects"
    TIME = "too-slow"
    STATUS = "refused-by-server"
    THROTTLED = "throttled"
    TYPE = "not-a-picture"
    SIZE = "too-large"
    NETWORK = "connection-failed"
    DAMAGED = "unreadable"
    NAME = "name-unusable"
    SKIPPED = "host-skipped"
    NOT_TRIED = "not-tried"


_STATES = {
    "off": FetchState.HOST,
    "url": FetchState.NO_LINK,
    "host": FetchState.HOST,
    "redirects": FetchState.REDIRECTS,
    "time": FetchState.TIME,
    "status": FetchState.STATUS,
    "type": FetchState.TYPE,
    "size": FetchState.SIZE,
    "network": FetchState.NETWORK,
}
_UNREACHED = {FetchState.UNKNOWN, FetchState.NETWORK, FetchState.TIME}


@dataclass(frozen=True)
class Missing:
    """A link without a picture. link: without user name, password and query."""

    link: str
    state: FetchState
    reason: str


@dataclass(frozen=True)
class Wanted:
    """A picture to fetch. target: its file, below the folder."""

    link: str
    target: str

    @property
    def host(self) -> str:
        return (urlsplit(self.link).hostname or "").lower()


@dataclass
class FetchPlan:
    """links: in the catalogs. distinct: pictures they name. there: of them in the folder. wanted: to be fetched."""

    links: int = 0
    distinct: int = 0
    there: int = 0
    wanted: list[Wanted] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)

    @property
    def hosts(self) -> Counter[str]:
        """Number of pictures to fetch from each host."""
        return Counter(each.host for each in self.wanted)


@dataclass
class _Host:
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PER_HOST))
    not_before: float = 0.0
    failures: int = 0


def plan_fetch(catalogs: Iterable[Catalog], folder: Path) -> FetchPlan:
    """All links of the catalogs, each picture once, and where it goes in the folder."""
    plan, by_key = FetchPlan(), dict[str, tuple[str, str]]()
    for catalog in catalogs:
        for cell in catalog.links:
            for link in filter(None, listed_links(cell)):
                plan.links += 1
                path = image_path(link)
                by_key.setdefault(spelling(path) if path else link, (link, path))
    plan.distinct = len(by_key)
    web = {}
    for link, path in by_key.values():
        address = _web_address(link)
        if address is None or not path:
            plan.missing.append(Missing(shown(link), FetchState.NO_LINK, "not an http or https link to a file"))
        else:
            web[path] = address
    found = match_images(folder, web.keys())[0] if folder.is_dir() else {}
    taken = set[str]()
    for path, target in _targets(web).items():
        if path in found:
            plan.there += 1
        elif spelling(target) in taken:
            reason = "another picture of the catalog has this name in other letters"
            plan.missing.append(Missing(shown(web[path]), FetchState.NAME, reason))
        else:
            plan.wanted.append(Wanted(web[path], target))
        taken.add(spelling(target))
    return plan


def _targets(paths: Iterable[str]) -> dict[str, str]:
    """The file of each path: its last part, with folders in front where that is not its alone."""
    targets, open_, depth = dict[str, str](), list(paths), 1
    while open_:
        ends = {path: "/".join(path.split("/")[-depth:]) for path in open_}
        alike = Counter(spelling(end, suffix=False) for end in ends.values())
        done = {path for path, end in ends.items() if alike[spelling(end, suffix=False)] == 1 or end == path}
        targets |= {path: _with_suffix(ends[path]) for path in open_ if path in done}
        open_, depth = [path for path in open_ if path not in done], depth + 1
    return targets


def _with_suffix(name: str) -> str:
    return f"{name}.jpg" if spelling(name) == spelling(name, suffix=False) else name


def _web_address(link: str) -> str | None:
    """The link in the letters that are sent: hosts as `xn--`, spaces and other letters percent-encoded; None for no web link."""
    try:
        parts = urlsplit(link.strip())
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
            return None
        netloc = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    except (ValueError, UnicodeError):
        return None
    path, query = (quote(each, safe="/%:@!$&'()*+,;=?~-._[]", errors="replace") for each in (parts.path, parts.query))
    return f"{parts.scheme}://{netloc}{path}{'?' * bool(query)}{query}"


def shown(link: str) -> str:
    """The link for people and logs: no user name, password or query, which may hold a token, and not endless."""
    head, mark, _ = link.partition("?")
    scheme, slashes, rest = head.partition("://")
    place, slash, path = rest.partition("/")
    safe = f"{scheme}{slashes}{place.rpartition('@')[2]}{slash}{path}" if slashes else head
    text = safe.partition("#")[0] + ("?..." if mark else "")
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return text if len(text) <= 200 else f"{text[:200]}..."


class CatalogFetch:
    """One run of fetching into a folder."""

    def __init__(
        self, folder: Path, size: int, fetcher: ImageFetcher, workers: int = 16, *, pause: float = 1.0
    ) -> None:
        """size: most pixels of a side. pause: seconds before the second attempt, twice as many before each one after."""
        self._folder, self._size, self._fetcher, self._workers, self._pause = folder, size, fetcher, workers, pause
        self._hosts: dict[str, _Host] = defaultdict(_Host)
        self.fetched = 0

    def run(self, plan: FetchPlan, progress: Progress | None = None) -> list[Missing]:
        """Fetches what the plan wants, and writes the report, also of a run that is interrupted.

        Raises UserError where the folder cannot be written to, or another run fetches into it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder / ".fetch.lock", wait=False) as mine:
            if not mine:
                raise UserError(
                    f"another run fetches into {self._folder}",
                    code="fetch-running",
                    hint="wait until it has ended, or name another folder with --images",
                )
            for left in self._folder.rglob(".*.tmp"):  # of a run that was killed
                left.unlink(missing_ok=True)
            missing, waiting = list(plan.missing), iter(plan.wanted)
            try:
                asyncio.run(self._all(waiting, missing, len(plan.wanted), progress))
            except ExceptionGroup as group:
                raise group.exceptions[0] from None
            finally:
                rest = (Missing(shown(each.link), FetchState.NOT_TRIED, "the run ended before") for each in waiting)
                try:
                    write_report(self._folder / REPORT, [*missing, *rest])
                except OSError as error:
                    raise _unwritable(self._folder, error) from None
        return missing

    async def _all(
        self, waiting: Iterator[Wanted], missing: list[Missing], total: int, progress: Progress | None
    ) -> None:
        done = 0

        async def work() -> None:
            nonlocal done
            for wanted in waiting:
                try:
                    failed = await self._one(wanted)
                except BaseException:
                    missing.append(Missing(shown(wanted.link), FetchState.NOT_TRIED, "the run ended before"))
                    raise
                done += 1
                if failed is None:
                    self.fetched += 1
                else:
                    missing.append(failed)
                if progress is not None:
                    progress(done, total)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._workers, total)):
                group.create_task(work())

    async def _one(self, wanted: Wanted) -> Missing | None:
        host = self._hosts[wanted.host]
        try:
            async with host.slots:
                data = await self._fetched(wanted.link, host)
            await asyncio.to_thread(self._save, wanted, data)
        except ImageUrlError as error:
            state = _state(error)
            host.failures = host.failures + 1 if state in _UNREACHED else 0
            return Missing(shown(wanted.link), state, str(error))
        except UnreadableImageError as error:
            return Missing(shown(wanted.link), FetchState.DAMAGED, str(error))
        except _SkippedHost as error:
            return Missing(shown(wanted.link), FetchState.SKIPPED, str(error))
        except OSError as error:
            if error.errno in _NAME_ERRORS:
                return Missing(shown(wanted.link), FetchState.NAME, f"cannot be saved: {error.strerror}")
            raise _unwritable(self._folder, error) from None
        host.failures = 0
        return None

    async def _fetched(self, link: str, host: _Host) -> bytes:
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_passes),
            wait=tenacity.wait_random_exponential(multiplier=self._pause, max=self._pause * 16),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            reraise=True,
        )
        async for attempt in attempts:
            with attempt:
                await self._turn(host)
                try:
                    return await self._fetcher.fetch(link)
                except ImageUrlError as error:
                    if error.retry_after is not None:
                        host.not_before = max(host.not_before, time.monotonic() + _seconds(error.retry_after))
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _turn(self, host: _Host) -> None:
        """Waits as long as the host asked for. Raises _SkippedHost for one that is down or asks for too much."""
        if host.failures >= _FAILURES:
            raise _SkippedHost(f"{_FAILURES} links of this host in a row could not be reached")
        while (pause := host.not_before - time.monotonic()) > 0:
            if pause > _LONGEST_PAUSE:
                raise _SkippedHost(f"the server asks for a pause of {pause:,.0f} s")
            await asyncio.sleep(pause)

    def _save(self, wanted: Wanted, data: bytes) -> None:
        picture = shrink(data, self._size)
        with atomic_path(self._folder / wanted.target) as temporary:
            temporary.write_bytes(picture)


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"pictures or their report cannot be saved in {folder}: {error.strerror}",
        code="fetch-unwritable",
        hint="make room or change the permissions, and run it again: it goes on where it stopped",
    )


class _SkippedHost(Exception):
    pass


def _passes(error: BaseException) -> bool:
    """True for what may be over at the next attempt."""
    if not isinstance(error, ImageUrlError):
        return False
    return error.kind == "network" or error.status in (408, 429) or (error.status or 0) >= 500


def _state(error: ImageUrlError) -> FetchState:
    if error.status == 429:
        return FetchState.THROTTLED
    return FetchState.UNKNOWN if error.unresolved else _STATES[error.kind]


def _seconds(value: str) -> float:
    """Seconds of a `Retry-After`: a number or a date; 0 for anything else."""
    if value.strip().isdecimal() and len(value) < 10:
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def write_report(path: Path, missing: Sequence[Missing]) -> None:
    """A table of the links without a picture: link, state, reason."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("link", "state", "reason"))
        writer.writerows((each.link, each.state.value, each.reason) for each in missing)
