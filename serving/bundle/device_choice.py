"""Device choice: a bundle's networks compute on the GPU where their export format can use one, else on the processor."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from enum import StrEnum

from core import hardware
from core.architectures import architecture
from core.errors import UserError
from serving.bundle.bundle import MemberFacts
from serving.bundle.export_formats import export_format

log = logging.getLogger(__name__)


class DeviceChoice(StrEnum):
    """Device that is asked for; all but AUTO are also devices that compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"

    @property
    def place(self) -> str:
        """The device in a sentence."""
        return "on the GPU" if self is DeviceChoice.CUDA else "on the processor"


def choose_device(asked: DeviceChoice, members: Iterable[MemberFacts]) -> DeviceChoice:
    """CPU or CUDA, for these members of a bundle; without networks there is nothing that a GPU would compute.

    Raises UserError where CUDA was asked for and is not there. Torch is imported only where there is a GPU.
    """
    if asked == DeviceChoice.CPU:
        return DeviceChoice.CPU
    if not hardware.cuda_gpus():
        if asked == DeviceChoice.CUDA:
            raise UserError(
                "--device cuda, but CUDA's driver shows no GPU to this process",
                code="gpu-missing",
                hint="leave --device out to price on the processor; `nvidia-smi` and CUDA_VISIBLE_DEVICES say what is there",
            )
        return DeviceChoice.CPU
    forms = {member.form for member in members if architecture(member.architecture).is_network}
    lacking = [lack for form in sorted(forms) if (lack := export_format(form).gpu_lack()) is not None]
    if lacking and asked == DeviceChoice.CUDA:
        what, hint = lacking[0]
        raise UserError(f"--device cuda, but {what}", code="gpu-runtime-missing", hint=hint)
    if lacking:
        log.warning("a GPU is here, but %s: prices are computed on the processor; to use it, %s", *lacking[0])
    return DeviceChoice.CUDA if forms and not lacking else DeviceChoice.CPU
