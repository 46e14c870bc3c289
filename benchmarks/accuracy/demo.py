"""Benchmark of `make demo`: seconds, peak memory of the machine, and the gain of the image column.

    python benchmarks/accuracy/demo.py

Memory is that of the whole machine (`whole_machine.py`): all of Ray's processes and shared memory count, once. Peers: the
limits of 240 s and 3 GiB, the constant floor, and the text member beside the multimodal one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from whole_machine import Lowest

COMMANDS = (
    "experiments.sweep multimodal text lexical boosted --workspace {} --trials 2 --members 1",
    "ensemble.stack --workspace {}",
)


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
