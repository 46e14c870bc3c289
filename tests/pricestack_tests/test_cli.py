"""The console command `pricestack` and the documented `python -m` commands: the same code under two names."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from pricestack.cli import COMMANDS, main
from tests.paths import ROOT

MODULES = {name: module.removesuffix(".__main__") for name, (module, _) in COMMANDS.items()}


def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m arguments`, from a folder that is not the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_both_forms_of_a_command_show_the_same_help(name: str) -> None:
    public, module = typed("pricestack.cli", name, "--help"), typed(MODULES[name], "--help")
    assert (public.returncode, module.returncode) == (0, 0), public.stderr + module.stderr
    assert public.stdout.split("Usage: ")[1].split()[:2] == ["pricestack", name]

    def options(text: str) -> list[str]:
        return text[text.index("--") :].splitlines()

    assert options(public.stdout.split("\n", 3)[3]) == options(module.stdout.split("\n", 3)[3])


def test_the_list_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    text = capsys.readouterr().out
    assert all(name in text and module in text for name, module in MODULES.items())


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out.startswith("pricestack ")


def test_an_unknown_command_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["swep"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "[cli-unknown-command]" in error and "'sweep'" in error


def test_a_user_error_keeps_its_exit_code() -> None:
    done = typed("pricestack.cli", "status", "--workspace", "/no/such/workspace")
    assert done.returncode == 2 and done.stderr.startswith("error: ")


def test_the_console_script_is_installed() -> None:
    (script,) = [each for each in entry_points(group="console_scripts") if each.name == "pricestack"]
    assert script.load() is main
