"""Layer access for any encoder: depth of each weight, frozen layers, LoRA adapters."""

from __future__ import annotations

from typing import Any

from torch import nn

from core.errors import UserError


def layers_of(encoder: nn.Module) -> list[tuple[str, nn.Module]]:
    """(name, layer) from the bottom to the top: the first longest list of modules that the encoder holds.

    Families that share one layer at all depths (ALBERT) have that one.
    """
    lists = [(name, one) for name, one in encoder.named_modules() if isinstance(one, nn.ModuleList)]
    if not lists:
        raise UserError(
            "this encoder has no list of layers",
            code="encoder-no-layers",
            hint="leave layer_decay, frozen_layers and lora_rank as they are",
        )
    name, longest = max(lists, key=lambda found: len(found[1]))
    return [(f"{name}.{place}", layer) for place, layer in enumerate(longest)]


def depths(encoder: nn.Module) -> dict[str, int]:
    """The depth of each weight by its name: 0 for embeddings, 1 to n for those of the layers, n + 1 behind them."""
    layers = [f"{name}." for name, _ in layers_of(encoder)]
    found: dict[str, int] = {}
    begun = False
    for name, _ in encoder.named_parameters():
        inside = next((place for place, layer in enumerate(layers, 1) if name.startswith(layer)), None)
        begun = begun or inside is not None
        found[name] = inside if inside is not None else len(layers) + 1 if begun else 0
    return found


def still_modules(encoder: nn.Module, frozen: int) -> list[nn.Module]:
    """Takes the gradient from the embeddings and the `frozen` lowest layers; returns these layers.

    Raises UserError where there are not so many.
    """
    layers = layers_of(encoder)
    if frozen > len(layers):
        raise UserError(
            f"frozen_layers={frozen}, and the text encoder has {len(layers)} layers",
            code="frozen-layers-too-many",
            hint=f"choose frozen_layers from 0 to {len(layers)}, or freeze_text=true",
        )
    depth = depths(encoder)
    for name, weights in encoder.named_parameters():
        if depth[name] <= frozen:
            weights.requires_grad_(False)
    return [layer for _, layer in layers[:frozen]]


def add_adapters(encoder: nn.Module, rank: int, frozen: int) -> None:
    """Keeps the encoder's weights and lets low-rank changes of its layers' matrices learn instead, above the `frozen` lowest.

    Hu et al. 2021, "LoRA" (arXiv:2106.09685): W + 2 B A with A (rank, in) random and B (out, rank) zero at first.
    """
    from peft import LoraConfig, inject_adapter_in_model

    wanted = [
        f"{name}.{inside}"
        for name, layer in layers_of(encoder)[frozen:]
        for inside, module in layer.named_modules()
        if isinstance(module, nn.Linear)
    ]
    if not wanted:
        raise UserError(
            "lora_rank leaves nothing that learns: all layers are frozen",
            code="lora-nothing-to-learn",
            hint="lower frozen_layers",
        )
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=wanted), encoder)


def merge_adapters(encoder: nn.Module) -> None:
    """Adds what the adapters have learnt to the encoder's own matrices, and leaves it in the form that it had without them."""
    from peft.tuners.lora import LoraLayer

    for name, module in [found for found in encoder.named_modules() if isinstance(found[1], LoraLayer)]:
        adapted: Any = module
        adapted.merge()
        parent, _, own = name.rpartition(".")
        setattr(encoder.get_submodule(parent), own, adapted.get_base_layer())
