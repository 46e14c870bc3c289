"""States of a frozen encoder: read once per text, whatever rows are asked for and in whatever order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.cache import Cache
from core.classical.frozen_encoder import FrozenTextEncoder
from core.encoders.loading import identity
from tests.core_tests.classical_toys import products, small_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_encoder(tmp_path_factory.mktemp("encoder")))


def reader(encoder: str, cache: Cache | None) -> FrozenTextEncoder:
    return FrozenTextEncoder(encoder, identity(encoder, "text"), 64, cache)


def test_states_have_length_one_and_follow_the_text(encoder: str, tmp_path: Path) -> None:
    texts = [*products(20).texts, "", "🍫"]
    states = reader(encoder, Cache(tmp_path)).states(texts)
    assert states.shape == (22, 16)
    np.testing.assert_allclose(np.linalg.norm(states, axis=1), 1.0, rtol=1e-6)
    turned = reader(encoder, Cache(tmp_path)).states(texts[::-1])
    np.testing.assert_array_equal(turned, states[::-1])
    np.testing.assert_allclose(reader(encoder, None).states(texts), states, atol=1e-2)


def test_a_text_is_read_once(encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    read = FrozenTextEncoder._read
    monkeypatch.setattr(FrozenTextEncoder, "_read", lambda self, texts: asked.append(texts) or read(self, texts))
    reading = reader(encoder, Cache(tmp_path))
    reading.states(["tea", "nuts", "tea"])
    reading.states(["nuts", "tea"])
    reading.states(["oil", "tea"])
    assert [sorted(texts) for texts in asked] == [["nuts", "tea"], ["oil"]]


def test_another_encoder_has_states_of_its_own(encoder: str, tmp_path: Path) -> None:
    first = reader(encoder, Cache(tmp_path))
    first.states(["tea"])
    assert first._kind != FrozenTextEncoder(encoder, "other content", 64)._kind
    assert first._kind != FrozenTextEncoder(encoder, first.content, 32)._kind
