"""`python -m core.labels`: the command of `core.quality.label_noise_command`, under its documented path."""

from core.console import run
from core.quality.label_noise_command import app

if __name__ == "__main__":
    run(app)
