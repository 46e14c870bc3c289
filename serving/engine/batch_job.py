"""Config of a batch prediction, from which `python -m serving.predict` gets its flags; imports none of what computes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from core.command_config import CommandConfig, Flag
from core.errors import UserError
from serving.bundle.device_choice import DeviceChoice


class BatchJob(CommandConfig):
    """Input, output and bundle of one run."""

    bundle: Annotated[Path, Field(description="Folder that serving.export has written.")]
    source: Annotated[
        Path,
        Flag(option="--in"),
        Field(description="The rows to price: CSV, Parquet, JSON Lines or Excel, in one .gz or .zip or not."),
    ]
    sheet: Annotated[str | None, Field(description="Sheet of an Excel file (the first).")] = None
    out: Annotated[Path, Field(description="Where the prices go.")]
    images: Annotated[Path | None, Field(description="Folder of the pictures.")] = None
    details: Annotated[
        bool, Field(description="Also the 80% interval (low, high), and which members answered (level).")
    ] = False
    rows: Annotated[int, Field(ge=1, le=100_000, description="Rows that are priced together.")] = 1_024
    device: Annotated[
        DeviceChoice, Field(description="Where networks compute: auto is the GPU if there is one that they can use.")
    ] = DeviceChoice.AUTO

    @model_validator(mode="after")
    def _input_survives(self) -> Self:
        """Raises UserError where the output would replace the input."""
        if self.out.resolve() == self.source.resolve():
            raise UserError(
                f"--out {self.out} is the input", code="predict-out-is-input", hint="name another file with --out"
            )
        return self

    @property
    def parts(self) -> Path:
        """The rows that are finished."""
        return self.out.with_name(f"{self.out.name}.parts")

    @property
    def state(self) -> Path:
        """Input and bundle of the finished rows."""
        return self.out.with_name(f"{self.out.name}.parts.json")
