"""The members that `accuracy_parts.py` stacks, and the parts that it leaves out one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Portfolio = dict[str, tuple[str, dict[str, Any]]]
"""Label to (architecture, settings)."""

PORTFOLIO: Portfolio = {
    "lexical": ("lexical", {}),
    "boosted huber": ("boosted", {}),
    "boosted smape": ("boosted", {"objective": "smape", "num_leaves": 31}),
    "text tiny": (
        "text",
        {
            "text_encoder": "tiny",
            "learning_rate": 1e-3,
            "batch_size": 32,
            "epochs": 12,
            "dropout": 0.2,
            "stop_epoch": 10,
        },
    ),
}


def member(label: str) -> Callable[[Portfolio], Portfolio]:
    """Leaves a member out."""
    return lambda portfolio: {name: each for name, each in portfolio.items() if name != label}


def settings(architecture: str, **changes: Any) -> Callable[[Portfolio], Portfolio]:
    """Changes settings of all members of an architecture."""
    return lambda portfolio: {
        name: (kind, {**given, **changes} if kind == architecture else given)
        for name, (kind, given) in portfolio.items()
    }


PARTS: dict[str, Callable[[Portfolio], Portfolio]] = {
    "nothing": dict,
    "lexical": member("lexical"),
    "boosted huber": member("boosted huber"),
    "boosted smape": member("boosted smape"),
    "text tiny": member("text tiny"),
    "the net in lexical": settings("lexical", model="ridge"),
    "the ridge in lexical": settings("lexical", model="mlp"),
    "components in boosted": settings("boosted", svd_components=0),
    "bags in boosted": settings("boosted", bags=1),
}
