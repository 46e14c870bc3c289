"""Adapters for encoders of the `transformers` library: loading, states, fast attention and dropout in training."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
    AutoModel,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    SiglipVisionModel,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils import logging

from core.atomic_files import read_json
from core.encoders.presets import Part
from core.encoders.weights import tensor_shapes
from core.errors import UserError
from core.inputs.augment import CLIP_MEAN, CLIP_STD, Triple
from core.nn.attention import attend, plain_pays, quicken

logging.disable_progress_bar()  # loading takes a second, and the commands have a display of their own
# Its table of tensors that stay unused (heads, the text half of CLIP) is no news; what is missing is an error of `_load`.
logging.get_logger("transformers.modeling_utils").addFilter(lambda record: "LOAD REPORT" not in record.getMessage())

_UNREAD = 512
"""Positions of a text encoder that does not say how many it has."""
_UNSIZED = 224
"""Edge of the images of a convolutional encoder whose files do not state it: they were trained on ImageNet's usual size."""


class HubText(nn.Module):
    """(B, L) ids and (B, L) mask to (B, L, width) last hidden states."""

    def __init__(self, model: Any, max_positions: int) -> None:
        super().__init__()
        self.model = quickened(model)
        self.width = int(model.config.hidden_size)
        self.max_positions = max_positions
        self.pad = int(getattr(model.config, "pad_token_id", None) or 0)
        # Models that read from left to right would keep keys and values of each token for a next one.
        self._asks = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask.long(), **self._asks).last_hidden_state

    @property
    def spec(self) -> dict[str, Any]:
        return {"kind": "hub-text", "config": self.model.config.to_dict(), "max_positions": self.max_positions}


class HubVision(nn.Module):
    """(B, 3, size, size) normalised pixels to (B, T, width) states of all patches.

    CLIP's go through its post-layernorm and, where the weights have one, its visual projection: `transformers` does that
    for the first token alone. Each place of a convolutional encoder's last map is a patch. shape: size and width of an
    encoder whose config does not state both.
    """

    def __init__(self, model: Any, mean: Triple, std: Triple, shape: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.model = quickened(model)
        self.mean, self.std = mean, std
        self.shape = shape
        self.projected = isinstance(model, CLIPVisionModelWithProjection)
        self.size, self.width = shape or (int(model.config.image_size), int(model.config.hidden_size))
        if self.projected:
            self.width = int(model.config.projection_dim)

    def forward(self, pixels: Tensor) -> Tensor:
        tower = self.model.vision_model if self.projected else self.model
        states = tower(pixel_values=pixels).last_hidden_state
        if isinstance(tower, CLIPVisionModel):
            states = tower.post_layernorm(states)
        if states.dim() == 4:
            states = states.flatten(2).transpose(1, 2).contiguous()  # features are written as they lie in memory
        return self.model.visual_projection(states) if self.projected else states

    def train(self, mode: bool = True) -> HubVision:
        """Batch norms keep the statistics of their training: those of a micro-batch depend on how rows were put together."""
        super().train(mode)
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    @property
    def spec(self) -> dict[str, Any]:
        config = self.model.config.to_dict()
        spec = {"kind": "hub-vision", "config": config, "projected": self.projected, "mean": self.mean, "std": self.std}
        return spec if self.shape is None else {**spec, "shape": self.shape}


def is_known(kind: str) -> bool:
    """True if `transformers` itself has this model type."""
    return kind in CONFIG_MAPPING


def reads(folder: Path) -> Part:
    """Part that the encoder in the folder reads, by its config: models of text and images count as vision, for their tower."""
    config = _read(folder)
    return (
        "vision" if any(hasattr(config, name) for name in ("vision_config", "image_size", "num_channels")) else "text"
    )


def load_text(folder: Path, tokenizer_limit: int | None) -> HubText:
    """The text encoder in a folder of config.json and safetensors."""
    config = _read(folder)
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"the model in {folder} ({config.model_type}) is an encoder with a decoder, and an encoder alone is needed",
            code="encoder-has-decoder",
            hint="name an encoder; docs/encoders.md lists families",
        )
    model = _load(AutoModel, folder, config)
    return HubText(model, _positions(model, tokenizer_limit))


def positions(folder: Path, tokenizer_limit: int | None) -> int:
    """`max_positions` that the text encoder in the folder will have; reads no weights."""
    with torch.device("meta"):
        return _positions(AutoModel.from_config(_read(folder)), tokenizer_limit)


def load_vision(folder: Path) -> HubVision:
    """The vision encoder in a folder; of a CLIP or SigLIP model, its vision tower."""
    config = _read(folder)
    kind, tower = config.model_type, getattr(config, "vision_config", config)
    if kind == "clip":  # the tower's own number may be a default: only the whole model's is that of its weights
        tower.projection_dim = config.projection_dim
    processor = _processor(folder)
    model = _load(_vision_class(kind, "visual_projection.weight" in tensor_shapes(folder)), folder, tower)
    shape = None
    if not isinstance(getattr(model.config, "hidden_size", None), int):
        shape = _probed(model.config, processor)
    elif not isinstance(getattr(model.config, "image_size", None), int):
        raise _no_patches(kind)
    return HubVision(model, *_statistics(processor, kind), shape)


def build_text(spec: dict[str, Any]) -> HubText:
    """The network that `spec` describes, with random weights."""
    return HubText(AutoModel.from_config(_config(spec)), spec["max_positions"])


def build_vision(spec: dict[str, Any]) -> HubVision:
    """The network that `spec` describes, with random weights."""
    kind = _vision_class(spec["config"]["model_type"], spec["projected"])
    model = AutoModel.from_config(_config(spec)) if kind is AutoModel else kind(_config(spec))
    shape = tuple(spec["shape"]) if "shape" in spec else None
    return HubVision(model, _triple(spec["mean"]), _triple(spec["std"]), shape)


def _config(spec: dict[str, Any]) -> Any:
    return AutoConfig.for_model(**spec["config"])


def _vision_class(kind: str, projected: bool) -> Any:
    if kind in ("clip", "clip_vision_model"):
        return CLIPVisionModelWithProjection if projected else CLIPVisionModel
    return SiglipVisionModel if kind in ("siglip", "siglip_vision_model") else AutoModel


def _read(folder: Path) -> Any:
    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _positions(model: Any, tokenizer_limit: int | None) -> int:
    """Number of tokens that the model can read: RoBERTa and its kin count positions from behind the padding's number."""
    positions = getattr(model.config, "max_position_embeddings", None) or _UNREAD
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    unused = getattr(table, "padding_idx", None)
    own = int(positions if unused is None else positions - unused - 1)
    return min(own, tokenizer_limit or own)


_UNUSED = ("pooler", "num_batches_tracked")
"""Parts of names of tensors that the states do not depend on."""


def _load(kind: Any, folder: Path, config: Any) -> Any:
    """Weights by name; a tensor that the file lacks would be random, and is an error (apart from those that are not used)."""
    model, found = kind.from_pretrained(
        folder,
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # they are named below
        output_loading_info=True,
        dtype=torch.float32,
    )
    missing = sorted(name for name in found["missing_keys"] if not any(unused in name for unused in _UNUSED))
    if missing or found["mismatched_keys"]:
        names = [*missing, *(str(one) for one in found["mismatched_keys"])]
        raise UserError(
            f"the weights in {folder} do not fill the encoder of config.json: {', '.join(names[:5])} ({len(names)} in all)",
            code="encoder-weights-missing",
            hint="take config.json and the safetensors from the same checkpoint",
        )
    return model


def _processor(folder: Path) -> dict[str, Any]:
    """Settings of the image processor, empty for a folder without one."""
    old, new = folder / "preprocessor_config.json", folder / "processor_config.json"
    record = read_json(old) if old.is_file() else read_json(new).get("image_processor", {}) if new.is_file() else {}
    return dict(record)


def _probed(config: Any, processor: dict[str, Any]) -> tuple[int, int]:
    """(size, width) of an encoder that takes images of any size, as convolutions do: its width by a pass without numbers.

    Raises UserError where that pass gives no states of patches.
    """
    cut = processor.get("crop_size") if processor.get("do_center_crop") else None
    edges = (_edge(value) for value in (cut, processor.get("size"), getattr(config, "image_size", None)))
    size = next((edge for edge in edges if edge is not None), _UNSIZED)
    try:
        with torch.device("meta"), torch.no_grad():
            model = AutoModel.from_config(config).eval()
            shape = model(pixel_values=torch.empty(1, 3, size, size)).last_hidden_state.shape
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise _no_patches(config.model_type) from error
    if len(shape) not in (3, 4):
        raise _no_patches(config.model_type)
    return size, int(shape[1] if len(shape) == 4 else shape[2])


def _edge(size: Any) -> int | None:
    """Edge of square images as configs write it: 224, [224, 224], {"height": 224, "width": 224}, {"shortest_edge": 224}."""
    sides = set(size.values() if isinstance(size, dict) else size if isinstance(size, list | tuple) else [size])
    (side,) = sides if len(sides) == 1 else (None,)
    return side if isinstance(side, int) else None


def _no_patches(kind: str) -> UserError:
    return UserError(
        f"a vision encoder of the type {kind} does not give states of patches of square images",
        code="encoder-no-patches",
        hint="name a CLIP, SigLIP, ViT, DINO or convolutional encoder (docs/encoders.md lists families)",
    )


def _statistics(record: dict[str, Any], kind: str) -> tuple[Triple, Triple]:
    """Channel mean and deviation: the processor's where it states them, else those of the family."""
    if "image_mean" in record and "image_std" in record:
        return _triple(record["image_mean"]), _triple(record["image_std"])
    return ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) if kind.startswith("siglip") else (CLIP_MEAN, CLIP_STD)


def _triple(values: list[float]) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue


_NAME = "pricestack"


def quickened(model: Any) -> Any:
    """The model (changed in place) with our attention where it lets one choose, and our dropout.

    Models with an attention of their own (DeBERTa) keep it. Attention's weights are not dropped out: no fused kernel for
    processors does that, and without one it takes most of the time and of the memory (11 GiB instead of 3.7 for 32 x 512
    tokens of MiniLM). Dropout of states stays as the model's config says.
    """
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(_NAME)
    quicken(model)
    return model


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    """`transformers`' attention function: (B, heads, L, d) to (B, L, heads, d)."""
    settings["dropout"] = 0.0
    grouped = getattr(module, "num_key_value_groups", 1) > 1
    # Rows without padding come without a mask: those that are read from left to right then rely on the layer's own word.
    causal = settings.get("is_causal")
    causal = (attention_mask is None and getattr(module, "is_causal", True)) if causal is None else causal
    if grouped or causal or settings.get("position_bias") is not None or not plain_pays(query):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    return attend(query, key, value, attention_mask, settings.get("scaling")).transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)
