"""Downloads before a sweep's time counts: the encoders it names, and on a GPU the documented pair that `auto` stands for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from core.console import say
from core.encoders.presets import AUTO, DOCUMENTED, RANDOM, Part, choose, part_of
from core.errors import UserError
from core.hardware import Machine
from core.protocols.architecture import Architecture
from experiments.search.search_config import SearchConfig
from search_spaces import load_space

_UNREACHABLE = "encoder-not-fetched"


def download_encoders(
    kinds: Sequence[Architecture], search: SearchConfig, machine: Machine, minutes: float | None
) -> float:
    """Downloads what is not on this machine; returns the seconds that it took.

    With `--offline`, or where the hub cannot be reached, one line says what `auto` stands for instead. Raises UserError for an
    encoder that was named and cannot be had, and for a download that fails.
    """
    asked = list(_asked(kinds, search))
    if not asked:
        return 0.0
    from core.encoders.hub_download import fetch
    from core.encoders.loading import check_name, is_here, is_hub_name

    started = time.monotonic()
    named = [(name, part) for name, part in asked if is_hub_name(name) and not is_here(name)]
    for name, part in named:
        check_name(name, part)
    parts = dict.fromkeys(part for name, part in asked if name == AUTO and machine.has_gpu)
    automatic = [DOCUMENTED[part] for part in parts if not is_here(DOCUMENTED[part])]
    if search.offline:
        if named:
            raise _needed_offline([name for name, _ in named])
        _say_instead(automatic, parts, machine, minutes, "--offline")
        return 0.0
    fetch([name for name, _ in named])
    try:
        fetch(automatic)
    except UserError as error:
        if error.code != _UNREACHABLE:
            raise
        _say_instead(automatic, parts, machine, minutes, "the hub cannot be reached")
    return time.monotonic() - started


def _asked(kinds: Sequence[Architecture], search: SearchConfig) -> Iterator[tuple[str, Part]]:
    """Encoders that the sweep's configs name, each once: `auto` too, but none with random weights."""
    fixed = search.fixed_settings(kinds)
    found: dict[tuple[str, Part], None] = {}
    for kind in kinds:
        choices = _searched(kind, search, fixed[kind.name])
        for key in kind.encoder_settings:
            for value in choices.get(key, [fixed[kind.name].get(key, kind.Config.model_fields[key].default)]):
                if value is not None and value not in RANDOM | kind.random_encoders:
                    found[str(value), part_of(key)] = None
    return iter(found)


def _searched(kind: Architecture, search: SearchConfig, fixed: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """By setting the encoders among which the search chooses."""
    if search.space is None:
        return {}
    return load_space(search.space, kind.Config).without(fixed).choices_of(kind.encoder_settings)


def _needed_offline(names: Sequence[str]) -> UserError:
    return UserError(
        f"--offline, and {_are(names)} not on this machine",
        code="encoder-needed-offline",
        hint=f"with a network, run `python -m core.encoders fetch {' '.join(names)}`; or name an encoder that is here "
        "(`python -m core.encoders list`)",
    )


def _say_instead(
    absent: Sequence[str], parts: Iterable[Part], machine: Machine, minutes: float | None, why: str
) -> None:
    """Says in one line what runs in place of the documented encoders that are not here."""
    from core.encoders.loading import available

    if absent:
        instead = [choose(part, machine, available(), minutes)[0] for part in parts]
        say(
            f"{why}, and {_are(absent)} not on this machine: {' + '.join(instead)} runs instead; with a network, "
            f"`python -m core.encoders fetch {' '.join(absent)}` downloads {'it' if len(absent) == 1 else 'them'}",
            style="yellow",
        )


def _are(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"
