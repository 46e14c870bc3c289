"""What tests with other processes share: ports that are free, and waiting for what must come."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
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
