"""`python -m core.backbones`: the command of `core.encoders`, under its documented path."""

from core.console import run
from core.encoders.__main__ import app

if __name__ == "__main__":
    run(app)
