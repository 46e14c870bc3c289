"""Members that `accuracy_parts.py` stacks, and the parts it removes one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.architectures import architecture
from ensemble.methods.method_registry import METHODS
from ensemble.pipeline.postprocessing import STEPS
from search_spaces import FOLDER, load_space

Portfolio = dict[str, tuple[str, dict[str, Any]]]
"""Label to (architecture, settings)."""


def _documented(stem: str) -> list[dict[str, Any]]:
    """`best` of a search space, and what comes `then`."""
    space = load_space(FOLDER / f"{stem}.yaml", architecture(stem.partition("-")[0]).Config)
    return [space.best, *space.then]


_KERNEL, _BLEND = _documented("lexical")
_GREEDY, _RANDOM = _documented("boosted")
_TINY = {"text_encoder": "tiny", **_documented("text-tiny")[0]}
PORTFOLIO: Portfolio = {
    "Gaussian process": ("lexical", _KERNEL),
    "ridge and nets": ("lexical", _BLEND),
    "boosted trees": ("boosted", _GREEDY),
    "random boosted trees": ("boosted", _RANDOM),
    "tiny text network": ("text", _TINY),
}


@dataclass(frozen=True)
class Part:
    """What is changed: the portfolio, the methods that may combine it, the last steps that may follow."""

    change: Callable[[Portfolio], Portfolio] = dict
    methods: tuple[str, ...] = tuple(METHODS)
    steps: tuple[str, ...] = tuple(STEPS)


def member(*labels: str) -> Part:
    """Leaves members out."""
    return Part(lambda portfolio: {name: each for name, each in portfolio.items() if name not in labels})


def settings(*labels: str, **changes: Any) -> Part:
    """Changes settings of these members."""
    return Part(
        lambda portfolio: {
            name: (kind, {**given, **changes} if name in labels else given) for name, (kind, given) in portfolio.items()
        }
    )


_TREES = ("boosted trees", "random boosted trees")
_WEIGHTS = ("simplex-log", "simplex-price", "mean", "geometric", "median", "single", "greedy", "affine")

PARTS: dict[str, Part] = {
    "nothing changed": Part(),
    **{f"without: {label}": member(label) for label in PORTFOLIO},
    "without: both lexical members": member("Gaussian process", "ridge and nets"),
    "without: both boosted members": member(*_TREES),
    "without: several samples of the Gaussian process": settings("Gaussian process", kernel_samples=1),
    "without: the nets beside the ridge": settings("ridge and nets", model="ridge"),
    "without: the ridge beside the nets": settings("ridge and nets", model="mlp"),
    "without: doubtful rows' lower weight": settings("ridge and nets", suspects="keep"),
    "without: components of the text in trees": settings(*_TREES, svd_components=0),
    "without: several bags of trees": settings(*_TREES, bags=1),
    "without: fields in the network": settings("tiny text network", fields="none"),
    "without: categories in the network": settings("tiny text network", categories=0),
    "without: boosters in the stack": Part(methods=tuple(name for name in METHODS if name in _WEIGHTS)),
    "without: last steps": Part(steps=()),
    "with: quantile heads of trees": settings(*_TREES, quantiles=True),
    "with: doubtful rows left out of trees": settings(*_TREES, suspects="drop"),
    "with: trees monotone in amounts": settings(*_TREES, monotone=True),
    "with: both heads of the network": settings("tiny text network", head="both"),
    "with: fields as tokens too": settings("tiny text network", fields="both"),
}
