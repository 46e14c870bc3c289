"""Token cache: texts cleaned and tokenised once, memory-mapped, read in batches of similar length."""

from __future__ import annotations

import html
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyarrow import ipc
from tokenizers import Tokenizer
from torch import Tensor

from core.arrays import RowIndices
from core.atomic_files import digest
from core.cache import Cache
from core.console import progress

_FORMAT = "tokens-2"
"""Raised when `clean` or the file changes."""

_FILE, _SUFFIX = "tokens.arrow", b"suffix"
_CHUNK = 4_096
_TAIL_SHARE = 3
"""One part in so many of a cut text is its end."""

# A name must follow the bracket, so that "<5 kg" and "a < b" stay.
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--.*?-->", re.DOTALL)


def clean(text: str) -> str:
    """HTML tags and entities removed, whitespace collapsed, NUL bytes dropped; case kept."""
    without_tags = _TAG.sub(" ", html.unescape(_TAG.sub(" ", text)))
    return " ".join(without_tags.replace("\0", " ").split())


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids of n texts, special tokens included, uncut.

    ids: flat int32. offsets: (n + 1,) int64, text i is `ids[offsets[i]:offsets[i+1]]`. pad: id that fills up a batch.
    suffix: how many special tokens end every text; a cut text still ends with them.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    pad: int
    suffix: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self, max_length: int) -> NDArray[np.int64]:
        """(n,) tokens of each text after cutting to `max_length`."""
        return np.minimum(np.diff(self.offsets), max_length)

    def batch(self, rows: RowIndices, max_length: int) -> tuple[Tensor, Tensor]:
        """(B, L) int64 ids and (B, L) bool mask of these texts, cut to `max_length`, padded to the longest of them.

        A text that is too long keeps its beginning and its end: names stand first in catalog texts, quantities last. (Head
        and tail was also best in Sun et al. 2019, "How to fine-tune BERT for text classification?".)
        """
        starts, ends = self.offsets[rows], self.offsets[rows + 1]
        kept = np.minimum(ends - starts, max_length)
        tail = max(max_length // _TAIL_SHARE, self.suffix)
        mask = np.arange(kept.max()) < kept[:, None]
        ids = np.full(mask.shape, self.pad, dtype=np.int64)
        # A copy per row: gathering all places at once took twice as long.
        for line, start, end, length in zip(ids, starts.tolist(), ends.tolist(), kept.tolist(), strict=True):
            line[:length] = self.ids[start : start + length]
            if length < end - start:
                line[length - tail : length] = self.ids[end - tail : end]
        return torch.from_numpy(ids), torch.from_numpy(mask)


def tokenise(texts: Sequence[str], tokenizer: Tokenizer, pad: int, cache: Cache | None, prefix: str = "") -> Tokens:
    """Tokens of raw catalog texts, whole even if the tokenizer is set to cut or pad them (it stays so set).

    prefix: put before each cleaned text as it is.
    With a cache, they are computed once per content and tokenizer, and all processes that read them share their memory.
    """
    whole = _whole(tokenizer)
    if cache is None:
        return _encode(texts, whole, pad, prefix)
    # Without a prefix the key is that of the time when there was none.
    key = digest(f"{_FORMAT} {prefix}" if prefix else _FORMAT, whole.to_str(), *texts)
    make = partial(_encode, texts, whole, pad, prefix)
    return cache.get("tokens", key, lambda folder: _write(folder, make()), partial(_read, pad=pad))


def _whole(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer if it neither cuts nor pads, else a copy that does not: another thread may use it at this moment."""
    if tokenizer.truncation is None and tokenizer.padding is None:
        return tokenizer
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _encode(texts: Sequence[str], tokenizer: Tokenizer, pad: int, prefix: str) -> Tokens:
    """A text of no tokens at all (an empty one, where the tokenizer adds none of its own) is one padding token."""
    ids, lengths = array("i"), [0]
    with progress("tokenising") as advance:
        for start in range(0, len(texts), _CHUNK):
            # Offsets into the text, which `encode_batch` would count as well, are of no use here.
            for text in tokenizer.encode_batch_fast([prefix + clean(text) for text in texts[start : start + _CHUNK]]):
                found = text.ids or [pad]
                ids.fromlist(found)
                lengths.append(len(found))
            advance(len(lengths) - 1, len(texts))
    return Tokens(np.frombuffer(ids, dtype=np.int32), np.cumsum(lengths, dtype=np.int64), pad, _suffix(tokenizer))


def _write(folder: Path, tokens: Tokens) -> None:
    """One column of lists, uncompressed: its two buffers are the arrays of `Tokens` as they are."""
    column = pa.LargeListArray.from_arrays(pa.array(tokens.offsets), pa.array(tokens.ids))
    batch = pa.record_batch([column], pa.schema([("ids", column.type)], {_SUFFIX: str(tokens.suffix)}))
    with (folder / _FILE).open("wb") as file, ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def _read(folder: Path, pad: int) -> Tokens:
    with pa.memory_map(str(folder / _FILE)) as file:  # what is mapped stays so while an array refers to it
        batch = ipc.open_file(file).get_batch(0)
    column = batch.column(0)
    ids, offsets = (part.to_numpy(zero_copy_only=True) for part in (column.values, column.offsets))
    return Tokens(ids, offsets, pad, int(batch.schema.metadata[_SUFFIX]))


def _suffix(tokenizer: Tokenizer) -> int:
    special = tokenizer.encode("a").special_tokens_mask
    return special[::-1].index(0) if 0 in special else 0


def training_batches(lengths: NDArray[np.int64], batch_size: int, generator: torch.Generator) -> list[RowIndices]:
    """All rows once, in random batches of similar length: shuffled, sorted within 32 batches, batches shuffled."""
    order = torch.randperm(len(lengths), generator=generator).numpy()
    pool = 32 * batch_size
    batches: list[RowIndices] = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def micro_batches(rows: RowIndices, lengths: NDArray[np.int64], tokens: int) -> Iterator[RowIndices]:
    """`rows` in parts of similar length that hold at most `tokens` tokens with padding (one row may hold more)."""
    ordered = rows[np.argsort(lengths[rows], kind="stable")]
    start = 0
    for end in range(1, len(ordered) + 1):
        # Ascending lengths: the part's last row is its longest, so a part of m rows costs m times that length.
        if end == len(ordered) or (end + 1 - start) * lengths[ordered[end]] > tokens:
            yield ordered[start:end]
            start = end
