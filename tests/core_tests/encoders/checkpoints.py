"""Small random checkpoints in the layouts of published repositories, for tests of loading and downloads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    DebertaV2Config,
    DebertaV2Model,
    RobertaConfig,
    RobertaModel,
)

from core.encoders.neobert import NeoBERT, NeoBERTConfig
from core.encoders.tiny import train_tokenizer

TEXTS = [f"Item Name: green tea {bags} bags, oak table {bags * 7} cm, olive oil" for bags in range(40)]
_LAYERS = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def bert(folder: Path, seed: int = 0) -> Path:
    """BERT with safetensors and tokenizer.json."""
    torch.manual_seed(seed)
    BertModel(BertConfig(**_LAYERS, vocab_size=400, max_position_embeddings=48)).save_pretrained(folder)
    train_tokenizer(TEXTS).save(str(folder / "tokenizer.json"))
    return folder


def as_bin(folder: Path, shards: int = 1) -> Path:
    """Turns the folder's safetensors into `pytorch_model.bin`, or into shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(tensors, folder / "pytorch_model.bin")
        return folder
    names = [f"pytorch_model-{number + 1:05}-of-{shards:05}.bin" for number in range(shards)]
    places = {key: names[place % shards] for place, key in enumerate(sorted(tensors))}
    for name in names:
        torch.save({key: tensors[key] for key, place in places.items() if place == name}, folder / name)
    (folder / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {"total_size": 0}, "weight_map": places})
    )
    return folder


def clip(folder: Path) -> Path:
    """CLIP as openai/clip-vit-base-patch32 has it: `pytorch_model.bin` alone, a processor, an old tokenizer."""
    torch.manual_seed(0)
    vision = {**_LAYERS, "image_size": 32, "patch_size": 16, "projection_dim": 12}
    text = {**_LAYERS, "vocab_size": 64, "projection_dim": 12, "bos_token_id": 1, "eos_token_id": 2}
    CLIPModel(CLIPConfig(projection_dim=12, text_config=text, vision_config=vision)).save_pretrained(folder)
    CLIPImageProcessor(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.25]).save_pretrained(folder)
    (folder / "tf_model.h5").write_bytes(b"another library's weights")
    return as_bin(folder)


def deberta(folder: Path) -> Path:
    """DeBERTa-v3 as microsoft/deberta-v3-base has it: `pytorch_model.bin` and `spm.model`."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    lines = folder / "texts"
    lines.write_text("\n".join(TEXTS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines), model_prefix=str(folder / "spm"), vocab_size=90, minloglevel=2, pad_id=0, bos_id=1, eos_id=2,
        unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]", hard_vocab_limit=False,
    )  # fmt: skip
    for extra in (lines, folder / "spm.vocab"):
        extra.unlink()
    config: dict[str, Any] = {**_LAYERS, "vocab_size": 128, "type_vocab_size": 0, "relative_attention": True}
    DebertaV2Model(DebertaV2Config(**config, pos_att_type=["p2c", "c2p"])).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    return as_bin(folder)


def roberta(folder: Path) -> Path:
    """RoBERTa with `vocab.json` and `merges.txt`, its weights in two `.bin` files with an index."""
    torch.manual_seed(0)
    RobertaModel(RobertaConfig(**_LAYERS, vocab_size=400, max_position_embeddings=50)).save_pretrained(folder)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        TEXTS, vocab_size=400, show_progress=False, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    tokenizer.save_model(str(folder))
    return as_bin(folder, shards=2)


def neobert(folder: Path) -> Path:
    """NeoBERT as chandar-lab/NeoBERT has it: prefixed names, code beside the weights, tokenizer.json."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer(TEXTS)
    config = NeoBERTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        vocab_size=tokenizer.get_vocab_size(), max_length=64,
    )  # fmt: skip
    record = {**asdict(config), "model_type": "neobert", "auto_map": {"AutoModel": "model.NeoBERT"}}
    (folder / "config.json").write_text(json.dumps(record))
    (folder / "model.py").write_text("raise SystemExit('this code must not run')")
    save_file(
        {f"model.{key}": value for key, value in NeoBERT(config).state_dict().items()}, folder / "model.safetensors"
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
