from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.data.catalog import Catalog
from serving.bundle.reference_stats import COMMON, NONE, OTHER, describe, script, shares


def catalog(texts: list[str], links: list[str], images: Path | None = None) -> Catalog:
    ids = np.array([str(row) for row in range(len(texts))], dtype=object)
    return Catalog(ids, np.array(texts, dtype=object), np.array(links, dtype=object), images=images)


def test_a_catalog_in_numbers(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"x")
    text = "Item Name: ACME Green tea\nValue: 3\nUnit: Ounce"
    first = catalog([text, text, "чай зелёный"], ["https://a/1.jpg", "https://a/2.jpg", ""], tmp_path)
    second = catalog([""], [""])
    found = json.loads(json.dumps(describe([first, second], np.array([1.0, np.e])), allow_nan=False))
    assert found["rows"] == {"inputs": 4, "prices": 2}
    assert found["missing_pictures"] == 0.75
    assert found["words"]["script"] == {"latin": 0.5, "cyrillic": 0.25, NONE: 0.25}
    assert found["words"]["unit"] == {"ounce": 0.5, NONE: 0.5}
    assert found["numbers"]["log_price"][::50] == pytest.approx([0, 0.5, 1])
    assert found["numbers"]["length"][0] == 0 and found["numbers"]["length"][100] == len(text)


def test_rare_words_share_one_place() -> None:
    found = shares([f"w{number:03d}" for number in range(COMMON + 50)] + ["w000"])
    assert len(found) == COMMON + 1 and next(iter(found)) == "w000"
    assert sum(found.values()) == pytest.approx(1) and found[OTHER] == pytest.approx(50 / (COMMON + 51))


def test_scripts() -> None:
    assert [script(text) for text in ("Tea 12", "目覚まし時計 tea", "شاي", "12 / 14", "Ωμέγα")] == [
        "latin", "cjk", "arabic", "", "greek",
    ]  # fmt: skip
