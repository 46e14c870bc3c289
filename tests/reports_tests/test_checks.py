"""Each check on a workspace where it fires and on one where it does not: real files, the real reader, the trainer's own words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from core.architectures import architecture
from core.atomic_files import write_json
from core.errors import UserError
from core.metrics import all_metrics
from core.protocols.architecture import make_config
from core.store.workspace import Workspace
from core.training.trainer import fit
from ensemble.stack import stack_workspace
from ensemble.stack_options import StackConfig
from experiments.common.jobs import Job, error_code, error_text
from experiments.execution.job_worker import run_job
from experiments.execution.pruners import check_pruner
from experiments.search.search_config import SearchConfig
from reports.checks import diagnose, fitting, non_finite, searching, times
from reports.checks.finding import Check, Finding
from reports.figures.report_inputs import read_report_inputs
from tests.core_tests.trainer_toys import Toy, config, context, make
from tests.reports_tests import toys
from tests.reports_tests.toys import add_plausible_members

SETTINGS = {
    "learning_rate": 1e-3, "batch_size": 16, "epochs": 10, "dropout": 0.2, "weight_decay": 0.01, "gradient_norm": 1.0,
    "max_length": 64, "loss": "huber", "precision": "auto", "text_encoder": "tiny", "freeze_text": False,
    "loader_workers": None,
}  # fmt: skip


def epochs(smapes: Sequence[float], losses: Sequence[float] | None = None, **more: float) -> list[dict[str, float]]:
    """As a training reports them, 10 s each."""
    falling = losses or [1.0 - 0.05 * number for number in range(len(smapes))]
    times = {"skipped_steps": 0, "seconds": 10.0, "waiting_seconds": 0.5, "judging_seconds": 1.0}
    return [
        {**all_metrics([10.0], [11.0]), **times, **more, "epoch": number, "smape": smape, "loss": loss}
        for number, (smape, loss) in enumerate(zip(smapes, falling, strict=True), start=1)
    ]


def finish(workspace: Workspace, name: str, done: list[dict[str, float]], seconds: float = 120.0, **more: Any) -> None:
    """A finished trial as `experiments.execution.job_worker` records it."""
    settings = {**SETTINGS, **more.pop("settings", {})}
    best = min(range(len(done)), key=lambda place: done[place]["smape"])
    record = {
        "architecture": name.partition("-")[0], "settings": settings, "seed": 0, "metrics": done[best], "best_epoch": best + 1,
        "seconds": seconds, "cut": False, "steady": done[best]["smape"], "standard_error": 0.5, "memory": None,
        "device": "cpu", "rows": 80, "epochs": done, **more,
    }  # fmt: skip
    write_json(workspace.path("trials", name, "trial.json"), record)


def trial(number: int, state: str = "complete", **more: Any) -> dict[str, Any]:
    """A trial of a minute as `experiments.tracking.history` writes it."""
    known = toys.trial(number, 40.0, state=state, config=f"text-{number:012x}", curve=[], seconds=60.0)
    return {**known, "params": {"learning_rate": 1e-3, "loss": "huber"}, **more}


def write_study(workspace: Workspace, trials: Sequence[dict[str, Any]]) -> None:
    """Writes `history.json` with one study."""
    toys.write_history(workspace, toys.study("text", *trials))


def the(check: Check, workspace: Workspace) -> Finding:
    """The one finding of a check."""
    (finding,) = check(read_report_inputs(Workspace(workspace.folder)))
    assert bool(finding.advice) == bool(finding.command) == (finding.state in ("problem", "look"))
    json.dumps(finding.figures, allow_nan=False)
    if finding.command:
        understood(finding.command)
    return finding


def understood(command: str) -> None:
    """Fails for a command line that the command would refuse: an unknown flag, setting or value."""
    python, flag, module, *arguments = shlex.split(command)
    assert (python, flag) == ("python", "-m")
    main = f"{module}.__main__" if find_spec(module).submodule_search_locations else module
    given = get_command(import_module(main).app).make_context(module, arguments).params
    if module == "experiments.sweep":
        search = SearchConfig(architectures=given["architectures"] or "all", settings=tuple(given["settings"] or ()))
        for name, settings in search.fixed_settings(search.kinds()).items():
            make_config(architecture(name).Config, settings)
        check_pruner(given["pruner"])


def raised(does: Callable[[], object]) -> dict[str, Any]:
    """What a study keeps of the error."""
    with pytest.raises(UserError) as failure:
        does()
    return {"error": error_text(failure.value), "error_code": error_code(failure.value)}


def test_every_check_has_nothing_to_say_against_an_empty_workspace(toy_workspace: Workspace) -> None:
    found = diagnose(read_report_inputs(toy_workspace))
    assert {finding.state for finding in found} == {"ok", "skipped"}
    assert all(finding.saw.startswith("Nothing to look at: ") for finding in found if finding.state == "skipped")


def test_what_a_real_training_leaves_is_understood(toy_workspace: Workspace) -> None:
    """Without a study's history, as after a driver that was killed: the trial's own record is enough."""
    small = {
        "text_encoder": "tiny",
        "epochs": 4,
        "learning_rate": 2e-3,
        "batch_size": 16,
        "max_length": 16,
        "fields": "none",
    }
    settings = make_config(architecture("text").Config, small).model_dump(mode="json")
    job = Job("trial", "text", "text-000000000001", settings, 0, 0, 1, "cpu", number=0, epochs=4, longest=4)
    outcome = run_job(job, lambda epoch, metrics: None, toy_workspace.folder)
    steps = the(non_finite.left_out_steps, toy_workspace)
    assert (steps.state, steps.figures["steps"], steps.figures["worst_share"]) == ("ok", 0, 0.0)
    assert [the(check, toy_workspace).figures["of"] for check in (fitting.overfitting, fitting.underfitting)] == [1, 1]
    spent = the(times.slow_training, toy_workspace).figures
    assert spent["seconds"] == pytest.approx(outcome.seconds)
    assert spent["steps"] > 0 and spent["judging"] > 0
    assert sum(spent[part] for part in ("steps", "waiting", "judging", "beside")) == pytest.approx(1.0)


@pytest.mark.parametrize(("skipped", "state"), [(0, "ok"), (1, "look"), (3, "problem")])
def test_steps_left_out_are_counted_up_over_the_epochs(toy_workspace: Workspace, skipped: int, state: str) -> None:
    """30 epochs of 80 rows in batches of 16 are 150 steps: the bound of 1% lies between one of them and three."""
    done = epochs([40.0 - number for number in range(30)])
    for each in done[-3:]:
        each["skipped_steps"] = skipped
    finish(toy_workspace, "text-1", done)
    finish(toy_workspace, "text-2", epochs([40.0, 39.0]), settings={"learning_rate": 1e-4})
    finding = the(non_finite.left_out_steps, toy_workspace)
    assert (finding.state, finding.figures["steps"], finding.figures["of"]) == (state, skipped, 2)
    if skipped:
        assert "all with learning_rate=0.001, loss=huber, precision=auto" in finding.saw
        for setting in ("learning_rate=0.0005", "gradient_norm=0.5", "precision=fp32", "text_encoder=tiny"):
            assert f"--set text.{setting}" in finding.command


def test_no_steps_are_known_of_light_trials(toy_workspace: Workspace) -> None:
    finish(toy_workspace, "lexical-1", [{"epoch": 1, **all_metrics([10.0], [11.0])}])
    assert the(non_finite.left_out_steps, toy_workspace).state == "skipped"


@pytest.mark.parametrize("coded", [True, False], ids=["code", "sentence of f17e332"])
def test_trials_that_failed_for_numbers_are_known_by_their_code(
    toy_workspace: Workspace, tmp_path: Path, coded: bool
) -> None:
    everything = tuple(range(64))
    bad_steps = raised(lambda: fit(make(), Toy(bad=everything), Toy(), config(), context(tmp_path)))
    unseen = Toy()
    unseen.x[5] = np.nan
    bad_prices = raised(lambda: fit(make(), Toy(), unseen, config(), context(tmp_path / "second")))
    hot = {"params": {"learning_rate": 3e-3, "loss": "smape_huber"}, "smape": None}
    before = {"error": "this config has failed before in this sweep", "error_code": "trial-failed-before"}
    kept = [error if coded else {"error": error["error"]} for error in (bad_steps, bad_prices, before)]
    failed = [trial(place, "failed", **error, **hot) for place, error in enumerate(kept[:2])]
    write_study(toy_workspace, [*failed, trial(2), trial(3, "failed", **kept[2])])
    finding = the(non_finite.failed_trials, toy_workspace)
    assert (finding.state, finding.figures["failed"], finding.figures["of"]) == ("problem", 2, 3)
    assert finding.figures["shared"] == {"learning_rate": 3e-3, "loss": "smape_huber"} and "row5" in finding.saw
    assert "--set text.learning_rate=0.0015" in finding.command
    assert the(searching.failures, toy_workspace).state == "ok", "these have a check of their own"


def test_a_code_decides_and_not_the_words_beside_it(toy_workspace: Workspace) -> None:
    words = "row 3: a loss or gradient that is not a number"
    write_study(toy_workspace, [trial(0), trial(1, "failed", error=words, error_code="another")])
    assert the(non_finite.failed_trials, toy_workspace).state == "ok"
    write_study(toy_workspace, [trial(0), trial(1, "failed", error="reworded", error_code="training-not-finite")])
    assert the(non_finite.failed_trials, toy_workspace).state == "problem"


def test_trials_that_failed_for_other_reasons_are_not_called_so(toy_workspace: Workspace) -> None:
    write_study(toy_workspace, [trial(0), trial(1, "failed", error="MemoryError: too large")])
    assert the(non_finite.failed_trials, toy_workspace).state == "ok"


RISING = [50.0, 40.0, 41.0, 42.0, 43.0, 44.0, 45.0, 45.0]
LATE = [50.0, 48.0, 46.0, 44.0, 42.0, 40.0, 41.0, 42.0]
SETTLING = [50.0, 45.0, 42.0, 40.5, 40.1, 40.0, 40.1, 40.05]


@pytest.mark.parametrize(("curve", "state"), [(RISING, "problem"), (LATE, "look"), (SETTLING, "ok")])
def test_curves_that_rise_while_the_loss_falls_are_overfitted(
    toy_workspace: Workspace, curve: list[float], state: str
) -> None:
    for name, smapes in (("text-1", curve), ("text-2", curve), ("text-3", SETTLING)):
        finish(toy_workspace, name, epochs(smapes))
    finding = the(fitting.overfitting, toy_workspace)
    assert finding.state == state
    assert f"{0 if state == 'ok' else 2} of 3 trainings end at least 2% above" in finding.saw
    if state != "ok":
        assert "--set text.dropout=0.4" in finding.command and "--set text.weight_decay=0.03" in finding.command


def test_a_training_that_got_worse_in_its_loss_too_is_not_overfitted(toy_workspace: Workspace) -> None:
    finish(toy_workspace, "text-1", epochs(RISING, losses=[1.0, 0.5, *[2.0] * 6]))
    assert the(fitting.overfitting, toy_workspace).state == "ok"


def test_mixup_of_images_is_suggested_against_overfitting(toy_workspace: Workspace) -> None:
    finish(toy_workspace, "multimodal-1", epochs(RISING), settings={"vision_encoder": "tiny-vision"})
    command = the(fitting.overfitting, toy_workspace).command
    assert "multimodal.use_mixup=true" in command and "multimodal.vision_encoder=tiny-vision" in command


@pytest.mark.parametrize(("last", "state"), [(38.0, "look"), (39.99, "ok"), (41.0, "ok")])
def test_curves_that_still_fall_at_their_end_are_underfitted(toy_workspace: Workspace, last: float, state: str) -> None:
    finish(toy_workspace, "text-1", epochs([50.0, 45.0, 42.0, 40.0, last]), settings={"epochs": 5})
    finding = the(fitting.underfitting, toy_workspace)
    assert finding.state == state
    assert ("--set text.epochs=10" in finding.command) == (state == "look")


def test_short_curves_have_no_shape(toy_workspace: Workspace) -> None:
    finish(toy_workspace, "text-1", epochs([50.0, 45.0, 60.0]))
    assert the(fitting.overfitting, toy_workspace).state == the(fitting.underfitting, toy_workspace).state == "skipped"


@pytest.mark.parametrize(("optimism", "state"), [(0.3, "ok"), (1.5, "look"), (4.0, "problem")])
def test_a_stack_that_is_better_where_it_was_fitted(toy_workspace: Workspace, optimism: float, state: str) -> None:
    add_plausible_members(toy_workspace, 2)
    stack_workspace(toy_workspace, StackConfig(methods=("mean",)))
    path = toy_workspace.path("stack.json")
    record = json.loads(path.read_text())
    record["nested"]["standard_error"], record["optimism"] = 1.0, optimism
    path.write_text(json.dumps(record))
    finding = the(fitting.stack_optimism, toy_workspace)
    assert (finding.state, finding.figures["standard_errors"]) == (state, optimism)


def slow(workspace: Workspace, seconds: float = 120.0, settings: dict[str, Any] | None = None, **parts: Any) -> Finding:
    """The finding on a training of ten epochs of ten seconds."""
    device = parts.pop("device", "cuda")
    finish(workspace, "text-1", epochs([40.0] * 10, **parts), seconds, settings=settings or {}, device=device)
    return the(times.slow_training, workspace)


def test_steps_are_where_the_time_should_go(toy_workspace: Workspace) -> None:
    finding = slow(toy_workspace)
    assert finding.state == "ok"
    assert finding.saw == (
        "1 training took 2.0 min, 120.0 s each: 79% training steps, 4% waiting for data, 8% evaluation, 8% the rest."
    )


@pytest.mark.parametrize(("waiting", "state"), [(3.0, "look"), (8.0, "problem")])
def test_waiting_for_data_asks_for_more_workers(toy_workspace: Workspace, waiting: float, state: str) -> None:
    finding = slow(toy_workspace, waiting_seconds=waiting)
    assert finding.state == state and "--set text.loader_workers=8" in finding.command


def test_quick_trainings_are_not_slow_whatever_they_wait_for(toy_workspace: Workspace) -> None:
    finish(toy_workspace, "text-1", epochs([40.0], seconds=5.0, waiting_seconds=4.0), 6.0)
    assert the(times.slow_training, toy_workspace).state == "ok"


def test_time_beside_the_epochs_asks_for_the_cache(toy_workspace: Workspace) -> None:
    finding = slow(toy_workspace, seconds=300.0)
    assert finding.state == "look" and finding.command == f"python -m core.cache --workspace {toy_workspace.folder}"


def test_judging_too_long_asks_for_fewer_epochs(toy_workspace: Workspace) -> None:
    assert "--set text.epochs=5" in slow(toy_workspace, seconds=180.0, judging_seconds=7.0).command


def test_a_whole_encoder_on_a_processor_is_to_be_frozen(toy_workspace: Workspace) -> None:
    finding = slow(toy_workspace, settings={"text_encoder": "modernbert"}, device="cpu")
    assert finding.state == "look" and "--set text.freeze_text=true" in finding.command
    assert "--set text.text_encoder=modernbert" in finding.command
    assert slow(toy_workspace, settings={"text_encoder": "tiny"}, device="cpu").state == "ok"


def test_texts_that_fill_the_length_ask_for_a_shorter_one(toy_workspace: Workspace) -> None:
    assert "--set text.max_length=8" in slow(toy_workspace, settings={"max_length": 16}).command


def test_classical_trainings_have_no_stages(toy_workspace: Workspace) -> None:
    finish(toy_workspace, "lexical-1", [{"epoch": 1, **all_metrics([10.0], [11.0])}], 400.0)
    finding = the(times.slow_training, toy_workspace)
    assert (finding.state, finding.about) == ("ok", "lexical") and "its parts are not timed" in finding.saw


@pytest.mark.parametrize(("stack", "state"), [(30.0, "ok"), (500.0, "look")])
def test_the_stages_of_a_run_add_up(toy_workspace: Workspace, stack: float, state: str) -> None:
    write_study(toy_workspace, [trial(0), trial(1, "pruned", seconds=30.0)])
    add_plausible_members(toy_workspace, 2)
    write_json(toy_workspace.path("timings.json"), {"seconds": {"reading": 1.0, "total": stack}, "members": {}})
    finding = the(times.stages, toy_workspace)
    assert finding.figures == {"search": 90.0, "cross-validation": 25.0, "stack": stack}
    assert finding.state == state


@pytest.mark.parametrize(("failed", "state"), [(1.0, "ok"), (20.0, "look"), (100.0, "problem")])
def test_time_lost_to_failures(toy_workspace: Workspace, failed: float, state: str) -> None:
    again = trial(3, seconds=None, answered_from=0)
    write_study(
        toy_workspace, [trial(0), trial(1, "pruned"), trial(2, "failed", seconds=failed, error="broken"), again]
    )
    finding = the(times.lost_time, toy_workspace)
    assert (finding.state, finding.figures["repeats"]) == (state, 1)
    assert finding.figures["failed"] == pytest.approx(failed / (120.0 + failed))


def test_failures_are_grouped_with_what_they_share_and_their_hint(toy_workspace: Workspace) -> None:
    long = {"params": {"max_length": 1024}, "smape": None}
    cause = error_text(UserError("memory does not hold row 17", hint="lower max_length"))
    failed = [trial(place, "failed", error=cause.replace("17", str(place)), **long) for place in range(2)]
    write_study(toy_workspace, [*failed, *(trial(place, params={"max_length": 512}) for place in range(2, 9))])
    finding = the(searching.failures, toy_workspace)
    assert (finding.state, finding.advice, finding.about) == ("look", "lower max_length", "text")
    assert finding.saw == (
        "2 of 9 trials failed, all with max_length=1024, which no finished trial has: memory does not hold row 0."
    )
    write_study(toy_workspace, [*failed, trial(2)])
    assert the(searching.failures, toy_workspace).state == "problem"


@pytest.mark.parametrize(("stopped", "state"), [(3, "ok"), (9, "look")])
def test_too_many_stopped_trials(toy_workspace: Workspace, stopped: int, state: str) -> None:
    write_study(toy_workspace, [trial(0), *(trial(place, "pruned") for place in range(1, stopped + 1))])
    finding = the(searching.stopped_trials, toy_workspace)
    assert finding.state == state and ("--pruner median" in finding.command) == (state == "look")


@pytest.mark.parametrize(("done", "state"), [(3, "look"), (8, "ok")])
def test_too_few_trials(larger_workspace: Workspace, done: int, state: str) -> None:
    write_study(larger_workspace, [trial(place, config="text-1" if place == 0 else None) for place in range(done)])
    finish(larger_workspace, "text-1", epochs([40.0]))
    finding = the(searching.few_trials, larger_workspace)
    assert ("--set text.text_encoder=tiny" in finding.command) == (state == "look")
    assert finding.state == state and finding.command.endswith("--trials 8" if state == "look" else "")


def test_with_few_rows_nothing_is_searched(toy_workspace: Workspace) -> None:
    write_study(toy_workspace, [trial(0)])
    assert the(searching.few_trials, toy_workspace).state == "skipped"


def test_commands_survive_a_shell(larger_workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "my runs; $(touch owned)"
    larger_workspace.folder.rename(folder)
    write_study(Workspace(folder), [trial(0)])
    command = the(searching.few_trials, Workspace(folder)).command
    assert shlex.split(command)[3:6] == ["text", "--workspace", str(folder)]
