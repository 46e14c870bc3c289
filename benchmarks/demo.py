"""`make demo` after installation: seconds and memory of the whole machine, and what the picture is worth.

    python benchmarks/demo.py

Memory is how far MemAvailable of /proc/meminfo fell below its value at the start, sampled every 0.2 s: all of Ray's processes
and shared memory count, once. Run it on an otherwise idle machine. Peers: the limits of 240 s and 3 GiB, the constant floor,
and the text member beside the multimodal one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

COMMANDS = (
    "experiments.sweep multimodal text lexical boosted --workspace {} --trials 2 --members 1",
    "ensemble.stack --workspace {}",
)


def available() -> int:
    """Bytes of memory that could be had now."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


class Lowest:
    """Watches the available memory from a thread while the block runs."""

    def __enter__(self) -> Lowest:
        self.start = self.least = available()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.over.wait(0.2):
            self.least = min(self.least, available())

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    @property
    def used(self) -> int:
        return self.start - self.least


def main() -> None:
    with TemporaryDirectory() as temporary:
        workspace = Path(temporary) / "demo"
        start = time.monotonic()
        with Lowest() as memory:
            for command in COMMANDS:
                begun = time.monotonic()
                subprocess.run([sys.executable, "-m", *command.format(workspace).split()], check=True)
                print(f"-- {command.split()[0]}: {time.monotonic() - begun:.0f} s", flush=True)
        seconds = time.monotonic() - start
        print(f"make demo: {seconds:.0f} s (limit 240, ratio {seconds / 240:.2f})")
        print(f"memory: {memory.used / 2**30:.2f} GiB (limit 3, ratio {memory.used / 2**30 / 3:.2f})")
        records = [json.loads(path.read_text()) for path in workspace.glob("members/*/member.json")]
        scores = {record["architecture"]: record["metrics"]["smape"] for record in records}
        stack = json.loads((workspace / "stack.json").read_text())
        print(f"floor {stack['floor']['smape']:.2f}, members {scores}, stack nested {stack['nested']['smape']:.2f}")
        print(f"the picture is worth {scores['text'] - scores['multimodal']:.2f} points of SMAPE (aim: 2)")


if __name__ == "__main__":
    main()
