"""Load test of the price service against a literal service on the same bundle: one request, one forward pass, no cache.

    python benchmarks/serving/load_test.py BUNDLE TEST_CSV [--seconds 30] [--soak 300] [--connections 64]

Needs `wrk` (Debian: apt-get install wrk). Every text is distinct (`load_test.lua`), so that nothing is answered from memory, but
in the step which asks for one text alone. Load, service and its processes share the machine.

Printed: requests per second, p50 and p99 of both, and their ratio; the same of answers from memory; then five minutes at 80%
of ours, with errors and growth of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pandas as pd
import psutil
from service_process import FREE, free_port, served

LUA = Path(__file__).with_suffix(".lua")
LITERAL = """
import sys
from pathlib import Path
import numpy as np, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from core.data.catalog import Catalog
from serving.bundle.predictor import Predictor

predictor, app = Predictor(Path(sys.argv[1])), FastAPI()

class Row(BaseModel):
    catalog_content: str

@app.post("/predict")
def predict(row: Row) -> dict[str, float]:
    columns = (np.array([value], dtype=object) for value in ("0", row.catalog_content, ""))
    return {"predicted_price": float(predictor.predict(Catalog(*columns)).prices[0])}

@app.get("/ready")
def ready() -> str:
    return "ready"

uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""


def load(port: int, bodies: Path, seconds: float, connections: int, **environment: str) -> dict[str, float]:
    """What wrk says of so many connections that ask for so long."""
    command = [
        "wrk",
        "-t",
        min(2, connections),
        "-c",
        connections,
        "-d",
        f"{seconds:.0f}s",
        "--timeout",
        "30s",
        "-s",
        LUA,
    ]
    said = subprocess.run(
        list(map(str, [*command, f"http://127.0.0.1:{port}"])), check=True, capture_output=True, text=True,
        env={**os.environ, "BODIES": str(bodies), "SALT": str(time.time_ns()), **environment},
    )  # fmt: skip
    match = re.search(r"RESULT (\{.*\})", said.stdout)
    assert match, said.stdout
    found: dict[str, float] = json.loads(match[1])
    return {**found, "rate": found["requests"] / found["seconds"]}


class Memory:
    """Sum over the service's processes of the memory that is theirs alone, each second."""

    def __init__(self, process: psutil.Process) -> None:
        self._process, self._end = process, Event()
        self.readings: list[tuple[float, float]] = []
        self._thread = Thread(target=self._run)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        start = time.monotonic()
        while not self._end.wait(1.0):
            each = [self._process, *self._process.children(recursive=True)]
            used = sum(process.memory_info().rss for process in each if process.is_running())
            self.readings.append((time.monotonic() - start, used / 2**20))

    def growth(self, seconds: float) -> float:
        """Relative, over the last `seconds`: the last tenth of them beside the first."""
        times, used = np.array(self.readings).T
        since = times[-1] - seconds
        first = used[(times >= since) & (times < since + seconds / 10)]
        return float(used[times >= times[-1] - seconds / 10].mean() / first.mean() - 1)


def shown(name: str, found: dict[str, float]) -> None:
    print(
        f"{name:<22}{found['rate']:>9.1f} requests/s  p50 {found['p50_ms']:8.1f} ms  p99 {found['p99_ms']:8.1f} ms  "
        f"({found['p99_ms'] / found['p50_ms']:.1f} x)  not 2xx {found['bad']:.0f}, broken {found['broken']:.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--soak", type=float, default=300.0)
    parser.add_argument("--connections", type=int, default=64)
    arguments, extra = parser.parse_known_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed: apt-get install wrk")
    texts = pd.read_csv(arguments.catalog, dtype=str)["catalog_content"].fillna("")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        bodies, one = scratch / "bodies.txt", scratch / "one.txt"
        bodies.write_text("".join(json.dumps({"catalog_content": f"{text} @@"}) + "\n" for text in texts))
        one.write_text(json.dumps({"catalog_content": texts[0]}) + "\n")
        port = free_port()
        literal = [sys.executable, "-c", LITERAL, arguments.bundle, port]
        with served(literal, port, scratch):
            load(port, bodies, 5, arguments.connections)
            peer = load(port, bodies, arguments.seconds, arguments.connections)
        shown("literal service", peer)
        port = free_port()
        ours = [
            sys.executable,
            "-m",
            "serving.api",
            "--bundle",
            arguments.bundle,
            "--port",
            port,
            "--log-level",
            "warning",
        ]
        with served([*ours, *FREE, *extra], port, scratch) as process:
            load(port, bodies, 5, arguments.connections)
            found = load(port, bodies, arguments.seconds, arguments.connections)
            shown("ours", found)
            print(f"ratio of requests per second: {found['rate'] / peer['rate']:.1f}")
            shown("ours, from memory", load(port, one, 10, 1, FIXED="1"))
            if arguments.soak:
                cycle = 1000 * arguments.connections / (0.8 * found["rate"])  # of a connection: an answer, and a pause
                pause = cycle - found["p50_ms"] / 2
                probe = load(port, bodies, 10, arguments.connections, PAUSE_MS=f"{pause:.1f}")
                pause += cycle - 1000 * arguments.connections / probe["rate"]
                with Memory(process) as memory:
                    soak = load(port, bodies, arguments.soak, arguments.connections, PAUSE_MS=f"{max(0.0, pause):.1f}")
                shown(f"{arguments.soak:.0f} s at {soak['rate'] / found['rate']:.0%}", soak)
                last = memory.readings[-1][1]
                print(f"memory {last:.0f} MiB; growth in the last 80% of it {memory.growth(0.8 * arguments.soak):+.2%}")


if __name__ == "__main__":
    main()
