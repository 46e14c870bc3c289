"""Backend of a GPU that computes nothing, for PyTorch's build for processors: without one its backward pass ends the process.

Free of torch, for `load` must come before torch is imported: PyTorch looks for its backends once.
"""

from __future__ import annotations

import ctypes
import subprocess
from importlib.util import find_spec
from pathlib import Path
from shutil import which

SOURCE = Path(__file__).with_suffix(".cpp")
COMPILER = which("g++")


def _torch() -> Path:
    found = find_spec("torch")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def build(folder: Path) -> Path:
    """Compiles the backend, in about two seconds, with the headers that PyTorch brings."""
    library, torch = folder / "fake_gpu.so", _torch()
    command = [
        str(COMPILER),
        "-std=c++20",
        "-shared",
        "-fPIC",
        f"-I{torch / 'include'}",
        str(SOURCE),
        "-o",
        str(library),
    ]
    done = subprocess.run(
        [*command, f"-L{torch / 'lib'}", "-lc10", "-ltorch_cpu"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return library


def load(library: Path) -> None:
    """Registers the backend in this process."""
    import core as core  # before torch: it limits spinning

    ctypes.CDLL(str(_torch() / "lib" / "libtorch_cpu.so"), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
