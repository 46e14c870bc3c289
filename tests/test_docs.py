"""What a reader copies out of the documentation is whole: manifests parse, scripts are scripts, flags exist."""

from __future__ import annotations

import re
import subprocess

import yaml
from typer.main import get_command

from experiments.sweep import app
from tests.paths import ROOT

CLUSTER = (ROOT / "docs" / "cluster.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", CLUSTER, re.DOTALL)


def test_the_kubernetes_manifest_asks_for_a_token_and_keeps_jobs_off_the_head() -> None:
    (text,) = blocks("yaml")
    job = yaml.safe_load(text)
    cluster = job["spec"]["rayClusterSpec"]
    assert (job["kind"], cluster["authOptions"]) == ("RayJob", {"mode": "token"})
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None and cluster["rayVersion"] == pinned[1]
    assert "working_dir" not in str(job)


def test_the_batch_script_is_one() -> None:
    (script,) = blocks("bash")
    assert script.startswith("#!/bin/bash\n#SBATCH")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_every_flag_of_the_sweep_exists() -> None:
    known = {name for parameter in get_command(app).params for name in (*parameter.opts, *parameter.secondary_opts)}
    commands = re.findall(r"experiments\.sweep(.*?)(?:\n\n|\n  [a-z#]|```|&)", CLUSTER, re.DOTALL)
    used = {flag for command in commands for flag in re.findall(r"--[a-z-]+", command)}
    assert {"--address", "--storage-path"} <= used <= known
