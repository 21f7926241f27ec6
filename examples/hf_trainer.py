"""Hugging Face's Trainer on a BERT made from a configuration: two lines, and no subclass.

    pip install transformers accelerate
    python examples/hf_trainer.py

A two-layer BERT learns whether the first and the last word of a sentence are the same; about fifteen seconds on one
core. The Trainer owns the loop and calls `optimizer.step()` without a closure, so there is no place for `record()`:
`curvestep.attach` opens the recording with the model's forward and closes it with its backward.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.utils.data import Dataset

import curvestep

WORDS, LENGTH = 12, 6


class Pairs(Dataset[dict[str, Tensor]]):
    """Random sentences; the label says whether the first and the last word are the same."""

    def __init__(self, size: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.words = torch.randint(WORDS, (size, LENGTH), generator=draw)
        alike = torch.rand(size, generator=draw) < 0.5
        self.words[alike, -1] = self.words[alike, 0]
        self.labels = (self.words[:, 0] == self.words[:, -1]).long()

    def __len__(self) -> int:
        """Return the number of sentences."""
        return len(self.words)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one sentence as the model's arguments."""
        return {"input_ids": self.words[index], "labels": self.labels[index]}


def accuracy(prediction: Any) -> dict[str, float]:
    """Return the share of right answers, in the form that the Trainer asks for."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the accuracy on sentences that were not trained on."""
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=300)
    steps = options.parse_args(arguments).steps
    transformers.set_seed(0)

    config = transformers.BertConfig(
        vocab_size=WORDS, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128
    )
    model = transformers.BertForSequenceClassification(config)
    optimizer = curvestep.Auto(model.parameters())
    curvestep.attach(model, optimizer)

    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model,
            transformers.TrainingArguments(
                folder,
                max_steps=steps,
                per_device_train_batch_size=64,
                logging_steps=50,
                save_strategy="no",
                report_to=[],
                use_cpu=True,
                disable_tqdm=True,
            ),  # fmt: skip
            train_dataset=Pairs(4096, seed=1),
            eval_dataset=Pairs(1024, seed=2),
            compute_metrics=accuracy,
            # Auto needs no schedule: a constant factor of 1 takes the place of the Trainer's linear one.
            optimizers=(optimizer, transformers.get_constant_schedule(optimizer)),
        )
        trainer.train()
        with optimizer.averaged():
            right = trainer.evaluate()["eval_accuracy"]
    print(f"held-out accuracy {right:.3f}")
    return right


if __name__ == "__main__":
    main()
