"""Cleaning, the token cache and batching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.backbones.tiny import train_tokenizer
from core.tokens import clean, micro_batches, tokenise, training_batches

TEXTS = ["Green tea, 20 bags", "", "Oak table 140x80 cm " * 30, "<b>Tea</b> &amp; cups"]


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  Item\n\tName:  Tea ", "Item Name: Tea"),
        ("<p>Soft&nbsp;tea</p><br/>x", "Soft tea x"),
        ("&lt;b&gt;bold&lt;/b&gt; A&amp;B", "bold A&B"),
        ("under <5 kg and a < b > c", "under <5 kg and a < b > c"),
        ("a\0b", "a b"),
        ("\0 ", ""),
    ],
)
def test_clean(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@given(st.text())
def test_cleaned_text_has_no_runs_of_whitespace(text: str) -> None:
    assert clean(text) == " ".join(clean(text).split())


def test_tokens_are_written_once_and_read_back(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([clean(text) for text in TEXTS])
    first = tokenise(TEXTS, tokenizer, 0, tmp_path)
    (path,) = (tmp_path / "tokens").iterdir()
    written = path.stat().st_mtime_ns
    again = tokenise(TEXTS, tokenizer, 0, tmp_path)
    uncached = tokenise(TEXTS, tokenizer, 0, None)
    assert path.stat().st_mtime_ns == written
    for other in (again, uncached):
        np.testing.assert_array_equal(other.ids, first.ids)
        np.testing.assert_array_equal(other.offsets, first.offsets)
    tokenise(TEXTS[:2], tokenizer, 0, tmp_path)
    assert len(list((tmp_path / "tokens").iterdir())) == 2


def test_a_cut_text_still_ends_with_its_special_token() -> None:
    tokenizer = train_tokenizer([clean(text) for text in TEXTS])
    tokens = tokenise(TEXTS, tokenizer, 0, None)
    ids, mask = tokens.batch(np.array([2, 0]), 9)
    end = tokenizer.token_to_id("[SEP]")
    assert ids.shape == (2, 9)
    assert ids[0, -1] == end
    assert ids[1][mask[1]][-1] == end
    assert (ids[~mask] == 0).all()


def test_a_cut_text_keeps_its_beginning_and_its_end() -> None:
    text = "Name: tea " + "very good " * 50 + "Value: 16"
    tokenizer = train_tokenizer([text] * 3)
    tokens = tokenise([text], tokenizer, 0, None)
    (whole,), (cut,) = tokens.batch(np.array([0]), 1_000)[0], tokens.batch(np.array([0]), 30)[0]
    assert torch.equal(cut, torch.cat([whole[:20], whole[-10:]]))


def test_the_tokenizer_learns_the_same_from_the_same_texts() -> None:
    assert train_tokenizer(TEXTS).to_str() == train_tokenizer(TEXTS).to_str()


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=200), size=st.integers(1, 40), seed=st.integers(0, 9))
def test_an_epoch_holds_every_row_once(lengths: list[int], size: int, seed: int) -> None:
    batches = training_batches(np.array(lengths), size, torch.Generator().manual_seed(seed))
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert max(map(len, batches)) <= size
    assert len(batches) == -(-len(lengths) // size)


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=100), limit=st.integers(1, 2_000))
def test_micro_batches_keep_to_the_token_limit(lengths: list[int], limit: int) -> None:
    known = np.array(lengths)
    parts = list(micro_batches(np.arange(len(known)), known, limit))
    assert sorted(np.concatenate(parts)) == list(range(len(known)))
    assert all(len(part) == 1 or len(part) * known[part].max() <= limit for part in parts)
