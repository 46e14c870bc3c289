"""MLflow run log: every trial and member as a run, written by a thread with retries.

Optuna's storage is the source and the run log follows it. Nothing here makes the driver wait or fail: events become run
records, a thread writes them and tries again while MLflow is away, and the next sweep writes from the study what is missing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from core.console import say, warn
from core.store.workspace import Workspace
from experiments.common.jobs import Job, JobOutcome, RunCallback, StopReason
from experiments.search.storage import cause, without_password
from experiments.tracking.run_record import STATUS, RunRecord, StudyRuns, curve, ending, record_of_member

if TYPE_CHECKING:  # importing it takes seconds, which the thread pays
    from experiments.tracking.mlflow_client import MlflowExperiment

FLUSH_SECONDS = 30.0
"""Time that the end of a sweep waits for the run log; what is not written then is written by the next sweep."""
UI_PORT = 5000
"""Port where `mlflow ui` is expected for the workspace's own run log: links to its runs name it."""
_LONGEST_PAUSE = 10.0

Makers = Mapping[str, Callable[[], RunRecord]]
Linked = Callable[[Job, str, str], None]


def tracking_uri(workspace: Workspace, given: str | None = None) -> str:
    """URI for `mlflow ui --backend-store-uri`: the server or database that was given, or a file in the workspace."""
    return given or f"sqlite:///{workspace.path('mlflow.db')}"


def experiment_name(workspace: Workspace) -> str:
    """One MLflow experiment per catalog."""
    return f"pricestack-{workspace.facts.catalog[:8]}"


class RunLog(RunCallback):
    """Callback that writes MLflow runs. Use as a context manager: leaving it waits for the thread, at most `patience` seconds.

    studies: by architecture. facts: tags of a member's run. linked: called in the driver's thread with a
    job, its run's id and a link to it, soon after the run was made.
    """

    def __init__(
        self,
        workspace: Workspace,
        studies: Mapping[str, StudyRuns],
        facts: Mapping[str, Any],
        linked: Linked = lambda *_: None,
        uri: str | None = None,
        patience: Callable[[], float] = lambda: FLUSH_SECONDS,
    ) -> None:
        self._workspace, self._studies, self._facts, self._linked = workspace, studies, dict(facts), linked
        self._patience = patience
        self._jobs: dict[str, Job] = {}
        self._epochs: dict[str, set[int]] = {}
        self.writer = RunLogWriter(tracking_uri(workspace, uri), workspace, own=uri is None)

    def __enter__(self) -> RunLog:
        self.writer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.writer.close(self._patience() if kind is None else min(5.0, self._patience()))
        self._hand_on_links()

    @property
    def complete(self) -> bool:
        """True if everything was written; meaningful after the end."""
        return self.writer.missing == 0

    def catch_up(
        self,
        runs: StudyRuns,
        trials: Sequence[FrozenTrial],
        make: Callable[[FrozenTrial], RunRecord],
        known: bool = False,
    ) -> None:
        """Has the thread write what the run log lacks of a study's trials. make: of an ended one. known: nothing is lacking."""
        ended = {runs.key(each.number): partial(make, each) for each in trials if each.state.name in STATUS}
        running = {runs.key(each.number) for each in trials if each.state == TrialState.RUNNING}
        self.writer.catch_up(Share("study", runs.study, ended, running, known))

    def catch_up_members(self) -> None:
        """Has the thread write the complete members of the workspace that the run log lacks."""
        store = self._workspace.store

        def make(name: str) -> RunRecord:
            return record_of_member(self._workspace, name, store.read(name).record, self._facts)

        self.writer.catch_up(Share("kind", "member", {name: partial(make, name) for name in store.complete()}))

    def started(self, job: Job) -> None:
        self._hand_on_links()
        if job.kind == "trial":  # a member is one run, written when it is complete
            runs = self._studies[job.architecture]
            run_record = runs.opening(job.number, job.name, job.settings, job.differs)
            self._jobs[run_record.key] = job
            self.writer.put(run_record)

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, float]) -> None:
        self._hand_on_links()
        if job.kind == "trial" and epoch not in (known := self._epochs.setdefault(self._key(job), set())):
            known.add(epoch)  # a training that goes on from a state reports its earlier epochs again
            self.writer.put(curve(self._key(job), epoch, metrics))

    def finished(self, job: Job, outcome: JobOutcome) -> None:
        self._end(job, "COMPLETE", outcome)

    def pruned(self, job: Job, epoch: int, smape: float, reason: StopReason | None) -> None:
        self._end(job, "PRUNED")

    def failed(self, job: Job, error: str, code: str | None = None) -> None:
        self._end(job, "FAIL", failure=(error, code))

    def member(self, name: str, record: Mapping[str, Any]) -> None:
        self._hand_on_links()
        self.writer.put(record_of_member(self._workspace, name, record, self._facts))

    def _end(
        self, job: Job, state: str, outcome: JobOutcome | None = None, failure: tuple[str, str | None] | None = None
    ) -> None:
        self._hand_on_links()
        if job.kind == "trial":
            self._epochs.pop(self._key(job), None)
            self.writer.put(ending(self._key(job), state, job.epochs, outcome, failure))

    def _key(self, job: Job) -> str:
        return self._studies[job.architecture].key(job.number)

    def _hand_on_links(self) -> None:
        """The study is the driver's alone: links to runs wait here until the driver comes by."""
        while self.writer.links:
            key, run, url = self.writer.links.popleft()
            job = self._jobs.pop(key, None)
            if job is not None:
                self._linked(job, run, url)


@dataclass(frozen=True)
class Share:
    """Part of the run log to be compared with studies or members: the runs whose `tag` is `value`.

    makers: by key, what makes the run record of each run that must be there. running: keys that may count as running; other open
    runs without a maker are ended. None: such runs are left alone. known: all makers' runs are there.
    """

    tag: str
    value: str
    makers: Makers
    running: set[str] | None = None
    known: bool = False


class RunLogWriter(threading.Thread):
    """Writes run records in the order of their keys' first appearance; those that wait for one run are written together."""

    def __init__(self, uri: str, workspace: Workspace, own: bool) -> None:
        super().__init__(name="run-log", daemon=True)
        self.uri, self._workspace, self._own = uri, workspace, own
        self.links: deque[tuple[str, str, str]] = deque()
        self._lock, self._wake, self._closing = threading.Lock(), threading.Event(), threading.Event()
        self._deadline = float("inf")
        self._records: dict[str, RunRecord] = {}
        self._in_progress = 0
        self._shares: deque[Share] = deque()
        self._experiment: MlflowExperiment | None = None
        self._runs: dict[str, str] = {}
        self._uncertain: set[str] = set()  # keys of runs whose making failed: it may have happened all the same
        self._checked: dict[tuple[str, str], set[str]] = {}
        self.problem = ""  # why nothing can be written now
        self._bug: BaseException | None = None

    @property
    def missing(self) -> int:
        """Number of runs and comparisons that wait to be written."""
        with self._lock:
            return len(self._records) + len(self._shares) + self._in_progress

    def put(self, run_record: RunRecord) -> None:
        """Returns at once."""
        with self._lock:
            earlier = self._records.get(run_record.key)
            self._records[run_record.key] = run_record if earlier is None else earlier.then(run_record)
        self._wake.set()

    def catch_up(self, share: Share) -> None:
        """Returns at once."""
        with self._lock:
            self._shares.append(share)
        self._wake.set()

    def close(self, patience: float) -> None:
        """Waits until everything is written, at most `patience` seconds, and reports what was not."""
        self._deadline = time.monotonic() + patience
        self._closing.set()
        self._wake.set()
        self.join(min(1.0, patience))
        if self.is_alive():
            say(
                f"run log: writing the last {self.missing} entries to {without_password(self.uri)} (at most {patience:.0f} s)"
            )
            self.join(max(0.0, self._deadline - time.monotonic()))
        if self._bug is not None:
            raise self._bug
        if self.missing:
            why = self.problem or "there was not enough time"
            warn(
                f"run log: {self.missing} entries were not written ({why}); the next sweep here writes them from the study"
            )

    def run(self) -> None:
        try:
            from experiments.tracking.mlflow_client import OUTAGES

            retrying = Retrying(
                retry=retry_if_exception(lambda error: isinstance(error, OUTAGES)),
                wait=wait_exponential(multiplier=0.5, max=_LONGEST_PAUSE),
                stop=lambda state: time.monotonic() > self._deadline,
                sleep=self._pause,
                before_sleep=self._report,
                retry_error_callback=self._report,
            )
            while not (self._closing.is_set() and self.missing == 0):
                self._wake.wait()
                self._wake.clear()
                retrying(self._write_all)
                if time.monotonic() > self._deadline:
                    return
        except BaseException as error:  # noqa: BLE001  # a fault of ours: raised by `close`, in the driver's thread
            self._bug = error

    def _pause(self, seconds: float) -> None:
        """Waits less once the sweep has ended: there is a deadline then."""
        if self._closing.is_set():
            time.sleep(min(seconds, 1.0))
        else:
            self._closing.wait(seconds)

    def _report(self, state: RetryCallState) -> None:
        assert state.outcome is not None, "tenacity calls this after an attempt"
        error = state.outcome.exception()
        assert error is not None, "only failures are tried again"
        if not self.problem:
            warn(
                f"run log: {without_password(self.uri)} cannot be written now ({cause(error)}); "
                "the sweep goes on and tries again"
            )
        self.problem = cause(error)

    def _write_all(self) -> None:
        if self._experiment is None:
            from experiments.tracking.mlflow_client import MlflowExperiment

            artifacts = self._workspace.path("mlartifacts") if self._own else None
            self._experiment = MlflowExperiment(self.uri, experiment_name(self._workspace), artifacts)
        while True:
            with self._lock:
                run_record = next(iter(self._records.values()), None)
                if run_record is not None:
                    del self._records[run_record.key]
                self._in_progress = int(run_record is not None)
                share = self._shares[0] if run_record is None and self._shares else None
            if run_record is not None:
                self._write(self._experiment, run_record)
            elif share is not None:
                self._check(self._experiment, share)
                with self._lock:
                    self._shares.popleft()
            else:
                break
            if self.problem:
                say("run log: it can be written again")
                self.problem = ""

    def _write(self, experiment: MlflowExperiment, run_record: RunRecord) -> None:
        """Writes one run record, or puts it back before what came since and raises."""
        from experiments.tracking.mlflow_client import is_own_fault

        try:
            self._write_run(experiment, run_record)
        except BaseException as error:
            if is_own_fault(error):
                warn(f"run log: MLflow refuses the record of {run_record.name or run_record.key}: {cause(error)}")
                return
            with self._lock:
                since = self._records.pop(run_record.key, None)
                whole = run_record if since is None else run_record.then(since)
                self._records = {run_record.key: whole, **self._records}
                self._in_progress = 0
            raise

    def _write_run(self, experiment: MlflowExperiment, run_record: RunRecord) -> None:
        run = self._runs.get(run_record.key)
        if run is None and run_record.key in self._uncertain:
            found = experiment.find("key", run_record.key).get(run_record.key)
            run = None if found is None else found.id
        if run is None:
            self._uncertain.add(run_record.key)
            run = experiment.create(run_record)
            run_record.tags = {}  # they are written
        if run_record.key not in self._runs:
            self._runs[run_record.key] = run
            self._uncertain.discard(run_record.key)
            self.links.append((run_record.key, run, self._url(experiment, run)))
        experiment.add(run_record, run)

    def _url(self, experiment: MlflowExperiment, run: str) -> str:
        server = self.uri if self.uri.startswith("http") else f"http://127.0.0.1:{UI_PORT}"
        return f"{without_password(server).rstrip('/')}/#/experiments/{experiment.experiment}/runs/{run}"

    def _check(self, experiment: MlflowExperiment, share: Share) -> None:
        """Finds what the run log lacks, asking MLflow once per share, and puts it on run records."""
        place, makers = (share.tag, share.value), share.makers
        found = {} if share.known or place in self._checked else experiment.find(*place)
        known = self._checked.setdefault(place, set(makers) if share.known else set())
        for key, run in found.items():
            if not run.open:
                known.add(key)
            elif key in makers:
                run_record = makers[key]()
                written = {("smape", step) for step in experiment.steps(run.id, "smape")}
                run_record.points = [each for each in run_record.points if (each.name, each.step) not in written]
                run_record.params = {name: value for name, value in run_record.params.items() if name not in run.params}
                self._runs[key] = run.id
                self.put(run_record)
            elif share.running is not None and key not in share.running and key not in self._runs:
                experiment.kill(run.id)
        for key in makers.keys() - known - self._runs.keys() - found.keys():
            self.put(makers[key]())
        known.update(makers)
