"""Catalog text as token ids: cleaned and tokenised once, kept in a content-keyed file, read in batches of similar length."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from core.files import atomic_path, digest

Rows = NDArray[np.intp]

_FORMAT = "tokens-1"
_CHUNK = 4_096
_TAIL_SHARE = 3
"""One part in so many of a cut text is its end."""

# A name must follow the bracket, so that "<5 kg" and "a < b" stay.
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--.*?-->", re.DOTALL)
_SPACE = re.compile(r"\s+")


def clean(text: str) -> str:
    """HTML tags and entities removed, whitespace collapsed, NUL bytes dropped; case kept."""
    without_tags = _TAG.sub(" ", html.unescape(_TAG.sub(" ", text)))
    return _SPACE.sub(" ", without_tags.replace("\0", " ")).strip()


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

    def batch(self, rows: Rows, max_length: int) -> tuple[Tensor, Tensor]:
        """(B, L) int64 ids and (B, L) bool mask of these texts, cut to `max_length`, padded to the longest of them."""
        cut = [self._cut(int(row), max_length) for row in rows]
        ids = np.full((len(cut), max(len(text) for text in cut)), self.pad, dtype=np.int64)
        mask = np.zeros(ids.shape, dtype=bool)
        for i, text in enumerate(cut):
            ids[i, : len(text)] = text
            mask[i, : len(text)] = True
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def _cut(self, row: int, max_length: int) -> NDArray[np.int32]:
        """The beginning and the end of a text that is too long: names stand first in catalog texts, quantities last.

        (Head and tail was also best in Sun et al. 2019, "How to fine-tune BERT for text classification?".)
        """
        text = self.ids[self.offsets[row] : self.offsets[row + 1]]
        if len(text) <= max_length:
            return text
        tail = max(max_length // _TAIL_SHARE, self.suffix)
        return np.concatenate([text[: max_length - tail], text[len(text) - tail :]])


def tokenise(texts: Sequence[str], tokenizer: Tokenizer, pad: int, cache: Path | None) -> Tokens:
    """Tokens of raw catalog texts. With a cache folder, computed once per content and tokenizer, by whichever process is first.

    The file holds int32: n, the n lengths, then all ids. It is written under another name and renamed: whole or absent.
    """
    suffix = _suffix(tokenizer)
    if cache is None:
        return _tokens(_encode(texts, tokenizer), pad, suffix)
    path = cache / "tokens" / f"{digest(_FORMAT, tokenizer.to_str(), *texts)}.npy"
    if not path.exists():
        encoded = _encode(texts, tokenizer)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, encoded)
    return _tokens(np.load(path, mmap_mode="r"), pad, suffix)


def _encode(texts: Sequence[str], tokenizer: Tokenizer) -> NDArray[np.int32]:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    encoded: list[NDArray[np.int32]] = []
    for start in range(0, len(texts), _CHUNK):
        batch = tokenizer.encode_batch([clean(text) for text in texts[start : start + _CHUNK]])
        encoded += [np.array(text.ids, dtype=np.int32) for text in batch]
    return np.concatenate([np.array([len(texts), *map(len, encoded)], dtype=np.int32), *encoded])


def _tokens(stored: NDArray[np.int32], pad: int, suffix: int) -> Tokens:
    n = int(stored[0])
    offsets = np.concatenate([[0], np.cumsum(stored[1 : n + 1], dtype=np.int64)])
    return Tokens(stored[n + 1 :], offsets, pad, suffix)


def _suffix(tokenizer: Tokenizer) -> int:
    special = tokenizer.encode("a").special_tokens_mask
    return special[::-1].index(0) if 0 in special else 0


def training_batches(lengths: NDArray[np.int64], batch_size: int, generator: torch.Generator) -> list[Rows]:
    """All rows once, in random batches of similar length: shuffled, sorted within 32 batches, batches shuffled."""
    order = torch.randperm(len(lengths), generator=generator).numpy()
    pool = 32 * batch_size
    batches: list[Rows] = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def micro_batches(rows: Rows, lengths: NDArray[np.int64], tokens: int) -> Iterator[Rows]:
    """`rows` in parts of similar length that hold at most `tokens` tokens with padding (one row may hold more)."""
    ordered = rows[np.argsort(lengths[rows], kind="stable")]
    start = 0
    for end in range(1, len(ordered) + 1):
        # Ascending lengths: the part's last row is its longest, so a part of m rows costs m times that length.
        if end == len(ordered) or (end + 1 - start) * lengths[ordered[end]] > tokens:
            yield ordered[start:end]
            start = end
