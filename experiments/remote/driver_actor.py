"""The driver's end of every journey: an actor on the driver's node. It imports neither torch nor Ray, so that it is small."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from experiments.remote.artifact_receiver import Arrivals
from experiments.remote.payload import Manifest, Parcel


class Home:
    """On the driver's node: gives the parcel out, takes what comes home, and knows which jobs have ended."""

    def __init__(self, parcel: Parcel, workspace: Path) -> None:
        self._parcel, self._arrivals = parcel, Arrivals(workspace)
        self._ended: set[str] = set()

    def manifest(self) -> Manifest:
        return self._parcel.manifest

    def read(self, offset: int) -> bytes:
        return self._parcel.read(offset)

    def receive(self, delivery: str, name: str, offset: int, data: bytes) -> None:
        self._arrivals.receive(delivery, name, offset, data)

    def complete(self, delivery: str, sizes: Mapping[str, int]) -> None:
        self._arrivals.complete(delivery, sizes)

    def end(self, training: str) -> None:
        self._ended.add(training)

    def ended(self, trainings: Collection[str]) -> list[str]:
        """Those of these that will not go on: the node need not keep their states."""
        return [each for each in trainings if each in self._ended]
