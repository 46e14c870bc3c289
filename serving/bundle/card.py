"""The model card: what a bundle is, for people."""

from __future__ import annotations

from typing import Any

from serving.bundle.bundle import Facts
from serving.bundle.interval import LEVEL


def card(name: str, facts: Facts, stack: dict[str, Any]) -> str:
    """Markdown. stack: what `stack.json` holds."""
    low, high = facts.nested["interval"]
    steps = [each["name"] for each in stack["steps"] if each["kept"]]
    combination = ", ".join(f"{each['share']:.0%} {each['name']}" for each in stack["combination"])
    lines = [
        f"# {name}",
        "",
        "Predicts a product's price from its catalog text and, where a member reads pictures, its picture.",
        "Serve it with `python -m serving.predict --bundle THIS_FOLDER --in test.csv --out prices.csv`.",
        "",
        "| | |",
        "|---|---|",
        f"| trained on | {facts.rows['train']:,} rows, catalog `{facts.catalog}` |",
        f"| folds | {facts.k} ({facts.fold_mode}), `{facts.folds}` |",
        f"| nested SMAPE | {facts.nested['smape']:.2f} ± {facts.nested['standard_error']:.2f}, 95% {low:.2f} to {high:.2f} |",
        f"| best constant price | {facts.middle:.2f}, SMAPE {stack['floor']['smape']:.2f} |",
        f"| combination | {combination}{'; then ' + ', '.join(steps) if steps else ''} |",
        f"| {LEVEL:.0%} interval | holds {facts.coverage:.1%} of held-out prices; mean width {facts.width:.2f} in log price |",
        f"| compared | {facts.compared} test rows, prices within {facts.largest_difference:.4%} of the submission's |",
        f"| code | {', '.join(f'{what} {version}' for what, version in facts.code.items())} |",
        "",
        "The nested SMAPE is that of rows which neither members, weights nor choices had seen. It holds for products like those",
        "trained on: `statistics.json` says what they look like.",
        "",
        "| member | form | fold models | weight | SMAPE out of fold |",
        "|---|---|---|---|---|",
        *(
            f"| {each.id} | {each.form} | {len(each.folds)} | {each.weight:.3f} | {each.smape:.2f} |"
            for each in facts.members
        ),
        "",
        *(f"- {note}" for note in stack["notes"]),
    ]
    return "\n".join(lines).rstrip() + "\n"
