"""Baseline trainings: the literal PyTorch loop, and `transformers.Trainer`, on the same weights and rows."""

from __future__ import annotations

import core as core  # before torch and scikit-learn are loaded: it limits spinning

# isort: split
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, Trainer, TrainingArguments

Text = list[str]


class Regressor(nn.Module):
    """An encoder, its first state, one hidden layer, one number; in `forward` the loss, as `transformers.Trainer` wants it."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 1))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        z = self.head(getattr(states, "last_hidden_state", states)[:, 0]).squeeze(-1)
        if labels is None:
            return {"logits": z}
        return {"loss": nn.functional.huber_loss(z.float(), labels.float()), "logits": z}


def from_folder(folder: Path) -> tuple[Callable[[], Regressor], Any]:
    """(maker of a fresh regressor, tokenizer) of a `transformers` text encoder."""
    width = AutoModel.from_pretrained(folder).config.hidden_size
    return lambda: Regressor(AutoModel.from_pretrained(folder), width), AutoTokenizer.from_pretrained(folder)


def literal_loop(make: Callable[[], Regressor], tokenizer: Any, texts: Text, z: np.ndarray, *, device: str, steps: int,
                 length: int, batch: int = 32) -> float:  # fmt: skip
    """Rows per second of training: every row padded to `length`, tokenised when its turn comes; fp32, on a GPU fp16 autocast."""
    network = make().to(device).train()
    adamw = torch.optim.AdamW(network.parameters(), lr=2e-5)
    scaler = torch.amp.GradScaler(device, enabled=device == "cuda")
    start = time.perf_counter()
    for step in range(steps + 1):
        if step == 1:  # the first one warms up
            synchronise(device)
            start = time.perf_counter()
        rows = slice(step * batch, (step + 1) * batch)
        given = tokenizer(
            texts[rows], padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).to(device)
        with torch.autocast(device, dtype=torch.float16, enabled=device == "cuda"):
            loss = network(given["input_ids"], given["attention_mask"], torch.tensor(z[rows], device=device))["loss"]
        adamw.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(adamw)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        scaler.step(adamw)
        scaler.update()
    synchronise(device)
    return steps * batch / (time.perf_counter() - start)


def trainer(make: Callable[[], Regressor], tokenizer: Any, texts: Text, z: np.ndarray, *, device: str, length: int,
            bf16: bool, batch: int = 32) -> tuple[float, float]:  # fmt: skip
    """(rows per second of training, of prediction) of `transformers.Trainer`: dynamic padding, grouped by length."""
    rows = [
        {"input_ids": ids, "labels": float(target)}
        for ids, target in zip(tokenizer(texts, truncation=True, max_length=length)["input_ids"], z, strict=True)
    ]

    def collate(part: list[dict[str, Any]]) -> dict[str, Tensor]:
        labels = torch.tensor([row["labels"] for row in part])
        return {
            **tokenizer.pad([{"input_ids": row["input_ids"]} for row in part], return_tensors="pt"),
            "labels": labels,
        }

    with TemporaryDirectory() as folder:
        how = TrainingArguments(
            folder, num_train_epochs=1, per_device_train_batch_size=batch, per_device_eval_batch_size=batch, bf16=bf16,
            use_cpu=device == "cpu", train_sampling_strategy="group_by_length", save_strategy="no", report_to=[],
            logging_strategy="no", disable_tqdm=True, remove_unused_columns=False, learning_rate=2e-5,
        )  # fmt: skip
        peer = Trainer(make(), how, train_dataset=rows, data_collator=collate)
        start = time.perf_counter()
        peer.train()
        trained = time.perf_counter()
        peer.predict(rows)
        return len(rows) / (trained - start), len(rows) / (time.perf_counter() - trained)


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
