"""Images of requests: checked in threads and kept on disk while worker processes read them."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from core.atomic_files import digest
from core.inputs.images.files import UnreadableImageError
from core.inputs.images.image_fetcher import ImageFetcher
from core.inputs.images.image_urls import ImageError
from serving.common.limits import Limits, decode_image

_THREADS = 2
"""Decoding takes up to half a gigabyte and a core for a second: two at a time."""
_CHECKED_SIZE = 64
"""Side in pixels to which images are decoded to see whether they can be; models read the file at sizes of their own."""


@dataclass(frozen=True)
class StoredImage:
    """name: of the file in the folder. content: a hash of its bytes."""

    name: str
    content: str


class RequestImages:
    """Images of current requests, for one event loop. `folder` is the service's own and gone with `close`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.fetcher = ImageFetcher(limits.fetching)
        self._home = tempfile.TemporaryDirectory(prefix="pricestack-pictures-")
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="pictures")

    @property
    def folder(self) -> Path:
        return Path(self._home.name)

    async def put(self, data: bytes) -> StoredImage:
        """Puts the image into the folder, until `drop`. Raises ImageError for what is none within the limits."""
        job = asyncio.get_running_loop().run_in_executor(self._threads, self._checked, data)
        try:
            return await asyncio.shield(job)
        except UnreadableImageError as error:
            raise ImageError(str(error)) from None
        except asyncio.CancelledError:  # the thread goes on, and its file must be dropped
            job.add_done_callback(self._delete_unwanted)
            raise

    def drop(self, image: StoredImage) -> None:
        """The file is no longer needed."""
        (self.folder / image.name).unlink(missing_ok=True)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._home.cleanup()

    def _checked(self, data: bytes) -> StoredImage:
        decode_image(data, _CHECKED_SIZE, self._limits)
        image = StoredImage(uuid.uuid4().hex, digest(data))
        (self.folder / image.name).write_bytes(data)
        return image

    def _delete_unwanted(self, job: asyncio.Future[StoredImage]) -> None:
        if not job.cancelled() and job.exception() is None:
            self.drop(job.result())
