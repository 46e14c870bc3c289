"""Files sent to a node and delivered by it: whole or not at all, and never outside its folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from core.architectures import architecture
from core.atomic_files import write_json
from core.data.catalog_config import CatalogConfig
from core.demo import make_demo
from core.errors import UserError
from core.store.workspace import Workspace
from experiments.common.jobs import Job
from experiments.execution.job_worker import member_key, read_trial, run_job
from experiments.execution.ray_pool import Resources, session
from experiments.prepare import fill_workspace
from experiments.remote.driver_actor import ArtifactReceiver, deliver
from experiments.remote.payload import ENVIRONMENT, Payload, WorkerFolder, node_folder, place_below, unpack
from experiments.remote.remote_runner import RemoteRunner, _training, start_driver_actor
from tests.errors import refused

LEXICAL = "lexical-0123456789ab"
DELIVERY = "0f" * 16


def stream(payload: Payload, size: int = 1000) -> object:
    """The payload's bytes from an offset on, in pieces of `size`."""

    def pieces(offset: int) -> Iterator[bytes]:
        while data := payload.read(offset, size):
            offset += len(data)
            yield data

    return pieces


def job(kind: str = "fit", fold: int = 1, name: str = LEXICAL) -> Job:
    config = architecture("lexical").Config(model="ridge")
    return Job(kind, "lexical", name, config.model_dump(mode="json"), fold, 0, 1, "cpu")  # type: ignore[arg-type]


@pytest.fixture
def pictured(tmp_path: Path) -> Workspace:
    """A workspace of the demo catalog with its pictures."""
    demo = make_demo(tmp_path / "demo", rows=200, seed=0)
    workspace = Workspace(tmp_path / "runs")
    files = CatalogConfig(train=demo.train, test=demo.test, images=demo.images, folds=2)
    fill_workspace(workspace, files, 0, lambda _: None)
    return workspace


def test_a_job_runs_on_what_was_unpacked_when_nothing_of_the_drivers_folder_is_left(
    pictured: Workspace, tmp_path: Path
) -> None:
    facts, folds = pictured.facts, pictured.folds
    payload = Payload(pictured, images=True)
    node = tmp_path / "node"
    node.mkdir()
    shared = unpack(payload.manifest, stream(payload), node)  # type: ignore[arg-type]
    before = {path.name: path.read_bytes() for path in (tmp_path / "demo" / "images").iterdir()}
    shutil.rmtree(tmp_path / "demo")
    pictured.folder.rename(tmp_path / "moved")

    there = Workspace(WorkerFolder(shared).folder)
    assert there.facts == replace(facts, images=str(shared / "pictures"))
    assert there.train.fingerprint and there.folds.hash == folds.hash == facts.folds
    assert there.train.images == shared / "pictures"
    sent = {path.name: path.read_bytes() for path in (shared / "pictures").iterdir()}
    assert sent and sent == {name: before[name] for name in sent}

    run_job(job(), lambda epoch, metrics: None, there.folder)
    left = {path.name: path.read_bytes() for path in there.store.fold_folder(LEXICAL, 1).iterdir()}
    arrivals = ArtifactReceiver(tmp_path / "driver")
    deliver(there, job(), arrivals)
    arrived = tmp_path / "driver" / "members" / LEXICAL / "fold-1"
    assert {path.name: path.read_bytes() for path in arrived.iterdir()} == left and "fit.json" in left
    assert not list((tmp_path / "driver" / "ray" / "arrivals").iterdir())
    assert not list(there.folder.glob("members/*/*/*")), "what was delivered is not kept on the node"
    model = architecture("lexical").load(arrived)
    _, held_out = there.folds.split(1)
    again = model.predict(there.train.take(held_out).without_prices())
    np.testing.assert_allclose(again, Workspace(tmp_path / "driver").store.read_fit(LEXICAL, 1).valid)


def test_pictures_keep_their_times_of_change_and_stay_start_driver_actor_where_nobody_looks_at_them(
    pictured: Workspace, tmp_path: Path
) -> None:
    """The cache of decoded pictures knows a file by its name, size and time of change."""
    payload, without = Payload(pictured, images=True), Payload(pictured, images=False)
    assert not [item for item in without.manifest.items if item.name.startswith("pictures")]
    assert without.manifest.key != payload.manifest.key and without.manifest.facts.images is None
    shared = unpack(payload.manifest, stream(payload), tmp_path)  # type: ignore[arg-type]
    for item in payload.manifest.items:
        status = (shared / item.name).stat()
        assert (status.st_size, status.st_mtime_ns) == (item.size, item.changed)
    bare = unpack(without.manifest, stream(without), tmp_path)  # type: ignore[arg-type]
    assert bare != shared and Workspace(bare).train.images is None


@pytest.mark.parametrize("size", [1, 97, 10**9])
def test_the_stream_is_the_files_one_after_the_other_whatever_the_pieces(toy_workspace: Workspace, size: int) -> None:
    payload = Payload(toy_workspace, images=False)
    files = [toy_workspace.folder / item.name for item in payload.manifest.items]
    whole = b"".join(file.read_bytes() for file in files)
    start = len(whole) // 3 if size > 1 else len(whole) - 50
    assert b"".join(stream(payload, size)(start)) == whole[start:]  # type: ignore[operator]
    assert payload.read(len(whole)) == b""


def test_unpacking_that_was_killed_goes_on_and_fetches_only_what_is_missing(
    toy_workspace: Workspace, tmp_path: Path
) -> None:
    payload = Payload(toy_workspace, images=False)
    first = payload.manifest.items[0]

    class Killed(Exception):
        pass

    def dies(offset: int) -> Iterator[bytes]:
        yield payload.read(0, first.size + 10)
        raise Killed

    with pytest.raises(Killed):
        unpack(payload.manifest, dies, tmp_path)
    assert not (tmp_path / payload.manifest.key / "workspace.json").exists()
    asked: list[int] = []

    def rest(offset: int) -> Iterator[bytes]:
        asked.append(offset)
        yield payload.read(offset)

    shared = unpack(payload.manifest, rest, tmp_path)
    assert asked == [first.size]
    assert Workspace(shared).train.fingerprint == toy_workspace.train.fingerprint

    def never(offset: int) -> Iterator[bytes]:
        raise AssertionError("it is all there")

    assert unpack(payload.manifest, never, tmp_path) == shared


def test_a_stream_that_ends_early_and_a_file_that_changed_are_told(toy_workspace: Workspace, tmp_path: Path) -> None:
    payload = Payload(toy_workspace, images=False)
    with refused("payload-truncated"):
        unpack(payload.manifest, lambda offset: iter([b"x"]), tmp_path)
    toy_workspace.path("catalog", "train.parquet").write_bytes(b"shorter")
    with refused("payload-file-changed"):
        payload.read(0)


def test_encoder_folders_travel_without_what_no_encoder_needs(toy_workspace: Workspace, tmp_path: Path) -> None:
    encoder = tmp_path / "minilm"
    encoder.mkdir()
    for name in ("config.json", "model.safetensors", "modeling.py", "pytorch_model.bin"):
        (encoder / name).write_text(name)
    payload = Payload(toy_workspace, images=False, encoders=[str(encoder)])
    shared = unpack(payload.manifest, stream(payload), tmp_path)  # type: ignore[arg-type]
    place = shared / payload.manifest.encoders[str(encoder)]
    assert sorted(path.name for path in place.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    "name",
    ["../x", "catalog/../../x", "/etc/passwd", "pictures/..", "pictures/", "pictures/a/b", "catalog", "cache/x",
     "pictures/a\0", "encoders/0"],
)  # fmt: skip
def test_nothing_is_unpacked_outside(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        place_below(tmp_path, name)
    assert caught.value.code in ("payload-bad-path", "payload-bad-name")


@given(st.text(max_size=40))
@settings(deadline=None, max_examples=300)
def test_whatever_a_picture_is_called_it_stays_in_its_folder(name: str) -> None:
    folder = Path("/node/key")
    try:
        place = place_below(folder, f"pictures/{name}")
    except UserError:
        return
    assert place.parent == folder / "pictures" and place.name == name


@given(st.text(alphabet="abl./-0123456789\\\0\n~ trialsmembersfoldjon", max_size=60))
@settings(deadline=None, max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_node_can_write_nothing_but_what_finished_jobs_leave(tmp_path: Path, name: str) -> None:
    arrivals = ArtifactReceiver(tmp_path / "driver")
    with refused("artifact-bad-name"):
        arrivals.receive(DELIVERY, name, 0, b"x")
    assert not (tmp_path / "driver").exists()


@pytest.mark.parametrize(
    "name",
    [
        f"trials/{LEXICAL}/../trial.json", f"members/{LEXICAL}/fold-1/../../x", f"members/{LEXICAL}/fold-1/.hidden",
        f"members/{LEXICAL}/member.json", f"trials/{LEXICAL}/trial.json\n", "optuna.db", "workspace.json",
    ],
)  # fmt: skip
def test_names_near_the_allowed_ones_are_refused(name: str, tmp_path: Path) -> None:
    with refused("artifact-bad-name"):
        ArtifactReceiver(tmp_path).receive(DELIVERY, name, 0, b"x")
    with refused("artifact-bad-name"):
        ArtifactReceiver(tmp_path).complete("../" * 10, {f"trials/{LEXICAL}/trial.json": 0})


def test_half_a_delivery_leaves_nothing_and_the_marker_is_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = ArtifactReceiver(tmp_path)
    names = [f"members/{LEXICAL}/fold-0/{name}" for name in ("fit.json", "oof.parquet", "model.json")]
    for name in names:
        arrivals.receive(DELIVERY, name, 0, b"12345")
    with refused("artifact-incomplete"):
        arrivals.complete(DELIVERY, dict.fromkeys(names, 6))
    with refused("artifact-bad-offset"):
        arrivals.receive(DELIVERY, names[0], 4, b"x")
    assert not (tmp_path / "members").exists()
    order: list[str] = []
    move = Path.replace

    def noted(self: Path, target: Path) -> Path:
        order.append(target.name)
        return move(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    arrivals.complete(DELIVERY, dict.fromkeys(names, 5))
    assert order[-1] == "fit.json" and len(order) == 3


def test_what_comes_home_twice_stays_as_it_came_first(tmp_path: Path) -> None:
    arrivals = ArtifactReceiver(tmp_path)
    names = [f"members/{LEXICAL}/fold-0/{name}" for name in ("fit.json", "oof.parquet")]
    for delivery, data in (("a" * 32, b"first"), ("b" * 32, b"later")):
        for name in names:
            arrivals.receive(delivery, name, 0, data)
    arrivals.complete("a" * 32, dict.fromkeys(names, 5))
    arrivals.complete("b" * 32, dict.fromkeys(names, 5))
    assert {(tmp_path / name).read_bytes() for name in names} == {b"first"}
    assert not list((tmp_path / "ray" / "arrivals").iterdir())


def test_leftovers_of_an_earlier_sweep_are_cleared(tmp_path: Path) -> None:
    ArtifactReceiver(tmp_path).receive(DELIVERY, f"trials/{LEXICAL}/trial.json", 0, b"half")
    assert not list(ArtifactReceiver(tmp_path).workspace.rglob("trial.json"))


def test_workers_of_a_node_share_caches_and_states_and_nothing_else(toy_workspace: Workspace, tmp_path: Path) -> None:
    payload = Payload(toy_workspace, images=False)
    shared = unpack(payload.manifest, stream(payload), tmp_path)  # type: ignore[arg-type]
    one, other = WorkerFolder(shared), WorkerFolder(shared)
    write_json(one.folder / "trials" / LEXICAL / "trial-0" / "state-0.json", {})
    assert (other.folder / "trials" / LEXICAL / "trial-0" / "state-0.json").exists()
    Workspace(one.folder).store.fold_folder(LEXICAL, 0).mkdir(parents=True)
    assert not (other.folder / "members").exists()
    one.clear()
    assert not (one.folder / "members").exists()
    one._life.close()  # as the kernel does when the process dies
    third = WorkerFolder(shared)
    assert not one.folder.exists() and other.folder.exists() and third.folder.exists()
    assert (shared / "trials" / LEXICAL / "trial-0" / "state-0.json").exists(), (
        "links are removed, not what they lead to"
    )


def test_the_nodes_folder_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "mine"))
    assert node_folder() == tmp_path / "mine" and (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "link"))
    with refused("node-folder-foreign"):
        node_folder()


def test_a_manifest_names_its_content(toy_workspace: Workspace) -> None:
    def key() -> str:
        return Payload(Workspace(toy_workspace.folder), images=False).manifest.key

    first = key()
    assert key() == first
    facts = replace(toy_workspace.facts, catalog="another")
    write_json(toy_workspace.path("workspace.json"), vars(facts))
    assert key() != first


def test_a_worker_far_away_trains_on_pictures_and_an_encoder_that_are_gone_on_the_driver(
    pictured: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole worker's side with the real actor; what the driver's node keeps is read before the files are moved."""
    import ray  # not before the house has set it up

    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "node"))
    kind = architecture("multimodal")
    tower = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16,
        projection_dim=8,
    )  # fmt: skip
    CLIPVisionModelWithProjection(tower).save_pretrained(tmp_path / "clip")
    choice = {"text_encoder": "tiny", "vision_encoder": str(tmp_path / "clip"), "epochs": 1, "cached_views": 1}
    config = kind.Config(**choice)
    name = member_key(pictured, kind, choice, 0).id
    work = Job("trial", "multimodal", name, config.model_dump(mode="json"), 0, 0, 1, "cpu", number=0)
    payload = Payload(pictured, images=True, encoders=[str(tmp_path / "clip")])
    with session(Resources(1, 1.0, 0.0)):
        driver = start_driver_actor(payload, pictured.folder)
        away = RemoteRunner(driver, {"multimodal": choice})
        first = away(work, lambda epoch, metrics: None)
        shutil.rmtree(tmp_path / "clip")
        shutil.rmtree(tmp_path / "demo")
        pictured.path("trials", name, "trial.json").unlink()
        again = away(work, lambda epoch, metrics: None)
        stopped = tmp_path / "node" / payload.manifest.key / "trials" / "text-0123456789ab" / "trial-0"
        stopped.mkdir(parents=True)
        over = Job("trial", "text", "text-0123456789ab", {}, 0, 0, 1, "cpu")
        away.end(over)
        while not ray.get(driver.ended.remote([_training(over)])):  # nobody waits for that call
            time.sleep(0.05)
        away(work, lambda epoch, metrics: None)
        assert not stopped.exists(), "the states of what will not go on are removed"
    assert again.metrics == first.metrics
    assert read_trial(pictured, name) is not None
    node = tmp_path / "node" / payload.manifest.key
    assert list(node.glob("cache/pixels-32/*")) and not pictured.path("cache").exists()
    refit = pictured.store.folder.glob("multimodal-*/fold-0/fit.json")
    assert [marker.parent.parent.name for marker in refit]
