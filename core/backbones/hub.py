"""Encoders of the `transformers` library behind the two calls that the architectures know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, CLIPVisionModel, CLIPVisionModelWithProjection, SiglipVisionModel
from transformers.utils import logging

from core.augment import CLIP_MEAN, CLIP_STD, Triple
from core.errors import UserError
from core.files import read_json

logging.disable_progress_bar()  # loading takes a second, and the commands have a display of their own

_UNREAD = 512
"""Positions of a text encoder that does not say how many it has."""


class HubText(nn.Module):
    """(B, L) ids and (B, L) mask to (B, L, width) last hidden states."""

    def __init__(self, model: Any, max_positions: int) -> None:
        super().__init__()
        self.model = model
        self.width = int(model.config.hidden_size)
        self.max_positions = max_positions
        self.pad = int(getattr(model.config, "pad_token_id", None) or 0)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask.long()).last_hidden_state

    @property
    def spec(self) -> dict[str, Any]:
        return {"kind": "hub-text", "config": self.model.config.to_dict(), "max_positions": self.max_positions}


class HubVision(nn.Module):
    """(B, 3, size, size) normalised pixels to (B, T, width) states of all patches.

    CLIP's go through its post-layernorm and, where the weights have one, its visual projection: `transformers` does that
    for the first token alone.
    """

    def __init__(self, model: Any, mean: Triple, std: Triple) -> None:
        super().__init__()
        self.model = model
        self.size = int(model.config.image_size)
        self.mean, self.std = mean, std
        self.projected = isinstance(model, CLIPVisionModelWithProjection)
        self.width = int(model.config.projection_dim if self.projected else model.config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        tower = self.model.vision_model if self.projected else self.model
        states = tower(pixel_values=pixels).last_hidden_state
        if isinstance(tower, CLIPVisionModel):
            states = tower.post_layernorm(states)
        return self.model.visual_projection(states) if self.projected else states

    @property
    def spec(self) -> dict[str, Any]:
        config = self.model.config.to_dict()
        return {"kind": "hub-vision", "config": config, "projected": self.projected, "mean": self.mean, "std": self.std}


def load_text(folder: Path, tokenizer_limit: int | None) -> HubText:
    """The text encoder in a folder of config.json and safetensors."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if hasattr(config, "vision_config"):
        raise UserError(
            f"the encoder in {folder} ({config.model_type}) reads pictures, and a text encoder is asked for",
            cure="name it with --vision-encoder, or name a text encoder",
        )
    positions = getattr(config, "max_position_embeddings", None) or _UNREAD
    model = _load(AutoModel, folder)
    return HubText(model, min(positions, tokenizer_limit or positions))


def load_vision(folder: Path) -> HubVision:
    """The vision encoder in a folder; of a CLIP or SigLIP model, its vision tower."""
    kind = read_json(folder / "config.json").get("model_type", "")
    mean, std = _statistics(folder, kind)
    return HubVision(_load(_vision_class(kind, _has_projection(folder)), folder), mean, std)


def build_text(spec: dict[str, Any]) -> HubText:
    """The network that `spec` describes, with random weights."""
    return HubText(AutoModel.from_config(_config(spec)), spec["max_positions"])


def build_vision(spec: dict[str, Any]) -> HubVision:
    """The network that `spec` describes, with random weights."""
    kind = _vision_class(spec["config"]["model_type"], spec["projected"])
    model = AutoModel.from_config(_config(spec)) if kind is AutoModel else kind(_config(spec))
    return HubVision(model, _triple(spec["mean"]), _triple(spec["std"]))


def _config(spec: dict[str, Any]) -> Any:
    return AutoConfig.for_model(**spec["config"])


def _vision_class(kind: str, projected: bool) -> Any:
    if kind in ("clip", "clip_vision_model"):
        return CLIPVisionModelWithProjection if projected else CLIPVisionModel
    return SiglipVisionModel if kind in ("siglip", "siglip_vision_model") else AutoModel


def _has_projection(folder: Path) -> bool:
    for path in folder.glob("model*.safetensors"):
        with safe_open(path, framework="pt") as weights:
            if "visual_projection.weight" in weights.keys():  # noqa: SIM118, safe_open is no mapping
                return True
    return False


def _load(kind: Any, folder: Path) -> Any:
    """Weights by name; a tensor that the file lacks would be random, and is an error (poolers apart, which are not used)."""
    model, found = kind.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        dtype=torch.float32,
    )
    missing = sorted(name for name in found["missing_keys"] if "pooler" not in name)
    if missing or found["mismatched_keys"]:
        names = [*missing, *(str(one) for one in found["mismatched_keys"])]
        raise UserError(
            f"the weights in {folder} do not fill the encoder of config.json: {', '.join(names[:5])} ({len(names)} in all)",
            cure="take config.json and the safetensors from the same checkpoint",
        )
    return model


def _statistics(folder: Path, kind: str) -> tuple[Triple, Triple]:
    """Channel mean and deviation: the processor's where the folder has one, else those of the family."""
    path = folder / "preprocessor_config.json"
    record = read_json(path) if path.exists() else {}
    if "image_mean" in record and "image_std" in record:
        return _triple(record["image_mean"]), _triple(record["image_std"])
    return ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) if kind.startswith("siglip") else (CLIP_MEAN, CLIP_STD)


def _triple(values: list[float]) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue
