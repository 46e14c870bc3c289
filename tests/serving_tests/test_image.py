"""The small container image installs (`deploy/light.txt`) all that a service of light members needs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT

LIGHT = ROOT / "deploy" / "light.txt"
SERVED = """
import json, sys
from pathlib import Path

class NotThere:
    names = set(json.loads(sys.argv[2]))
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotThere())
import numpy as np
import serving.api
from serving.bundle.predictor import Predictor
from serving.engine import process_worker, service
from serving.monitoring.observer import Observer
from serving.web import app
from core.data.catalog import Catalog

texts = np.array(["Item Name: jam, Pack of 6"], dtype=object)
answer = Predictor(Path(sys.argv[1])).predict(Catalog(texts, texts, np.array([""], dtype=object)))
print(json.dumps(answer.counts))
"""


def with_what_they_need(names: set[str]) -> set[str]:
    """These distributions and all that they require here, extras apart."""
    found: set[str] = set()
    while names:
        found |= names
        needed = [Requirement(line) for name in names for line in requires(name) or ()]
        kept = {each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})}
        names = {canonicalize_name(name) for name in kept} - found
    return found


def test_a_light_service_needs_nothing_that_the_small_image_lacks(exported: Path) -> None:
    installed = with_what_they_need({canonicalize_name(name) for name in LIGHT.read_text().split()}) | {"pricestack"}
    lacking = [
        name for name, owners in packages_distributions().items() if not installed & {*map(canonicalize_name, owners)}
    ]
    assert {"torch", "ray", "mlflow", "optuna", "transformers", "matplotlib"} <= {*lacking}
    command = [sys.executable, "-c", SERVED, str(exported), json.dumps(lacking)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"stack": 1}
