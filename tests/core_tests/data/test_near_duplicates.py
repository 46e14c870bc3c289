from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from core.data.near_duplicates import FLOOR, PLACEHOLDER_TEXTS, Links, find_links, nearest, product_groups

WORDS = [f"word{number}" for number in range(400)]


def linked(texts: list[str], pictures: list[str] | None = None) -> Links:
    return find_links(texts, [""] * len(texts) if pictures is None else pictures)


def jaccard(one: str, other: str) -> float:
    sets = []
    for text in (one, other):
        words = text.split()
        sets.append({*words, *pairwise(words)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_case_and_white_space_make_no_other_product() -> None:
    groups = product_groups(linked(["Green  Tea\n20 bags", "green tea 20 BAGS ", "black tea"]), 1.0)
    assert groups[0] == groups[1] != groups[2]


@pytest.mark.parametrize("changed", [1, 5, 15])
def test_the_estimate_is_near_the_true_jaccard(changed: int) -> None:
    words = WORDS[:150]
    other = words.copy()
    for place in np.linspace(5, 140, changed).astype(int):
        other[place] = f"else{place}"
    links = linked([" ".join(words), " ".join(other), " ".join(WORDS[200:])])
    assert links.left.tolist() == [0]
    assert links.right.tolist() == [1]
    # Three standard errors of 128 Bernoulli draws at the most uncertain similarity.
    assert links.similarity[0] == pytest.approx(jaccard(" ".join(words), " ".join(other)), abs=3 * 0.5 / 128**0.5)


def test_a_chain_of_near_texts_is_one_group_only_below_its_similarity() -> None:
    base = " ".join(WORDS[:100])
    links = linked([base, base + " one", base + " one two", " ".join(WORDS[200:300])])
    assert product_groups(links, 0.85).tolist() == [0, 0, 0, 1]
    assert len(set(product_groups(linked([base, " ".join(WORDS[50:150])]), 0.85))) == 2


def test_a_shared_picture_joins_but_a_placeholder_does_not() -> None:
    groups = product_groups(linked(["a b", "c d", "e f"], ["p.jpg", "p.jpg", ""]), 1.0)
    assert groups[0] == groups[1] != groups[2]
    count = PLACEHOLDER_TEXTS + 1
    assert len(set(product_groups(linked(WORDS[:count], ["none.jpg"] * count), 1.0))) == count


def test_empty_texts_are_the_same_text_and_near_nothing() -> None:
    links = linked(["", "  ", "tea"])
    assert product_groups(links, FLOOR).tolist() == [0, 0, 1]
    assert len(links.left) == 0


def test_nearest_looks_at_other_parts_only() -> None:
    base = " ".join(WORDS[:100])
    links = linked([base, base, base + " one", " ".join(WORDS[200:300])])
    assert nearest(links, np.array([0, 0, 0, 1])).tolist() == [0.0, 0.0, 0.0, 0.0]
    assert nearest(links, np.array([0, 1, 1, 1])).tolist()[:2] == [1.0, 1.0]
    apart = nearest(links, np.array([0, 0, 1, 1]))
    assert apart[0] == apart[1] == apart[2] == links.similarity[0]
    assert apart[3] == 0.0


def test_links_among_rows_forget_the_others() -> None:
    base = " ".join(WORDS[:100])
    links = linked([base, "x", base + " one", base + " one two"]).among(np.array([0, 1, 3]))
    assert links.nodes.tolist() == [0, 1, 2]
    assert set(zip(links.left.tolist(), links.right.tolist(), strict=True)) <= {(0, 2)}
    assert product_groups(links, 0.85).tolist() == [0, 1, 0]


def test_the_order_of_rows_does_not_change_similarities() -> None:
    base = " ".join(WORDS[:60])
    forward, backward = linked([base, base + " one two three"]), linked([base + " one two three", base])
    assert forward.similarity.tolist() == backward.similarity.tolist()


def test_thousands_of_texts_from_one_template_stay_linear() -> None:
    base = " ".join(WORDS[:120])
    links = linked([f"{base} {number}" for number in range(3000)])
    assert len(links.left) < 3000 * 8 * 32
    assert len(set(product_groups(links, 0.85))) == 1
