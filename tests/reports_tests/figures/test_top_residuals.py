"""The worst rows: their order, what they carry, their pictures, and the guess at what went wrong."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data.catalog import Catalog
from core.data.vocabulary import read_vocabulary
from core.quality.label_noise import LabelNoise, SuspectLabel, word_matrix
from core.store.oof_store import Member
from core.store.workspace import Workspace
from reports.figures.top_residuals import (
    IMAGE_SIDE,
    MOST_RESIDUALS,
    TEXT_LIMIT,
    CauseFinder,
    images_of,
    shortened,
    top_residuals,
)
from tests.reports_tests.toys import add_member, with_texts


def cause_finder(train: Catalog, members: Sequence[Member] = (), findings: Sequence[SuspectLabel] = ()) -> CauseFinder:
    oof = np.column_stack([member.oof for member in members]) if members else np.empty((len(train), 0))
    return CauseFinder(train, word_matrix(read_vocabulary(list(train.texts)), len(train)), oof, findings)


def test_top_residuals_are_sorted_and_carry_every_members_price(toy_workspace: Workspace) -> None:
    prices = toy_workspace.train.known_prices
    predicted = prices.copy()
    predicted[7], predicted[3] = prices[7] * 100, prices[3] * 10
    holes = np.full(len(prices), np.nan)
    members = [add_member(toy_workspace, "a-1", predicted), add_member(toy_workspace, "b-1", holes)]
    first, second, *rest = top_residuals(
        toy_workspace.train, predicted, toy_workspace.folds, members, cause_finder(toy_workspace.train, members)
    )
    assert (first["row"], second["row"]) == (8, 4) and len(rest) == MOST_RESIDUALS - 2
    assert first["smape"] == pytest.approx(200 * 99 / 101)
    assert first["members"] == {"a-1": predicted[7], "b-1": None}


def test_long_texts_are_cut_with_their_length_known(toy_workspace: Workspace) -> None:
    workspace = with_texts(toy_workspace, ["y" * 50_000])
    predicted = workspace.train.known_prices.copy()
    predicted[0] *= 50
    worst = top_residuals(workspace.train, predicted, workspace.folds, [], cause_finder(workspace.train))[0]
    assert len(worst["text"]) == TEXT_LIMIT and worst["text_length"] == 50_000


@pytest.mark.parametrize("text", ["", "short", "a b\n\tc", "word " * 100, "x" * 500, " " * 1000 + "late"])
def test_shortened_text_is_one_short_line(text: str) -> None:
    found = shortened(text)
    assert len(found) <= 162 and "\n" not in found
    assert found.endswith("…") == (len(" ".join(text.split())) > 160 or len(text) > 640)


def cause(
    workspace: Workspace, row: int, times: float, findings: Sequence[SuspectLabel] = (), agreed: bool = True
) -> str:
    """The cause that is guessed for a row whose price was missed by so many times, by all members or by one."""
    train = workspace.train
    predicted, other = train.known_prices.copy(), train.known_prices.copy()
    predicted[row] *= times
    if agreed:
        other[row] *= 1.1 * times
    members = [Member("a", predicted, predicted, {}), Member("b", other, other, {})]
    [found] = cause_finder(train, members, findings).causes(np.array([row]), predicted)
    return f"{found.kind}: {found.sentence}"


def test_members_that_agree_speak_against_the_label(toy_workspace: Workspace) -> None:
    assert cause(toy_workspace, 5, 20.0).startswith("label looks wrong: all 2 members agree on ")


def test_what_the_checks_found_comes_first(toy_workspace: Workspace) -> None:
    finding = SuspectLabel(
        str(toy_workspace.train.ids[5]), LabelNoise.OUTLIER, 9.0, 1.0, 2.0, "4.5 times what others cost"
    )
    assert cause(toy_workspace, 5, 20.0, [finding]) == "label looks wrong: expected 1 to 2: 4.5 times what others cost"


def test_a_miss_by_the_pack_count_is_called_a_misread_quantity(toy_workspace: Workspace) -> None:
    workspace = with_texts(toy_workspace, ["Item Name: Acme tea, Pack of 9\nBullet Point 1: fine tea"])
    assert "quantity misread: the price is 9.0 times what was predicted, and the text states pack 9" in cause(
        workspace, 0, 1 / 9, agreed=False
    )


def test_an_isolated_row_is_named(toy_workspace: Workspace) -> None:
    workspace = with_texts(toy_workspace, ["zymurgy quixotic"])
    assert cause(workspace, 0, 3.0, agreed=False).startswith("no close neighbour")


def test_images_are_small_and_missing_or_broken_ones_are_left_out(tmp_path: Path) -> None:
    Image.new("RGB", (900, 300), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = images_of(["red.png", "", "broken.png", "absent.png", "red.png"], tmp_path)
    assert list(found) == ["red.png"]
    data = base64.b64decode(found["red.png"].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(data)).size == (IMAGE_SIDE, IMAGE_SIDE)
    assert images_of(["red.png"], None) == {}
