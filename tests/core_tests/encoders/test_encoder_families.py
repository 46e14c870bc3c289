"""Every family of encoders that users bring loads from its saved folder through one call, with its tokenizer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    ConvNextConfig,
    ConvNextModel,
    ConvNextV2Config,
    ConvNextV2Model,
    DebertaV2Config,
    DebertaV2Model,
    Dinov2Config,
    Dinov2Model,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    DistilBertConfig,
    DistilBertModel,
    EfficientNetConfig,
    EfficientNetForImageClassification,
    ElectraConfig,
    ElectraModel,
    GPT2Config,
    GPT2Model,
    GteConfig,
    GteModel,
    MobileNetV1Config,
    MobileNetV1Model,
    MobileNetV2Config,
    MobileNetV2Model,
    ModernBertConfig,
    ModernBertForMaskedLM,
    MPNetConfig,
    MPNetModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    RegNetConfig,
    RegNetModel,
    ResNetConfig,
    ResNetForImageClassification,
    RobertaConfig,
    RobertaModel,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from core.atomic_files import read_json, write_json
from core.encoders import load_encoder
from core.encoders.loading import build_encoder, max_positions
from core.encoders.tiny import train_tokenizer
from core.nn.heads import Pooling
from tests.errors import refused

WORDS = ["green tea 20 bags", "oak table 2 m", "olive oil 500 ml", "saffron threads 1 g", "ground coffee 250 g"]
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 90,
    "max_position_embeddings": 48,
}
DEBERTA_V3 = {
    "relative_attention": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
TOWER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
CLIP_TEXT = {**SMALL, "bos_token_id": 1, "eos_token_id": 2}


def word_pieces(folder: Path) -> None:
    """`vocab.txt` alone, as old BERT repositories have it."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in WORDS for word in text.split()})]
    (folder / "vocab.txt").write_text("\n".join(pieces))


def byte_pairs(folder: Path) -> None:
    """A RoBERTa-like `tokenizer.json`: byte-level pairs, <s> and </s>, padding is 1."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        WORDS, trainers.BpeTrainer(vocab_size=90, special_tokens=specials, show_progress=False)
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))


def sentence_pieces(folder: Path) -> None:
    """`spm.model` alone, as DeBERTa-v3 has it."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS), model_writer=made, vocab_size=60, hard_vocab_limit=False, minloglevel=2,
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]",
    )  # fmt: skip
    (folder / "spm.model").write_bytes(made.getvalue())
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False, "vocab_type": "spm"})


def plain_pairs(folder: Path) -> None:
    """A GPT-like `tokenizer.json`: byte-level pairs, and nothing put around a text."""
    byte_pairs(folder)
    record = read_json(folder / "tokenizer.json")
    write_json(folder / "tokenizer.json", record | {"post_processor": None})


def own(folder: Path) -> None:
    """Any `tokenizer.json`."""
    train_tokenizer(WORDS).save(str(folder / "tokenizer.json"))


# name: the model, its tokenizer, tokens read, padding
FAMILIES: dict[str, tuple[Callable[[], Any], Callable[[Path], None], int, int]] = {
    "bert": (lambda: BertModel(BertConfig(**SMALL)), word_pieces, 48, 0),
    "bert with a language head": (lambda: BertForMaskedLM(BertConfig(**SMALL)), own, 48, 0),
    "modernbert": (
        lambda: ModernBertForMaskedLM(
            ModernBertConfig(**SMALL, pad_token_id=0, global_attn_every_n_layers=2, local_attention=8)
        ),
        own,
        48,
        0,
    ),
    "deberta-v3": (lambda: DebertaV2Model(DebertaV2Config(**SMALL, **DEBERTA_V3)), sentence_pieces, 48, 0),
    "roberta": (lambda: RobertaModel(RobertaConfig(**SMALL, pad_token_id=1)), byte_pairs, 46, 1),
    "xlm-roberta": (lambda: XLMRobertaModel(XLMRobertaConfig(**SMALL, pad_token_id=1)), byte_pairs, 46, 1),
    "mpnet": (lambda: MPNetModel(MPNetConfig(**SMALL)), byte_pairs, 46, 1),
    "distilbert": (
        lambda: DistilBertModel(
            DistilBertConfig(dim=16, hidden_dim=32, n_layers=2, n_heads=2, vocab_size=90, max_position_embeddings=48)
        ),
        own,
        48,
        0,
    ),
    "electra": (lambda: ElectraModel(ElectraConfig(embedding_size=16, **SMALL)), own, 48, 0),
    "albert": (lambda: AlbertModel(AlbertConfig(embedding_size=16, **SMALL)), own, 48, 0),
    "gte": (lambda: GteModel(GteConfig(**SMALL, pad_token_id=1)), byte_pairs, 48, 1),
    "qwen3": (
        lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, num_key_value_heads=1, head_dim=8, pad_token_id=1)),
        plain_pairs,
        48,
        1,
    ),
}
FROM_LEFT_TO_RIGHT: dict[str, Callable[[], Any]] = {
    "qwen3": FAMILIES["qwen3"][0],
    "gpt2": lambda: GPT2Model(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=48, vocab_size=90)),
}


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_encoder_of_each_family(family: str, tmp_path: Path) -> None:
    make, write_tokenizer, positions, pad = FAMILIES[family]
    torch.manual_seed(0)
    model = make().eval()
    folder = saved(model, tmp_path / "encoder")
    write_tokenizer(folder)

    encoder, tokenizer = load_encoder(str(folder))

    assert tokenizer is not None
    assert (encoder.width, encoder.max_positions, encoder.pad) == (16, positions, pad)
    assert max_positions(str(folder)) == positions
    rows = [tokenizer.encode(text).ids for text in ("green tea 20 bags oil", "oak table 500 ml 1 g")]
    ids = torch.tensor([row[: min(7, *map(len, rows))] for row in rows])
    assert ids.shape[1] >= 5
    assert ids.max() < SMALL["vocab_size"]
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.inference_mode():
        states = encoder.eval()(ids, mask)
        assert states.shape == (2, ids.shape[1], 16)
        reference = model.base_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        torch.testing.assert_close(states, reference, atol=1e-4, rtol=0)

        # Padding on the right, to the last position the encoder has, changes nothing.
        rest = positions - ids.shape[1]
        wide = torch.cat([ids, torch.full((2, rest), pad)], dim=1)
        padded = encoder(wide, torch.cat([mask, torch.zeros(2, rest, dtype=torch.bool)], dim=1))
        torch.testing.assert_close(padded[:, : ids.shape[1]], states, atol=1e-4, rtol=0)

        # A saved model is built from the spec alone.
        again = build_encoder(encoder.spec)
        again.load_state_dict(encoder.state_dict())
        torch.testing.assert_close(again.eval()(ids, mask), states, atol=1e-6, rtol=0)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("family", FROM_LEFT_TO_RIGHT)
def test_encoders_that_read_from_left_to_right_do_so(family: str, half: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = load_encoder(str(saved(FROM_LEFT_TO_RIGHT[family]().eval(), tmp_path / "encoder")))[0].eval()
    ids = torch.randint(4, 90, (2, 9), generator=torch.Generator().manual_seed(1))
    other = ids.clone()
    other[:, 6:] = ids[:, 6:].flip(0) + 1 - 2 * (ids[:, 6:].flip(0) == 89).long()
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        one, two = encoder(ids, mask), encoder(other, mask)
        assert torch.equal(one[:, :6], two[:, :6]) and not torch.equal(one[:, 6:], two[:, 6:])
        # The last state that `pooling: last` takes is that of the row's last token, whatever it is padded with.
        wide = torch.cat([ids, torch.full((2, 3), encoder.pad)], dim=1)
        padding = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
        pooled = Pooling("last", 16)(encoder(wide, padding), padding)
    torch.testing.assert_close(pooled.float(), one[:, -1].float(), atol=0.05 if half else 1e-5, rtol=0)


def test_the_tokenizer_says_how_many_tokens_are_meant(tmp_path: Path) -> None:
    folder = saved(BertModel(BertConfig(**SMALL)), tmp_path / "encoder")
    own(folder)
    for meant, read in ((20, 20), (512, 48), (10**30, 48)):
        write_json(folder / "tokenizer_config.json", {"model_max_length": meant})
        assert load_encoder(str(folder))[0].max_positions == max_positions(str(folder)) == read


VISION: dict[str, tuple[Callable[[], Any], int, int]] = {
    "clip, whole": (
        lambda: CLIPModel(CLIPConfig(text_config=CLIP_TEXT, vision_config=TOWER, projection_dim=12)), 5, 12,
    ),
    "clip tower": (lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**TOWER, projection_dim=12)), 5, 12),
    "siglip, whole": (lambda: SiglipModel(SiglipConfig(text_config=CLIP_TEXT, vision_config=TOWER)), 4, 16),
    "siglip tower": (lambda: SiglipVisionModel(SiglipVisionConfig(**TOWER)), 4, 16),
    "vit": (lambda: ViTModel(ViTConfig(**TOWER)), 5, 16),
    "dinov2": (
        lambda: Dinov2Model(
            Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16)
        ), 5, 16,
    ),
    "dinov3": (lambda: DINOv3ViTModel(DINOv3ViTConfig(**TOWER, num_register_tokens=4)), 9, 16),
    "siglip 2 of fixed size": (
        lambda: SiglipModel(SiglipConfig(text_config={**CLIP_TEXT, "vocab_size": 120}, vision_config=TOWER)), 4, 16,
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", VISION)
def test_a_vision_encoder_of_each_family(family: str, tmp_path: Path) -> None:
    make, tokens, width = VISION[family]
    torch.manual_seed(0)
    model = make().eval()
    encoder, tokenizer = load_encoder(str(saved(model, tmp_path / "encoder")))
    assert tokenizer is None
    assert (encoder.size, encoder.width) == (32, width)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        states = encoder.eval()(pixels)
        again = build_encoder(encoder.spec)
        again.load_state_dict(encoder.state_dict())
        torch.testing.assert_close(again.eval()(pixels), states, atol=1e-6, rtol=0)
        if "clip" not in family:  # CLIP's are held to its embedding below
            known = (model.vision_model if "whole" in family or "fixed" in family else model)(pixel_values=pixels)
            torch.testing.assert_close(states, known.last_hidden_state, atol=1e-5, rtol=0)
    assert states.shape == (2, tokens, width)
    if family == "clip, whole":  # the first token is what CLIP compares with texts
        embedding = model.get_image_features(pixel_values=pixels)
        embedding = getattr(embedding, "pooler_output", embedding)
        torch.testing.assert_close(states[:, 0], embedding, atol=1e-5, rtol=0)


STAGES: dict[str, Any] = {"hidden_sizes": [8, 8, 16, 24], "depths": [1, 1, 1, 1]}
SQUARE = {"size": {"height": 64, "width": 64}}
# name: the model, its processor's file, states, width
CONVOLUTIONS: dict[str, tuple[Callable[[], Any], dict[str, Any], int, int]] = {
    "efficientnet": (
        lambda: EfficientNetForImageClassification(
            EfficientNetConfig(
                image_size=64, width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=128, num_labels=3
            )
        ), SQUARE, 4, 128,
    ),
    "convnext": (
        lambda: ConvNextModel(ConvNextConfig(**STAGES)), {"size": {"shortest_edge": 64}, "crop_pct": 0.875}, 4, 24,
    ),
    "convnextv2": (lambda: ConvNextV2Model(ConvNextV2Config(**STAGES, image_size=64)), {}, 4, 24),
    "resnet": (
        lambda: ResNetForImageClassification(ResNetConfig(**STAGES, embedding_size=8, num_labels=3)), {"size": 64}, 4, 24,
    ),
    "regnet": (
        lambda: RegNetModel(RegNetConfig(**STAGES, embedding_size=8, groups_width=8)),
        {"do_center_crop": False, "crop_size": 96, **SQUARE}, 4, 24,
    ),
    "mobilenet v1": (
        lambda: MobileNetV1Model(MobileNetV1Config(depth_multiplier=0.1)),
        {"do_center_crop": True, "crop_size": {"height": 64, "width": 64}, "size": {"shortest_edge": 72}}, 4, 102,
    ),
    "mobilenet v2": (
        lambda: MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.1, finegrained_output=False)),
        {"do_center_crop": True, "crop_size": {"height": 64, "width": 64}, "size": {"shortest_edge": 72}}, 4, 128,
    ),
    "dinov3 convnext": (lambda: DINOv3ConvNextModel(DINOv3ConvNextConfig(**STAGES)), SQUARE, 5, 24),
}  # fmt: skip


@pytest.mark.parametrize("family", CONVOLUTIONS)
def test_the_last_map_of_a_convolutional_encoder_is_its_patches(family: str, tmp_path: Path) -> None:
    make, processor, tokens, width = CONVOLUTIONS[family]
    torch.manual_seed(0)
    model = make().eval()
    for name, statistic in model.named_buffers():  # not 0 and 1; negative means, or nothing would pass the last ReLU
        if "running" in name:
            statistic.uniform_(*((-1.0, 0.0) if name.endswith("mean") else (0.5, 1.5)))
    folder = saved(model, tmp_path / "encoder")
    write_json(folder / "preprocessor_config.json", processor | {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2] * 3})
    encoder, tokenizer = load_encoder(str(folder))
    assert tokenizer is None
    assert (encoder.size, encoder.width, encoder.mean, encoder.std) == (64, width, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        states = encoder.eval()(pixels)
        assert states.shape == (2, tokens, width) and states.is_contiguous() and float(states.std()) > 0
        tower = model.base_model if hasattr(model, "classifier") else model
        known = tower(pixel_values=pixels).last_hidden_state
        if known.dim() == 4:  # left to right, top to bottom
            known = torch.stack([known[:, :, row, column] for row in range(2) for column in range(2)], dim=1)
        torch.testing.assert_close(states, known, atol=1e-5, rtol=0)
        again = build_encoder(json.loads(json.dumps(encoder.spec)))
        again.load_state_dict(encoder.state_dict())
        torch.testing.assert_close(again.eval()(pixels), states, atol=1e-6, rtol=0)


def test_batch_norms_keep_the_statistics_of_their_training(tmp_path: Path) -> None:
    model = RegNetModel(RegNetConfig(**STAGES, embedding_size=8, groups_width=8))
    encoder = load_encoder(str(saved(model, tmp_path / "encoder")))[0].train()
    before = {name: statistic.clone() for name, statistic in encoder.named_buffers()}
    states = encoder(torch.randn(2, 3, 64, 64))
    states.sum().backward()
    assert all(torch.equal(statistic, before[name]) for name, statistic in encoder.named_buffers())
    assert all(weights.grad is not None for weights in encoder.parameters())


def test_a_part_that_the_encoder_does_not_read_is_refused(tmp_path: Path) -> None:
    bert = saved(BertModel(BertConfig(**SMALL)), tmp_path / "bert")
    siglip = saved(SiglipVisionModel(SiglipVisionConfig(**TOWER)), tmp_path / "siglip")
    with refused("encoder-wrong-input"):
        load_encoder(str(bert), "vision")
    with refused("encoder-wrong-input") as failure:
        load_encoder(str(siglip), "text")
    assert "--vision-encoder" in failure.value.hint


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: T5Model(T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=60)),
            "encoder-has-decoder",
        ),
        (  # SigLIP 2 NaFlex: images of any ratio
            lambda: Siglip2VisionModel(
                Siglip2VisionConfig(
                    hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_patches=4
                )
            ),
            "encoder-no-patches",
        ),
    ],
)
def test_models_of_another_kind_are_refused(make: Callable[[], Any], said: str, tmp_path: Path) -> None:
    with refused(said):
        load_encoder(str(saved(make(), tmp_path / "model")))


def test_code_from_a_repository_is_never_run(tmp_path: Path) -> None:
    folder = saved(BertModel(BertConfig(**SMALL)), tmp_path / "encoder")
    (folder / "model.py").write_text("raise SystemExit('this code must not run')")
    asks = {"model_type": "homemade", "auto_map": {"AutoConfig": "model.Config", "AutoModel": "model.Model"}}
    record = read_json(folder / "config.json")
    write_json(folder / "config.json", record | asks)
    with refused("encoder-remote-code"):
        load_encoder(str(folder))
    # A type that transformers has is built by transformers, whatever code lies beside it.
    write_json(folder / "config.json", record | {"auto_map": asks["auto_map"]})
    assert load_encoder(str(folder))[0].width == 16


def test_a_shape_that_config_json_does_not_ask_for_is_named(tmp_path: Path) -> None:
    folder = saved(BertModel(BertConfig(**SMALL)), tmp_path / "encoder")
    write_json(folder / "config.json", read_json(folder / "config.json") | {"vocab_size": 91})
    with refused("encoder-weights-missing"):
        load_encoder(str(folder))


def test_half_precision_on_the_disk_is_float32_in_memory(tmp_path: Path) -> None:
    model = BertModel(BertConfig(**SMALL)).half()
    encoder, _ = load_encoder(str(saved(model, tmp_path / "encoder")))
    assert {tensor.dtype for tensor in encoder.parameters()} == {torch.float32}
