"""Near-duplicate detection by MinHash: groups of rows that are the same product, and each row's nearest other product.

Nodes are distinct normalised texts. Links between nodes carry a similarity: 1 for a shared picture file, else the Jaccard
similarity of the sets of words and word pairs, estimated by MinHash (Broder 1997) and found by banding (LSH).
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from core.arrays import Ints

FLOOR = 0.5
"""Less similar rows count as strangers: banding does not find them reliably."""
PLACEHOLDER_TEXTS = 20
"""A picture under more distinct texts than this is a placeholder ("no picture yet"): it says nothing about products."""
_PERMUTATIONS, _BANDS = 128, 32  # four values a band: a pair of similarity 0.5 is found with 87%, of 0.7 with 99.98%
_WINDOW = 8  # links per member of one bucket: thousands of texts from one template stay linear
_BLOCK = 2_000  # texts hashed at once: the shingles of a block stay in the cache


@dataclass(frozen=True)
class Links:
    """nodes: (n,) node of each row. left, right: (m,) linked nodes, left < right. similarity: (m,) in FLOOR..1."""

    nodes: Ints
    left: Ints
    right: Ints
    similarity: NDArray[np.float64]

    def among(self, rows: Ints) -> Links:
        """The links between these rows only, as if there were no others."""
        present, nodes = np.unique(self.nodes[rows], return_inverse=True)
        position = np.full(int(self.nodes.max()) + 1, -1, dtype=np.int64)
        position[present] = np.arange(len(present))
        left, right = position[self.left], position[self.right]
        kept = (left >= 0) & (right >= 0)
        return Links(nodes.astype(np.int64), left[kept], right[kept], self.similarity[kept])


def normalised(text: str) -> str:
    """Normalises case and white space, which do not make another product."""
    return " ".join(text.casefold().split())


def find_links(texts: Sequence[str], pictures: Sequence[str]) -> Links:
    """Links between all rows; `pictures` are the picture files' names, "" where there is none."""
    known: dict[str, int] = {}
    nodes = np.array([known.setdefault(normalised(text), len(known)) for text in texts], dtype=np.int64)
    near, estimate = _near_pairs(_signatures(list(known)))
    shown = _image_pairs(nodes, pictures)
    pairs = np.concatenate([shown, near])
    similarity = np.concatenate([np.ones(len(shown)), estimate])
    _, first = np.unique(pairs, axis=0, return_index=True)  # a shared picture comes first and wins
    return Links(nodes, pairs[first, 0], pairs[first, 1], similarity[first])


def product_groups(links: Links, threshold: float) -> Ints:
    """(n,) group number 0.. of each row: joined by chains of links of this similarity or more."""
    size = int(links.nodes.max()) + 1
    joined = links.similarity >= threshold
    graph = coo_matrix((np.ones(joined.sum()), (links.left[joined], links.right[joined])), shape=(size, size))
    return connected_components(graph, directed=False)[1].astype(np.int64)[links.nodes]


def nearest(links: Links, parts: Ints) -> NDArray[np.float64]:
    """(n,) similarity of each row to the most similar row of any other part; 0 where that is below FLOOR.

    parts: (n,) numbers 0..p-1, for example folds.
    """
    count, size = int(parts.max()) + 1, int(links.nodes.max()) + 1
    lowest, highest = np.full(size, count), np.full(size, -1)
    np.minimum.at(lowest, links.nodes, parts)
    np.maximum.at(highest, links.nodes, parts)
    spread = lowest != highest
    best = np.zeros((size, count))
    best[spread] = 1.0  # the same text stands in several parts
    for here, there in ((links.left, links.right), (links.right, links.left)):
        for part in range(count):
            visible = spread[there] | (lowest[there] != part)
            np.maximum.at(best[:, part], here[visible], links.similarity[visible])
    return best[links.nodes, parts]


def _image_pairs(nodes: Ints, pictures: Sequence[str]) -> Ints:
    """(m, 2) nodes that share a picture file, each linked to the next."""
    under: dict[str, set[int]] = defaultdict(set)
    for node, picture in zip(nodes.tolist(), pictures, strict=True):
        if picture:
            under[picture].add(node)
    chains = [sorted(members) for members in under.values() if 1 < len(members) <= PLACEHOLDER_TEXTS]
    pairs = [pair for chain in chains for pair in pairwise(chain)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _signatures(texts: list[str]) -> NDArray[np.uint32]:
    """(n, 128) MinHash signatures; texts without words have the signature of the empty set."""
    generator = np.random.default_rng(0)
    scale = generator.integers(0, 2**31, _PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    shift = generator.integers(0, 2**32, _PERMUTATIONS, dtype=np.uint32)
    words: dict[str, int] = {}
    blocks = [_block(texts[start : start + _BLOCK], words, scale, shift) for start in range(0, len(texts), _BLOCK)]
    return np.concatenate(blocks)


def _block(
    texts: list[str], words: dict[str, int], scale: NDArray[np.uint32], shift: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    signatures = np.full((len(texts), len(scale)), np.iinfo(np.uint32).max, dtype=np.uint32)
    split = [text.split() for text in texts]
    for word in {word for row in split for word in row}.difference(words):
        words[word] = zlib.crc32(word.encode())
    lengths = np.array([len(row) for row in split])
    filled = np.flatnonzero(lengths)
    if not len(filled):
        return signatures
    single = np.array([words[word] for row in split for word in row], dtype=np.uint32)
    starts = np.cumsum(lengths)[filled] - lengths[filled]
    pair = single * np.uint32(31) + np.roll(single, -1) * np.uint32(0x9E3779B1)
    ends = starts + lengths[filled] - 1
    pair[ends] = single[ends]  # the last word has no successor in its own text
    single, pair = _mixed(single), _mixed(pair)
    for column, (a, b) in enumerate(zip(scale, shift, strict=True)):
        smaller = np.minimum(single * a + b, pair * a + b)
        signatures[filled, column] = np.minimum.reduceat(smaller, starts)
    return signatures


def _mixed(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """MurmurHash3's 32-bit finaliser: spreads what CRC leaves linear."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


def _near_pairs(signatures: NDArray[np.uint32]) -> tuple[Ints, NDArray[np.float64]]:
    """Pairs (m, 2) of nodes that agree in one band at least, and the share of all 128 values that agree (m,)."""
    pairs, estimates = [np.empty((0, 2), dtype=np.int64)], [np.empty(0)]
    width = _PERMUTATIONS // _BANDS
    filled = np.flatnonzero(signatures.min(axis=1) < np.iinfo(np.uint32).max)
    for start in range(0, _PERMUTATIONS, width):
        band = np.ascontiguousarray(signatures[filled, start : start + width])
        keys = band.view(np.uint64) @ np.array([1, 0x9E3779B97F4A7C15], dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        for step in range(1, _WINDOW + 1):
            same = keys[order[step:]] == keys[order[:-step]]
            one, other = filled[order[:-step][same]], filled[order[step:][same]]
            if not len(one):
                break
            agreement = _agreement(signatures, one, other)
            kept = agreement >= FLOOR
            pairs.append(np.sort(np.stack([one[kept], other[kept]], axis=1), axis=1))
            estimates.append(agreement[kept])
    return np.concatenate(pairs), np.concatenate(estimates)


def _agreement(signatures: NDArray[np.uint32], one: Ints, other: Ints) -> NDArray[np.float64]:
    chunks = range(0, len(one), 100_000)
    return np.concatenate(
        [(signatures[one[c : c + 100_000]] == signatures[other[c : c + 100_000]]).mean(1) for c in chunks]
    )
