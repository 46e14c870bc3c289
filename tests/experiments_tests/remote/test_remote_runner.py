"""Files sent to a node and delivered by it: whole or not at all, and never outside its folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from core.architectures import architecture
from core.atomic_files import write_json
from core.data.catalog_config import CatalogConfig
from core.demo import make_demo
from core.errors import UserError
from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobKind
from experiments.execution.job_worker import member_key, read_trial, run_job
from experiments.execution.ray_pool import Resources, session, staged_code
from experiments.prepare import fill_workspace
from experiments.remote.driver_actor import ArtifactReceiver, deliver
from experiments.remote.payload import ENVIRONMENT, Payload, Stream, WorkerFolder, node_folder, place_below, unpack
from experiments.remote.remote_runner import RemoteRunner, start_driver_actor
from tests.errors import refused
from tests.experiments_tests.waiting import wait_for

LEXICAL = "lexical-0123456789ab"
DELIVERY = "0f" * 16


def stream(payload: Payload, size: int = 1000) -> Stream:
    """The payload's bytes from an offset on, in pieces of `size`."""

    def pieces(offset: int) -> Iterator[bytes]:
        while data := payload.read(offset, size):
            offset += len(data)
            yield data

    return pieces


def job() -> Job:
    config = architecture("lexical").Config(model="ridge")
    return Job(JobKind.FIT, "lexical", LEXICAL, config.model_dump(mode="json"), 1, 0, 1, "cpu")


@pytest.fixture
def payload(toy_workspace: Workspace) -> Payload:
    return Payload(toy_workspace, images=False)


@pytest.fixture
def with_images(tmp_path: Path) -> Workspace:
    """A workspace of the demo catalog with its images."""
    demo = make_demo(tmp_path / "demo", rows=200, seed=0)
    workspace = Workspace(tmp_path / "runs")
    files = CatalogConfig(train=demo.train, test=demo.test, images=demo.images, folds=2)
    fill_workspace(workspace, files, 0, lambda _: None)
    return workspace


def test_a_job_runs_on_what_was_unpacked_when_nothing_of_the_drivers_folder_is_left(
    with_images: Workspace, tmp_path: Path
) -> None:
    facts, folds = with_images.facts, with_images.folds
    payload = Payload(with_images, images=True)
    node = tmp_path / "node"
    node.mkdir()
    shared = unpack(payload.manifest, stream(payload), node)
    before = {path.name: path.read_bytes() for path in (tmp_path / "demo" / "images").iterdir()}
    shutil.rmtree(tmp_path / "demo")
    with_images.folder.rename(tmp_path / "moved")

    there = Workspace(WorkerFolder(shared).folder)
    assert there.facts == replace(facts, images=str(shared / "pictures"))
    assert there.train.fingerprint and there.folds.hash == folds.hash == facts.folds
    assert there.train.images == shared / "pictures"
    sent = {path.name: path.read_bytes() for path in (shared / "pictures").iterdir()}
    assert sent and sent == {name: before[name] for name in sent}

    run_job(job(), lambda epoch, metrics: None, there.folder)
    left = {path.name: path.read_bytes() for path in there.store.fold_folder(LEXICAL, 1).iterdir()}
    receiver = ArtifactReceiver(tmp_path / "driver")
    deliver(there, job(), receiver.receive, receiver.complete)
    arrived = tmp_path / "driver" / "members" / LEXICAL / "fold-1"
    assert {path.name: path.read_bytes() for path in arrived.iterdir()} == left and "fit.json" in left
    assert not list((tmp_path / "driver" / "ray" / "arrivals").iterdir())
    assert not list(there.folder.glob("members/*/*/*")), "what was delivered is not kept on the node"
    model = architecture("lexical").load(arrived)
    _, held_out = there.folds.split(1)
    again = model.predict(there.train.take(held_out).without_prices())
    np.testing.assert_allclose(again, Workspace(tmp_path / "driver").store.read_fit(LEXICAL, 1).valid)


def test_images_keep_their_times_of_change_and_travel_only_where_an_architecture_reads_them(
    with_images: Workspace, tmp_path: Path
) -> None:
    """The cache of decoded images knows a file by its name, size and time of change."""
    payload, without = Payload(with_images, images=True), Payload(with_images, images=False)
    assert not [item for item in without.manifest.items if item.name.startswith("pictures")]
    assert without.manifest.key != payload.manifest.key and without.manifest.facts.images is None
    shared = unpack(payload.manifest, stream(payload), tmp_path)
    for item in payload.manifest.items:
        status = (shared / item.name).stat()
        assert (status.st_size, status.st_mtime_ns) == (item.size, item.changed)
    bare = unpack(without.manifest, stream(without), tmp_path)
    assert bare != shared and Workspace(bare).train.images is None


@pytest.mark.parametrize("size", [1, 97, 10**9])
def test_the_stream_is_the_files_one_after_the_other_whatever_the_pieces(
    toy_workspace: Workspace, payload: Payload, size: int
) -> None:
    files = [toy_workspace.folder / item.name for item in payload.manifest.items]
    whole = b"".join(file.read_bytes() for file in files)
    start = len(whole) // 3 if size > 1 else len(whole) - 50
    assert b"".join(stream(payload, size)(start)) == whole[start:]
    assert payload.read(len(whole)) == b""


def test_unpacking_that_was_killed_goes_on_and_fetches_only_what_is_missing(
    toy_workspace: Workspace, payload: Payload, tmp_path: Path
) -> None:
    first = payload.manifest.items[0]

    def dies(offset: int) -> Iterator[bytes]:
        yield payload.read(0, first.size + 10)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        unpack(payload.manifest, dies, tmp_path)
    assert not (tmp_path / payload.manifest.key / "workspace.json").exists()
    asked: list[int] = []

    def rest(offset: int) -> Iterator[bytes]:
        asked.append(offset)
        yield payload.read(offset)

    shared = unpack(payload.manifest, rest, tmp_path)
    assert asked == [first.size]
    assert Workspace(shared).train.fingerprint == toy_workspace.train.fingerprint

    assert unpack(payload.manifest, rest, tmp_path) == shared
    assert len(asked) == 1, "it is all there"


def test_a_stream_that_ends_early_and_a_file_that_changed_are_refused(
    toy_workspace: Workspace, payload: Payload, tmp_path: Path
) -> None:
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
    payload = Payload(toy_workspace, images=False, encoders={str(encoder): encoder})
    shared = unpack(payload.manifest, stream(payload), tmp_path)
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
def test_whatever_an_image_is_called_it_stays_in_its_folder(name: str) -> None:
    folder = Path("/node/key")
    try:
        place = place_below(folder, f"pictures/{name}")
    except UserError:
        return
    assert place.parent == folder / "pictures" and place.name == name


@given(st.text(alphabet="abl./-0123456789\\\0\n~ trialsmembersfoldjon", max_size=60))
@example(f"trials/{LEXICAL}/../trial.json")
@example(f"members/{LEXICAL}/fold-1/../../x")
@example(f"members/{LEXICAL}/fold-1/.hidden")
@example(f"members/{LEXICAL}/member.json")
@example(f"trials/{LEXICAL}/trial.json\n")
@example("optuna.db")
@example("workspace.json")
@settings(deadline=None, max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_node_can_write_nothing_but_what_finished_jobs_leave(tmp_path: Path, name: str) -> None:
    receiver = ArtifactReceiver(tmp_path / "driver")
    with refused("artifact-bad-name"):
        receiver.receive(DELIVERY, name, 0, b"x")
    with refused("artifact-bad-name"):
        receiver.complete("../" * 10, {f"trials/{LEXICAL}/trial.json": 0})
    assert not (tmp_path / "driver").exists()


def test_half_a_delivery_leaves_nothing_and_the_marker_is_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = ArtifactReceiver(tmp_path)
    names = [f"members/{LEXICAL}/fold-0/{name}" for name in ("fit.json", "oof.parquet", "model.json")]
    for name in names:
        receiver.receive(DELIVERY, name, 0, b"12345")
    with refused("artifact-incomplete"):
        receiver.complete(DELIVERY, dict.fromkeys(names, 6))
    with refused("artifact-bad-offset"):
        receiver.receive(DELIVERY, names[0], 4, b"x")
    assert not (tmp_path / "members").exists()
    order: list[str] = []
    move = Path.replace

    def noted(self: Path, target: Path) -> Path:
        order.append(target.name)
        return move(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    receiver.complete(DELIVERY, dict.fromkeys(names, 5))
    assert order[-1] == "fit.json" and len(order) == 3


def test_an_artifact_that_arrives_twice_stays_as_it_came_first(tmp_path: Path) -> None:
    receiver = ArtifactReceiver(tmp_path)
    names = [f"members/{LEXICAL}/fold-0/{name}" for name in ("fit.json", "oof.parquet")]
    for delivery, data in (("a" * 32, b"first"), ("b" * 32, b"later")):
        for name in names:
            receiver.receive(delivery, name, 0, data)
    receiver.complete("a" * 32, dict.fromkeys(names, 5))
    receiver.complete("b" * 32, dict.fromkeys(names, 5))
    assert {(tmp_path / name).read_bytes() for name in names} == {b"first"}
    assert not list((tmp_path / "ray" / "arrivals").iterdir())


def test_leftovers_of_an_earlier_sweep_are_cleared(tmp_path: Path) -> None:
    ArtifactReceiver(tmp_path).receive(DELIVERY, f"trials/{LEXICAL}/trial.json", 0, b"half")
    assert not list(ArtifactReceiver(tmp_path).workspace.rglob("trial.json"))


def test_workers_of_a_node_share_caches_and_states_and_nothing_else(payload: Payload, tmp_path: Path) -> None:
    shared = unpack(payload.manifest, stream(payload), tmp_path)
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
    state = shared / "trials" / LEXICAL / "trial-0" / "state-0.json"
    assert state.exists(), "links are removed, not what they lead to"


def test_the_nodes_folder_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "mine"))
    assert node_folder() == tmp_path / "mine" and (tmp_path / "mine").stat().st_mode & 0o777 == 0o700
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "link"))
    with refused("node-folder-foreign"):
        node_folder()


def test_the_code_that_travels_is_these_packages_and_their_data() -> None:
    with staged_code() as folder:
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["core", "ensemble", "experiments", "reports", "search_spaces"]
        assert (folder / "search_spaces" / "text.yaml").exists()
        assert list((folder / "reports").glob("page/template/*.html"))
        assert not list(folder.rglob("__pycache__"))
    assert not folder.exists()


def test_a_manifest_names_its_content(toy_workspace: Workspace) -> None:
    def key() -> str:
        return Payload(Workspace(toy_workspace.folder), images=False).manifest.key

    first = key()
    assert key() == first
    facts = replace(toy_workspace.facts, catalog="another")
    write_json(toy_workspace.path("workspace.json"), vars(facts))
    assert key() != first


def test_a_remote_worker_trains_on_images_and_an_encoder_that_are_gone_on_the_driver(
    with_images: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole worker's side with the real actor; what the driver's node keeps is read before the files are moved."""
    import ray  # not before `experiments` has set it up

    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "node"))
    kind = architecture("multimodal")
    tower = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16,
        projection_dim=8,
    )  # fmt: skip
    CLIPVisionModelWithProjection(tower).save_pretrained(tmp_path / "clip")
    choice = {"text_encoder": "tiny", "vision_encoder": str(tmp_path / "clip"), "epochs": 1, "cached_views": 1}
    config = kind.Config(**choice)
    name = member_key(with_images, kind, choice, 0).id
    work = Job(JobKind.TRIAL, "multimodal", name, config.model_dump(mode="json"), 0, 0, 1, "cpu", number=0)
    payload = Payload(with_images, images=True, encoders={str(tmp_path / "clip"): tmp_path / "clip"})
    with session(Resources(1, 1.0, 0.0)):
        driver = start_driver_actor(payload, with_images.folder)
        runner = RemoteRunner(driver, {"multimodal": choice})
        first = runner(work, lambda epoch, metrics: None)
        shutil.rmtree(tmp_path / "clip")
        shutil.rmtree(tmp_path / "demo")
        with_images.path("trials", name, "trial.json").unlink()
        again = runner(work, lambda epoch, metrics: None)
        stopped = tmp_path / "node" / payload.manifest.key / "trials" / "text-0123456789ab" / "trial-0"
        stopped.mkdir(parents=True)
        over = Job(JobKind.TRIAL, "text", "text-0123456789ab", {}, 0, 0, 1, "cpu")
        runner.end(over)
        wait_for(lambda: ray.get(driver.ended.remote([over.folder])))  # `end` does not wait for the actor
        runner(work, lambda epoch, metrics: None)
        assert not stopped.exists(), "the states of what will not go on are removed"
    assert again.metrics == first.metrics
    assert read_trial(with_images, name) is not None
    node = tmp_path / "node" / payload.manifest.key
    assert list(node.glob("cache/pixels-32/*")) and not with_images.path("cache").exists()
    refit = with_images.store.folder.glob("multimodal-*/fold-0/fit.json")
    assert [marker.parent.parent.name for marker in refit]
