"""Fake CUDA: a real training of the documented shapes on tensors that have shape, type and device, and no values.

An operation on tensors of two devices fails as it would on a GPU; nothing is computed and nothing takes memory. What needs values
is answered here: losses are 1.0, no mask is full, and files of weights are not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CLIPVisionConfig

from core.architectures import architecture
from core.architectures.neural_architecture import NeuralModel
from core.arrays import RowIndices
from core.cache import Cache
from core.data.catalog import Catalog
from core.encoders.neobert import NeoBERT, NeoBERTConfig
from core.encoders.tiny import train_tokenizer
from core.encoders.transformers_encoders import build_vision
from core.fields.field_inputs import learn_fields, table_of
from core.inputs.augment import CLIP_MEAN, CLIP_STD
from core.inputs.tokens import training_batches
from core.nn.attention import Packing
from core.protocols.architecture import Context, make_config
from core.training import checkpoint, inference
from core.training.batching import Batch, Examples
from core.training.trainer import Training
from pricestack.testing.architectures import toy_catalog

VALUE = 1.0
CUDA = "cuda:0"
_ROWS, _VALID = 12, 4
_READS_A_VALUE = (
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.item.default,
    torch.ops.aten.is_nonzero.default,
)


class _Values(TorchDispatchMode):
    """Answers what reads values: a fake tensor has none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if isinstance(args[0] if args else None, FakeTensor):
            if func in _READS_A_VALUE:
                return VALUE if args[0].dtype.is_floating_point else args[0].dtype != torch.bool
            if (
                func is torch.ops.aten._amp_update_scale_.default
            ):  # raises or lowers the scale by whether gradients were finite
                return args[0]
        return func(*args, **(kwargs or {}))


def _numpy(tensor: Tensor) -> NDArray[Any]:
    """Zeros in place of values, and the error that a real tensor on a GPU gives."""
    if tensor.device.type != "cpu":
        raise TypeError(f"can't convert {tensor.device} device type tensor to numpy")
    return np.zeros(tuple(tensor.shape))


def _packing(mask: Tensor, full: bool) -> Packing:
    """As if half of each row were padding, or none: how many tokens a mask has is in its values."""
    rows, length = mask.shape
    each = length if full else -(-length // 2)
    places = torch.empty(rows * each, dtype=torch.int64, device=mask.device)
    return Packing(places, places, [each] * rows, torch.empty(rows + 1, dtype=torch.int32, device=mask.device))


def _to(network: nn.Module, device: str) -> nn.Module:
    """In place of `nn.Module.to`, which exchanges tensors in place: fake ones refuse that."""
    for module in network.modules():
        for name, weights in module._parameters.items():
            if weights is not None and weights.device != torch.device(device):
                module._parameters[name] = nn.Parameter(weights.detach().to(device), weights.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)
    return network


def _in_this_thread(work: Callable[[Any], Any], items: Sequence[Any], threads: int) -> Iterator[tuple[Any, Any]]:
    """In place of `side_by_side`: a mode of PyTorch holds for one thread."""
    return ((item, work(item)) for item in items)


@contextmanager
def fake_cuda(full: bool = False) -> Iterator[None]:
    """A GPU that multiplies bf16 in hardware, for tensors made inside; only what detects, reads values or writes is replaced.

    full: rows have no padding.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        patch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
        patch.setattr("torch.cuda.get_device_name", lambda _: "fake")
        patch.setattr(FakeTensor, "numpy", _numpy)
        patch.setattr(nn.Module, "to", _to)
        patch.setattr("core.encoders.neobert.pack", partial(_packing, full=full))
        patch.setattr(inference, "side_by_side", _in_this_thread)
        patch.setattr("core.training.trainer.training_batches", _outside(training_batches))
        patch.setattr(checkpoint, "write", lambda *_: None)
        patch.setattr(Training, "save_state", lambda _: None)
        with FakeTensorMode(allow_non_fake_inputs=True), _Values():
            yield


def _outside(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same on real tensors: order and batches are made on the processor, from values."""

    def run(*given: Any) -> Any:
        with unset_fake_temporarily():
            return work(*given)

    return run


@dataclass(frozen=True)
class _RealRows:
    """Examples whose batches are real tensors in the processor's memory, as a loader's workers make them."""

    of: Examples

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)

    def batch(self, rows: RowIndices, generator: torch.Generator | None) -> Batch:
        made: Batch = _outside(self.of.batch)(rows, generator)
        return made


def _settings(name: str, precision: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "text_encoder": "neobert", "precision": precision, "epochs": 1, "batch_size": 6, "max_length": 64,
        "loader_workers": 0, "tokens_per_pass": 150, "fields": "both",
    }  # fmt: skip
    return settings | ({"vision_encoder": "clip", "cached_views": 0} if name == "multimodal" else {})


def _network(name: str, config: Any, numbers: int, shape: Mapping[str, int] = MappingProxyType({})) -> Any:
    """The documented network: NeoBERT, or what `shape` changes of it, and CLIP ViT-B/32 in its published shape."""
    encoders: dict[str, nn.Module] = {"text": NeoBERT(NeoBERTConfig(**shape))}
    if name == "multimodal":
        clip = CLIPVisionConfig(patch_size=32).to_dict()
        encoders["vision"] = build_vision({"config": clip, "projected": True, "mean": CLIP_MEAN, "std": CLIP_STD})
    made: Any = architecture(name)
    network = made.network(encoders, config, numbers)
    network.prepare_encoder()
    return network


@dataclass(frozen=True)
class Seen:
    """What a fake training did. steps: taken. dtypes: of the encoder's matrix products, each once, with their device.

    learnt: devices of weights, gradients and moments. prices: how many were predicted. error: why it ended before.
    """

    steps: int = 0
    dtypes: tuple[str, ...] = ()
    learnt: tuple[str, ...] = ()
    prices: int = 0
    error: str = ""


def train_and_predict(
    name: str, precision: str, folder: Path, misplaced: str = "", settings: Mapping[str, Any] = MappingProxyType({})
) -> Seen:
    """An epoch, its evaluation and a prediction. misplaced: `training` or `prediction`, where a tensor stays on the processor."""
    catalog = toy_catalog(folder / "images", _ROWS + _VALID)
    made: Any = architecture(name)
    config: Any = make_config(made.Config, {**_settings(name, precision), **settings})
    context = Context(0, Cache(folder / "cache"), folder / "run", device=CUDA)
    fields = learn_fields(table_of(catalog, None))
    tokenizer = train_tokenizer(catalog.texts.tolist())
    with fake_cuda():
        network = _network(name, config, fields.width)
        model = NeuralModel(made, network, tokenizer, config, fields)

        def rows(part: Catalog) -> Any:
            with unset_fake_temporarily():
                return _RealRows(made.examples(model, part))

        train, valid = rows(catalog.take(np.arange(_ROWS))), rows(catalog.take(np.arange(_ROWS, _ROWS + _VALID)))
        network.to(CUDA)
        seen: set[str] = set()
        network.encoders["text"].transformer_encoder[0].qkv.register_forward_hook(
            lambda _, __, made: seen.add(f"{made.dtype} on {made.device.type}")
        )
        if misplaced:
            network.register_forward_hook(_misplacing(misplaced))
        training = Training(network, train, valid, config, context)
        try:
            training.epoch()
            training.evaluate()
            prices = inference.predict(network, rows(catalog.without_prices()), config, CUDA)
        except RuntimeError as error:
            return Seen(error=str(error))
        learning = training.optimiser.learning
        gradients = [weights.grad for weights in learning if weights.grad is not None]
        moments = [moment for _, moment in training.optimiser.tensors()]
        assert len(gradients) == len(learning) and len(moments) == 3 * len(learning), "all of them learnt"
        return Seen(training.at.step, tuple(sorted(seen)), _devices([*learning, *gradients, *moments]), len(prices))


def _devices(tensors: Iterable[Tensor]) -> tuple[str, ...]:
    return tuple(sorted({tensor.device.type for tensor in tensors}))


def _misplacing(mode: str) -> Callable[[Any, Any, Tensor], Tensor]:
    """Forward hook that adds a tensor which nobody moved to the GPU."""

    def add(network: Any, _: Any, outputs: Tensor) -> Tensor:
        return outputs + torch.zeros(len(outputs), 1) if network.training == (mode == "training") else outputs

    return add
