"""What tests with other processes share: ports that are free, and waiting for what must come."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], Any], seconds: float = 60.0, process: subprocess.Popen[Any] | None = None) -> Any:
    """What `what` gives once it is true. Fails after so many seconds, and where the process that is to bring it has ended."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.05)
    return found


_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("COMMIT")
"""


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], None]]:
    """Another process locks the SQLite file until what is yielded is called, or the block ends."""
    with subprocess.Popen([sys.executable, "-c", _LOCK, str(path)], stdin=-1, stdout=-1, text=True) as locker:
        assert locker.stdin is not None and locker.stdout is not None and locker.stdout.readline() == "locked\n"
        yield locker.stdin.close
        locker.stdin.close()
        assert locker.wait() == 0
