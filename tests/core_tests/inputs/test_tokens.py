"""Cleaning, the token cache and batching."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from core.cache import Cache
from core.encoders.tiny import train_tokenizer
from core.inputs.tokens import Tokens, clean, micro_batches, tokenise, training_batches

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


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([clean(text) for text in TEXTS])


def assert_same(one: Tokens, other: Tokens) -> None:
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.offsets, other.offsets)
    assert (one.pad, one.suffix) == (other.pad, other.suffix)


def test_tokens_are_written_once_and_read_back(tokenizer: Tokenizer, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = tokenise(TEXTS, tokenizer, 0, cache)
    (file,) = (tmp_path / "tokens").glob("[!.]*/*")
    written = file.stat().st_mtime_ns
    assert_same(tokenise(TEXTS, tokenizer, 0, cache), first)
    assert_same(tokenise(TEXTS, tokenizer, 0, None), first)
    assert file.stat().st_mtime_ns == written
    tokenise(TEXTS[:2], tokenizer, 0, cache)
    assert len(cache.entries()) == 2


def test_tokens_equal_the_tokenizers(tokenizer: Tokenizer) -> None:
    tokens = tokenise(TEXTS, tokenizer, 0, None)
    assert len(tokens) == len(TEXTS)
    for row, text in enumerate(TEXTS):
        expected = tokenizer.encode(clean(text)).ids
        assert tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]].tolist() == expected
    assert tokenise([], tokenizer, 0, None).offsets.tolist() == [0]


def test_a_prefix_stands_before_each_text_and_in_the_cache(tokenizer: Tokenizer, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    plain = tokenise(TEXTS, tokenizer, 0, cache)
    prefixed = tokenise(TEXTS, tokenizer, 0, cache, "tea: ")
    assert len(cache.entries()) == 2
    assert_same(tokenise(TEXTS, tokenizer, 0, cache, "tea: "), prefixed)
    assert_same(tokenise(TEXTS, tokenizer, 0, cache), plain)
    for row, text in enumerate(TEXTS):
        expected = tokenizer.encode("tea: " + clean(text)).ids
        assert prefixed.ids[prefixed.offsets[row] : prefixed.offsets[row + 1]].tolist() == expected


def test_an_empty_text_without_special_tokens_is_one_token(tokenizer: Tokenizer) -> None:
    bare = Tokenizer.from_str(json.dumps({**json.loads(tokenizer.to_str()), "post_processor": None}))
    tokens = tokenise(["", "tea"], bare, 7, None)
    ids, mask = tokens.batch(np.array([0, 1]), 8)
    assert ids[0][mask[0]].tolist() == [7] and tokens.suffix == 0


def test_the_array_is_the_file_itself_and_outlives_its_entry(tokenizer: Tokenizer, tmp_path: Path) -> None:
    texts = [f"{text} {number}" for number in range(20) for text in TEXTS]
    cache = Cache(tmp_path)
    read = tokenise(texts, tokenizer, 0, cache)
    assert not read.ids.flags.owndata and not read.ids.flags.writeable
    assert any("tokens.arrow" in line for line in Path("/proc/self/maps").read_text().splitlines())
    Cache(tmp_path, limit=1).prune()
    assert cache.entries() == []
    assert_same(read, tokenise(texts, tokenizer, 0, None))


def test_a_tokenizer_that_cuts_and_pads_is_asked_for_everything_and_stays_as_it_is(tokenizer: Tokenizer) -> None:
    cutting = Tokenizer.from_str(tokenizer.to_str())
    cutting.enable_truncation(8)
    cutting.enable_padding(length=8)
    before = cutting.to_str()
    assert_same(tokenise(TEXTS, cutting, 0, None), tokenise(TEXTS, tokenizer, 0, None))
    assert cutting.to_str() == before


@given(rows=st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=9), max_length=st.integers(3, 300))
def test_a_batch_is_its_texts_padded_and_cut(tokenizer: Tokenizer, rows: list[int], max_length: int) -> None:
    tokens = tokenise(TEXTS, tokenizer, 7, None)
    ids, mask = tokens.batch(np.array(rows), max_length)
    assert ids.dtype == torch.int64 and mask.dtype == torch.bool
    assert ids.shape == mask.shape == (len(rows), tokens.lengths(max_length)[rows].max())
    assert (ids[~mask] == 7).all()
    for row, found, there in zip(rows, ids, mask, strict=True):
        whole = tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]].tolist()
        tail = max(max_length // 3, tokens.suffix)
        cut = whole if len(whole) <= max_length else whole[: max_length - tail] + whole[len(whole) - tail :]
        assert found[there].tolist() == cut
        assert not there[len(cut) :].any()


def test_a_cut_text_still_ends_with_its_special_token(tokenizer: Tokenizer) -> None:
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
