"""The saved form of a network: frozen encoders are files of their own, which models share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.architectures import architecture
from core.architectures.neural_architecture import NeuralModel
from core.atomic_files import read_json
from core.protocols.architecture import make_config
from core.training import checkpoint
from tests.core_tests.classical_toys import context, products, small_encoder
from tests.errors import refused

TEXT = architecture("text")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_encoder(tmp_path_factory.mktemp("encoder") / "small")


@pytest.fixture
def trained(encoder: Path, tmp_path: Path) -> NeuralModel:
    settings = {"text_encoder": str(encoder), "freeze_text": True, "epochs": 1, "regressor_width": 8, "max_length": 40}
    model = TEXT.train(products(40), None, make_config(TEXT.Config, settings), context(tmp_path))
    assert isinstance(model, NeuralModel)
    return model


def test_models_share_the_file_of_a_frozen_encoder(trained: NeuralModel, tmp_path: Path) -> None:
    for name in ("one", "two"):
        trained.save(tmp_path / name)
    one, two = (tmp_path / name / "encoder-text.safetensors" for name in ("one", "two"))
    assert one.samefile(two)
    assert not [name for name in checkpoint.read(tmp_path / "one", "model")[0] if name.startswith("encoders.")]
    one.unlink()
    loaded = TEXT.load(tmp_path / "two")
    assert isinstance(loaded, NeuralModel)
    for name, tensor in trained.network.state_dict().items():
        np.testing.assert_array_equal(loaded.network.state_dict()[name].numpy(), tensor.numpy())


def test_a_model_without_a_cache_is_whole_by_itself(trained: NeuralModel, tmp_path: Path) -> None:
    trained.save(tmp_path / "one")
    TEXT.load(tmp_path / "one").save(tmp_path / "copy")
    assert not (tmp_path / "one" / "encoder-text.safetensors").samefile(tmp_path / "copy" / "encoder-text.safetensors")
    loaded = TEXT.load(tmp_path / "copy")
    np.testing.assert_allclose(loaded.predict(products(9)), trained.predict(products(9)), rtol=1e-3)


def test_a_model_of_the_format_before_is_read(trained: NeuralModel, tmp_path: Path) -> None:
    trained.save(tmp_path / "now")
    record = {key: value for key, value in read_json(tmp_path / "now" / "model.json").items() if key != "frozen"}
    checkpoint.write(tmp_path / "now", "model", trained.network.state_dict(), {**record, "format": 2})
    (tmp_path / "now" / "encoder-text.safetensors").unlink()
    np.testing.assert_allclose(
        TEXT.load(tmp_path / "now").predict(products(9)), trained.predict(products(9)), rtol=1e-3
    )


def test_a_lost_or_damaged_encoder_is_said(trained: NeuralModel, tmp_path: Path) -> None:
    trained.save(tmp_path / "one")
    path = tmp_path / "one" / "encoder-text.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with refused("checkpoint-damaged"):
        TEXT.load(tmp_path / "one")
    path.unlink()
    with refused("checkpoint-damaged"):
        TEXT.load(tmp_path / "one")
