"""Service process for benchmarks: started, waited for until ready, stopped in order."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

FREE = tuple(f"--limit={name}=1000000000" for name in ("requests_per_second", "burst"))
"""Flags of `serving.api` that let one caller ask as fast as it can."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(command: list[Any], port: int, scratch: Path) -> Iterator[psutil.Process]:
    """The process of a service that is ready."""
    with (scratch / "service.log").open("a") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5)
                break
            except (urllib.error.URLError, ConnectionError):
                if process.poll() is not None:
                    raise SystemExit(f"the service has ended:\n{(scratch / 'service.log').read_text()}") from None
                time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)
