"""`python -m core.images`: the command of `core.inputs.images`, under its documented path."""

from core.console import run
from core.inputs.images.__main__ import app

if __name__ == "__main__":
    run(app)
