"""What drove a price: the text is priced once more without each of its pieces (occlusion; Zeiler and Fergus 2014, section 3)."""

from __future__ import annotations

import re
from itertools import pairwise

MOST_PIECES = 24
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|,\s+(?=\S)")
_SHORT = 40
"""Lines of up to so many characters are pieces; longer ones are taken apart at sentences and commas."""


def pieces_of(text: str) -> list[tuple[int, int]]:
    """(start, end) of at most MOST_PIECES pieces, in order; the last one holds all that is left of a long text."""
    found: list[tuple[int, int]] = []
    for line in re.finditer(r"[^\n]*\S[^\n]*", text):
        found += _parts(text, line.start(), line.end())
    if len(found) > MOST_PIECES:
        found = [*found[: MOST_PIECES - 1], (found[MOST_PIECES - 1][0], found[-1][1])]
    return found


def without(text: str, piece: tuple[int, int]) -> str:
    start, end = piece
    return text[:start] + text[end:]


def _parts(text: str, start: int, end: int) -> list[tuple[int, int]]:
    if end - start <= _SHORT:
        return [(start, end)]
    cuts = [start, *(start + cut.end() for cut in _SENTENCE.finditer(text[start:end])), end]
    return [(begin, stop) for begin, stop in pairwise(cuts) if text[begin:stop].strip()]
