"""Peak memory of the whole machine while a command runs."""

from __future__ import annotations

import threading

import psutil


class Lowest:
    """Watches from a thread how much memory is available while the block runs.

    `used`: bytes by which it fell at most below its value at the start. All processes and shared memory count, once, other
    people's too: run it on an otherwise idle machine.
    """

    def __enter__(self) -> Lowest:
        self.start = self.least = psutil.virtual_memory().available
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.over.wait(0.2):
            self.least = min(self.least, psutil.virtual_memory().available)

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    @property
    def used(self) -> int:
        return self.start - self.least
