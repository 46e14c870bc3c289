"""Features of frozen encoders: what the encoder would answer, computed once, and read instead of asking it again."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from core.architectures import architecture
from core.architectures.multimodal import MultimodalConfig
from core.architectures.neural_model import NeuralConfig
from core.cache import Cache
from core.encoders.loading import load_encoder
from core.encoders.tiny import text_encoder
from core.errors import OutOfTime
from core.inputs.augment import normalise
from core.inputs.frozen_features import AugmentedViews, FrozenEncoder, ImageFeatures, image_features, text_states
from core.inputs.pixels import Pixels, prepare_pixels
from core.inputs.tokens import Tokens
from core.nn.heads import Pooling
from core.protocols.architecture import Context, Report, ignore_report, make_config
from pricestack.testing.architectures import small_settings, toy_catalog

FP16 = {"rtol": 2e-3, "atol": 2e-3}
SIZE = 32


def save_tower(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPVisionConfig(**shape, image_size=SIZE, patch_size=16, projection_dim=12)
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tower(tmp_path_factory.mktemp("clip"))


def some_pixels(pictures: int = 5, seed: int = 0) -> Pixels:
    """Pictures 1, 0, none, 2, 3, ... of smooth random colours."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (pictures, 4, 4, 3), dtype=np.uint8)
    array = coarse.repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2)
    return Pixels(np.array([1, 0, -1, *range(2, pictures)], dtype=np.int64), array, f"pictures-{pictures}-{seed}")


def frozen_tower(tower: Path, cache: Path, **where: Any) -> FrozenEncoder:
    return FrozenEncoder(load_encoder(str(tower), "vision")[0].eval(), Cache(cache), **where)


def computed(tower: str, cache: str) -> None:
    """In a process of its own."""
    image_features(some_pixels(), frozen_tower(Path(tower), Path(cache)), AugmentedViews(3, 0.5), pooled=False)


def count_calls(encoder: nn.Module, calls: list[int] | None = None) -> list[int]:
    """How many rows each forward pass of the encoder has, from now on."""
    calls = [] if calls is None else calls
    encoder.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    return calls


def stored(cache: Path, kind: str) -> list[NDArray[np.float16]]:
    return [np.load(path) for path in sorted((cache / kind).glob("*/*.npy"))]


def test_features_are_what_the_tower_answers_to_the_clean_pictures(tower: Path, tmp_path: Path) -> None:
    pixels, frozen = some_pixels(), frozen_tower(tower, tmp_path)
    features = image_features(pixels, frozen, AugmentedViews(2, 0.2), pooled=False)
    encoder: Any = frozen.encoder
    with torch.inference_mode():
        black = np.zeros((1, SIZE, SIZE, 3), np.uint8)
        squares = torch.from_numpy(np.concatenate([pixels.array, black]))
        answers = encoder(normalise(squares, encoder.mean, encoder.std))
    assert isinstance(features.array, np.memmap)
    assert (features.array.shape, features.array.dtype) == ((6, 3, 5, 12), np.float16)
    np.testing.assert_allclose(features.array[:, 0], answers.numpy(), **FP16)
    rows = np.array([2, 0, 3])
    np.testing.assert_allclose(features.take(rows, None).numpy(), answers[[-1, 1, 2]].numpy(), **FP16)


def test_pooled_features_are_the_mean_of_all_tokens(tower: Path, tmp_path: Path) -> None:
    frozen = frozen_tower(tower, tmp_path)
    every, pooled = (
        image_features(some_pixels(), frozen, AugmentedViews(2, 0.2), pooled=pooled) for pooled in (False, True)
    )
    assert pooled.array.shape == (6, 3, 1, 12)
    np.testing.assert_allclose(pooled.array[:, :, 0], every.array.astype(np.float32).mean(axis=2), **FP16)


def test_views_differ_from_each_other_and_are_the_same_in_every_process(tower: Path, tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=computed, args=(str(tower), str(tmp_path / "there")))
    process.start()
    process.join()
    assert process.exitcode == 0
    (there,) = stored(tmp_path / "there", "features")
    for threads in (1, 2):
        frozen = frozen_tower(tower, tmp_path / f"here-{threads}", threads=threads)
        here = image_features(some_pixels(), frozen, AugmentedViews(3, 0.5), pooled=False).array
        np.testing.assert_allclose(there, here, **FP16)
    for one, other in combinations(range(4), 2):
        assert (np.abs(there[:-1, one] - there[:-1, other]).max(axis=(1, 2)) > 0.02).all()


def test_a_picture_has_the_same_views_among_other_pictures(tower: Path, tmp_path: Path) -> None:
    frozen, few = frozen_tower(tower, tmp_path), some_pixels(3)
    many = replace(few, array=np.concatenate([some_pixels(20, seed=1).array, few.array]), key="more")
    alone, among = (
        image_features(pixels, frozen, AugmentedViews(2, 0.5), pooled=False).array for pixels in (few, many)
    )
    np.testing.assert_allclose(among[20:], alone, **FP16)


def test_one_entry_per_pictures_encoder_views_and_pooling(tower: Path, tmp_path: Path) -> None:
    frozen = frozen_tower(tower, tmp_path / "cache")
    calls = count_calls(frozen.encoder)
    same = [frozen, frozen_tower(tower, tmp_path / "cache"), frozen_tower(tower, tmp_path / "cache", threads=1)]
    for one in same:
        image_features(some_pixels(), one, AugmentedViews(2, 0.2), pooled=False)
    assert sum(calls) == 6 * 3
    assert len(stored(tmp_path / "cache", "features")) == 1
    given: dict[str, Any] = {
        "pixels": some_pixels(),
        "frozen": frozen,
        "views": AugmentedViews(2, 0.2),
        "pooled": False,
    }
    others: list[dict[str, Any]] = [
        {"pixels": some_pixels(seed=1)},
        {"frozen": frozen_tower(save_tower(tmp_path / "other", seed=1), tmp_path / "cache")},
        {"frozen": frozen_tower(tower, tmp_path / "cache", precision="bf16")},
        *({"views": AugmentedViews(count, erase)} for count, erase in ((2, 0.3), (1, 0.2), (0, 0.2))),
        {"pooled": True},
    ]
    for change in (*others, {"views": AugmentedViews(0, 0.9)}):
        image_features(**given | change)
    assert len(stored(tmp_path / "cache", "features")) == 1 + len(others)


def test_random_weights_have_different_keys(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert len({FrozenEncoder(text_encoder(50), Cache(tmp_path)).key for _ in range(2)}) == 2


def test_the_number_of_threads_is_as_before(tower: Path, tmp_path: Path) -> None:
    before, seen = torch.get_num_threads(), []
    image_features(some_pixels(), frozen_tower(tower, tmp_path, threads=2), AugmentedViews(), pooled=False)
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert (torch.get_num_threads(), seen) == (before, [before])


def test_a_failing_encoder_leaves_no_entry(tower: Path, tmp_path: Path) -> None:
    frozen = frozen_tower(tower, tmp_path)
    handle = frozen.encoder.register_forward_hook(lambda module, inputs, output: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        image_features(some_pixels(40), frozen, AugmentedViews(), pooled=False)
    assert not stored(tmp_path, "features")
    handle.remove()
    assert image_features(some_pixels(40), frozen, AugmentedViews(), pooled=False).array.shape[0] == 41


def test_a_deadline_ends_the_reading_of_pictures(tower: Path, tmp_path: Path) -> None:
    late = Context(0, Cache(tmp_path / "cache"), tmp_path, deadline=0.0)
    frozen = frozen_tower(tower, tmp_path, check_time=late.check_time)
    with pytest.raises(OutOfTime, match="reading pictures"):
        image_features(some_pixels(40), frozen, AugmentedViews(), pooled=False)
    assert not stored(tmp_path, "features")


@settings(max_examples=25, deadline=None)
@given(views=st.integers(0, 3), pictures=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_training_takes_augmented_views_and_evaluation_the_clean_one(views: int, pictures: int, seed: int) -> None:
    # Every feature says which picture and view it is of.
    there = np.arange(pictures + 1)[:, None] * 10 + np.arange(views + 1)
    features = ImageFeatures(np.arange(-1, pictures), there.astype(np.float16)[..., None, None])
    rows = np.arange(pictures + 1).repeat(30)
    clean = features.take(rows, None).flatten()
    assert (clean == torch.from_numpy(np.where(features.index < 0, pictures, features.index)[rows] * 10)).all()
    drawn, again = (features.take(rows, torch.Generator().manual_seed(seed)).flatten() - clean for _ in range(2))
    assert torch.equal(drawn, again)
    assert set(drawn.tolist()) <= (set(range(1, views + 1)) or {0})
    assert views < 2 or len(set(drawn.tolist())) > 1


def some_tokens(texts: int = 30) -> Tokens:
    random = np.random.default_rng(0)
    lengths = random.integers(2, 40, texts)
    ids = random.integers(4, 50, lengths.sum()).astype(np.int32)
    return Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), 0, 1)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_states_are_what_the_text_encoder_answers(pooling: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokens, encoder = some_tokens(), text_encoder(50).eval()
    calls, frozen = count_calls(encoder), FrozenEncoder(encoder, Cache(tmp_path))
    states = [text_states(tokens, length, 100, frozen, pooling) for length in (12, 16, 16)]
    assert sum(calls) == 2 * len(tokens)
    ids, mask = tokens.batch(np.arange(len(tokens)), 16)
    with torch.inference_mode():
        expected = Pooling(pooling, 64)(encoder(ids, mask), mask)
    np.testing.assert_allclose(states[1], expected.numpy(), **FP16)
    assert np.abs(states[0] - states[1]).max() > 0.01


def test_states_of_the_same_texts_in_another_selection_are_not_computed_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokens, encoder = some_tokens(), text_encoder(50).eval()
    rows = [tokens.ids[start:end] for start, end in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)]

    def some(chosen: list[int]) -> Tokens:
        ids = [rows[row] for row in chosen]
        return Tokens(np.concatenate(ids), np.cumsum([0, *map(len, ids)]), tokens.pad, tokens.suffix)

    calls, frozen = count_calls(encoder), FrozenEncoder(encoder, Cache(tmp_path))
    first, second, new = list(range(12)), list(range(12, 24)), [26, 25]
    parts = [text_states(some(chosen), 16, 100, frozen, "mean") for chosen in (first, second)]
    assert sum(calls) == 24
    mixed = [20, 3, *new, 11, 3]
    states = text_states(some(mixed), 16, 100, frozen, "mean")
    assert sum(calls) == 26
    np.testing.assert_array_equal(states[[0, 1, 4, 5]], [parts[1][8], parts[0][3], parts[0][11], parts[0][3]])
    np.testing.assert_allclose(states[2:4], text_states(some(new), 16, 100, frozen, "mean"), **FP16)
    for length, pooling in ((12, "mean"), (16, "cls")):
        assert np.abs(text_states(some(mixed), length, 100, frozen, pooling) - states).max() > 0.01
    assert sum(calls) == 26 + 2 * len(mixed)


class Place:
    """A small catalog, of which two rows of three have no picture, and a frozen tower."""

    def __init__(self, tower: Path, folder: Path) -> None:
        self.tower, self.folder, self.cache = tower, folder, folder / "cache"
        self.catalog = toy_catalog(folder / "images", rows=36)
        prepare_pixels({"train": self.catalog}, Cache(self.cache), SIZE)

    def train(
        self, seed: int = 0, watch: Callable[[Any], object] = id, report: Report = ignore_report, **given: object
    ) -> Any:
        """A model; watch: is called with the network before it learns."""
        made: Any = architecture("multimodal")
        build = made.network
        made.network = lambda *given: _seen(build(*given), watch)
        config = make_config(made.Config, {**small_settings("multimodal"), "vision_encoder": str(self.tower), **given})
        context = Context(seed, Cache(self.cache), self.folder / "run", report=report)
        return made.train(self.catalog.take(np.arange(24)), self.catalog.take(np.arange(24, 36)), config, context)

    def calls(self, **given: object) -> tuple[int, int]:
        """How many pictures the tower is shown in a training before the end of the first epoch, and after it."""
        calls: list[int] = []
        at_reports: list[int] = []
        self.train(
            watch=lambda network: count_calls(network.encoders["vision"], calls),
            report=lambda epoch, metrics: at_reports.append(sum(calls)),
            **given,
        )
        return at_reports[0], sum(calls) - at_reports[0]


def _seen(network: Any, watch: Callable[[Any], object]) -> Any:
    watch(network)
    return network


@pytest.fixture
def place(tower: Path, tmp_path: Path) -> Place:
    return Place(tower, tmp_path)


def test_training_reads_only_from_the_cache(place: Place) -> None:
    assert place.calls(cached_views=3) == (13 * 4, 0)  # 12 pictures and the black square
    assert place.calls(cached_views=3, learning_rate=1e-3) == (0, 0)


@pytest.mark.parametrize("given", [{"cached_views": 0}, {"use_mixup": True}])
def test_live_pixels_where_no_cached_view_will_do(place: Place, given: dict[str, object]) -> None:
    place.train(**given)
    assert place.calls(**given) == (24, 24)  # the validation rows' clean pictures come from the cache all the same
    assert {array.shape[1] for array in stored(place.cache, "features")} == {1}


def test_without_augmentation_only_the_clean_picture_is_kept(place: Place) -> None:
    assert place.calls(augment=False)[1] == 0
    assert {array.shape[1] for array in stored(place.cache, "features")} == {1}


def test_all_seeds_share_the_views(place: Place) -> None:
    place.train(seed=0)
    entries = len(stored(place.cache, "features"))
    place.train(seed=1, dropout=0.2)
    assert len(stored(place.cache, "features")) == entries


@pytest.mark.parametrize(
    "given", [{}, {"image_tokens": "pooled"}, {"cached_views": 0}, {"freeze_text": True, "pooling": "mean"}]
)
def test_a_saved_model_predicts_the_same_from_live_pixels(place: Place, given: dict[str, object]) -> None:
    model = place.train(**given)
    nn.init.normal_(model.network.no_picture)
    calls = count_calls(model.network.encoders["vision"])
    cached = model.predict(place.catalog)
    assert not calls
    model.save(place.folder / "saved")
    loaded: Any = architecture("multimodal").load(place.folder / "saved")
    calls = count_calls(loaded.network.encoders["vision"])
    np.testing.assert_allclose(loaded.predict(place.catalog), cached, rtol=2e-3)
    assert sum(calls) == len(place.catalog)


def test_a_missing_picture_has_the_black_squares_features_and_the_learned_embedding(place: Place) -> None:
    model = place.train()
    row = model.architecture.examples(model, place.catalog).batch(np.array([1, 3]), None).inputs
    assert row["has_picture"].tolist() == [False, True]
    encoder = model.network.encoders["vision"]
    with torch.inference_mode():
        black = encoder(normalise(torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8), encoder.mean, encoder.std))
    np.testing.assert_allclose(row["features"][:1].numpy(), black.numpy(), **FP16)
    before = model.predict(place.catalog)
    nn.init.normal_(model.network.no_picture)
    changed = ~np.isclose(model.predict(place.catalog), before, rtol=1e-6)
    assert changed.tolist() == [i % 3 != 0 for i in range(len(place.catalog))]


def test_a_frozen_text_encoder_is_asked_once(place: Place) -> None:
    made: Any = architecture("text")
    config = NeuralConfig(**{**small_settings("text"), "freeze_text": True, "pooling": "mean"})
    context = Context(0, Cache(place.cache), place.folder / "run")
    model: Any = made.train(place.catalog, None, config, context)
    calls = count_calls(model.network.encoders["text"])
    cached = model.predict(place.catalog)
    assert not calls
    inputs = set(model.architecture.examples(model, place.catalog).batch(np.arange(3), None).inputs)
    assert inputs == {"states", "numbers", "words"}
    model.save(place.folder / "saved")
    np.testing.assert_allclose(made.load(place.folder / "saved").predict(place.catalog), cached, rtol=2e-3)


def test_learned_pooling_of_a_frozen_text_encoder_stays_live(place: Place) -> None:
    model = place.train(freeze_text=True, pooling="attention")
    assert "input_ids" in model.architecture.examples(model, place.catalog).batch(np.arange(3), None).inputs
    assert not stored(place.cache, "states")


def test_no_pictures_at_all(place: Place) -> None:
    place.catalog = replace(place.catalog, links=np.full(len(place.catalog), "", dtype=object))
    assert np.isfinite(place.train().predict(place.catalog)).all()
    assert {array.shape[0] for array in stored(place.cache, "features")} == {1}


def equal(one: dict[str, object], other: dict[str, object]) -> bool:
    return MultimodalConfig(**one).canonical() == MultimodalConfig(**other).canonical()  # type: ignore[arg-type]


def test_canonical_configs_are_equal_where_trainings_are() -> None:
    clip, tiny = {"vision_encoder": "clip"}, {"vision_encoder": "tiny-vision"}
    more = {"cached_views": 9}
    frozen, live = {"freeze_vision": True}, {"freeze_vision": False}
    for unused in (tiny, clip | live, clip | {"augment": False}, clip | {"use_mixup": True}):
        assert equal(unused, unused | more)
    assert equal(clip, clip | frozen) and equal(tiny, tiny | live)
    for base, change in (
        (clip, more),
        (clip, {"cached_views": 0}),
        (tiny | frozen, more),
        (clip, live),
        (tiny, frozen),
    ):
        assert not equal(base, base | change)
