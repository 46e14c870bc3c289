"""Options of what a sweep reports: the MLflow server, quiet output, JSON events."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.command_config import CommandConfig, Flag


class TrackingConfig(CommandConfig):
    """Destinations of a sweep's events. uri: of MLflow; None: a file in the workspace."""

    uri: Annotated[
        str | None,
        Field(description="URL of an MLflow server (a file in the workspace)"),
        Flag(name="tracking", envvar="MLFLOW_TRACKING_URI"),
    ] = None
    quiet: Annotated[bool, Field(description="warnings, errors and the closing summary only")] = False
    json_events: Annotated[
        bool, Field(description="one JSON object per event on stdout, all other text on stderr"), Flag(name="json")
    ] = False
