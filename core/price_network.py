"""What the trainer needs to know of a network."""

from __future__ import annotations

from torch import Tensor, nn

from core.losses import Loss


class PriceNetwork(nn.Module):
    """A network whose output is z (B,), as in `core.losses`; one that says more of a price overrides what follows."""

    def loss(self, outputs: Tensor, target: Tensor, of_point: Loss) -> Tensor:
        """(B,) losses of the float32 outputs for target (B,) log1p prices. of_point: the loss of a z."""
        return of_point(outputs, target)

    def point(self, outputs: Tensor) -> Tensor:
        """z (B,) of the float32 outputs."""
        return outputs

    def rates(self) -> dict[str, float]:
        """Factors on the learning rate by the name of the weights, where they are not 1."""
        return {}
