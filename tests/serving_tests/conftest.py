"""A workspace with two light members, trained, stacked and exported once for all tests of a process."""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from core.architectures import architecture
from core.atomic_files import read_json, write_json
from core.data.catalog import LINK, PRICE
from core.data.folds import make_folds
from core.data.reading import read_catalogs
from core.store.workspace import Workspace, WorkspaceFacts, catalog_fingerprint
from ensemble.pipeline.nested_cv import no_progress
from ensemble.stack import stack_workspace
from ensemble.stack_options import StackConfig
from experiments.common.jobs import Job
from experiments.execution.job_worker import run_job
from experiments.planning.cross_validation import MemberBuilder
from experiments.search.trial_selection import Finished
from serving.bundle.builder import export
from serving.bundle.bundle import FACTS, MANIFEST, Bundle, _content
from serving.common.limits import Limits
from serving.engine.engine import EngineConfig
from serving.engine.service import Service
from serving.middleware.key_store import KeyRing
from serving.monitoring.alerts import Alerts, Thresholds
from serving.monitoring.observer import Observer
from serving.web.app import make_app
from tests.conftest import toy_frame
from tests.core_tests.image_toys import noise
from tests.serving_tests.engines import Script

SETTINGS: dict[str, dict[str, Any]] = {"lexical": {"model": "ridge"}, "boosted": {"max_rounds": 40, "bags": 1}}


def swept(folder: Path, settings: dict[str, dict[str, object]], folds: int = 2, image_count: int = 0) -> Workspace:
    """A workspace of 150 rows with a member of each architecture, trained by the sweep's own code.

    image_count: images that there are; every third row has none, the others share them.
    """
    train, test = folder / "train.csv", folder / "test.csv"
    images = folder / "pictures" if image_count else None
    for number in range(image_count):
        (folder / "pictures").mkdir(exist_ok=True)
        noise(40, 30, number).save(folder / "pictures" / f"{number}.png")
    for path, frame in ((train, toy_frame(150, 0)), (test, toy_frame(40, 1, first=100_000).drop(columns=PRICE))):
        if image_count:
            frame[LINK] = [f"https://x/{row % image_count}.png" if row % 3 else "" for row in range(len(frame))]
        frame.to_csv(path, index=False)
    read = read_catalogs(train, test, images)
    made, _ = make_folds(read.train, read.test, k=folds, seed=0, fold_groups="off")
    workspace = Workspace(folder / "runs")
    catalog = catalog_fingerprint(read.train, read.test)
    paths = (str(train), str(test), None if images is None else str(images))
    facts = WorkspaceFacts(*paths, catalog, made.hash, folds, "off", made.mode, {})
    workspace.create(read.train, read.test, made, facts)
    members = MemberBuilder(workspace, 0, {})
    for name, given in settings.items():
        plan = members.plan(architecture(name), given, Finished(0, {}, "", 30.0, 1, 30.0, 1.0))
        for fold in range(folds):
            job = Job("fit", name, plan.name, plan.settings, fold, 0, 1, "cpu")
            run_job(job, lambda epoch, metrics: None, workspace.folder)
        members.assemble(plan.name)
    return workspace


@pytest.fixture(scope="session")
def _stacked(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = swept(tmp_path_factory.mktemp("served"), SETTINGS)
    stack_workspace(workspace, StackConfig(methods=("geometric",)))
    return workspace


@pytest.fixture(scope="session")
def _exported(_stacked: Workspace) -> Bundle:
    return export(_stacked, _stacked.path("bundles"), "toy", "saved", no_progress)[0]


@pytest.fixture
def stacked(_stacked: Workspace, tmp_path: Path) -> Workspace:
    """A copy to do with as one likes."""
    shutil.copytree(_stacked.folder, tmp_path / "runs")
    return Workspace(tmp_path / "runs")


@pytest.fixture
def exported(_exported: Bundle, tmp_path: Path) -> Path:
    """The folder of a copy of the bundle."""
    return Path(shutil.copytree(_exported.folder, tmp_path / "moved" / _exported.folder.name))


def reads_images(bundle: Path) -> tuple[str, ...]:
    """Marks the bundle's members as readers of images; returns their ids."""
    facts, manifest = read_json(bundle / FACTS), read_json(bundle / MANIFEST)
    for member in facts["members"]:
        member["pictures"] = True
    write_json(bundle / FACTS, facts)
    written = (bundle / FACTS).read_bytes()
    manifest["files"][FACTS] = {"size": len(written), "sha256": hashlib.sha256(written).hexdigest()}
    content = _content(manifest["name"], manifest["files"])
    write_json(bundle / MANIFEST, {**manifest, "version": f"1-{content}"})
    return tuple(member["id"] for member in facts["members"])


def client_of(bundle: Path, *, limits: Limits | None = None, ring: KeyRing | None = None, **more: Any) -> TestClient:
    """Asks the whole application from this machine. more: of `Service`."""
    bounds = limits or Limits()
    observer = Observer(Alerts(), Thresholds())
    settings = more.pop("settings", EngineConfig(workers=1, batch_ms=1))
    service = Service(bundle, settings, bounds, on_batch=observer.record_batch, on_row=observer.record_row, **more)
    app = make_app(service, observer, bounds, ring)
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 5000))


class Clock:
    """Seconds that a test turns."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def png(side: int = 8) -> bytes:
    """A red image."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(stream, "PNG")
    return stream.getvalue()


def member_of(workspace: Workspace, architecture: str) -> str:
    """The id of the workspace's member of an architecture."""
    (found,) = [each for each in workspace.store.complete() if each.startswith(f"{architecture}-")]
    return found


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Loggers as they were: a command's handler writes to an output that is closed when the command ends."""
    root, access = logging.getLogger(), logging.getLogger("uvicorn.access")
    before = root.handlers[:], root.level, access.propagate, access.level
    yield
    root.handlers[:], root.level, access.propagate, access.level = before


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


@pytest.fixture
def client(exported: Path, script: Script) -> Iterator[TestClient]:
    with client_of(exported) as found:
        yield found
