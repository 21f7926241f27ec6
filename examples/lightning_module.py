"""Lightning: automatic optimization needs one line, because its closure is recorded by the step itself.

    pip install lightning
    python examples/lightning_module.py

scikit-learn's digits; about ten seconds on one core.

Under automatic optimization Lightning calls `optimizer.step(closure)`, and curvestep records the closure.
"""

from __future__ import annotations

import argparse
import logging
import warnings

import lightning
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import curvestep


class Digits(lightning.LightningModule):
    """A dense network."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64), nn.GELU(), nn.Linear(64, 10))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the loss; Lightning runs backward and step."""
        del index
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> curvestep.Auto:
        """Return the optimizer: this is the line."""
        return curvestep.Auto(self.parameters())


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the accuracy on held-out digits."""
    options = argparse.ArgumentParser()
    options.add_argument("--epochs", type=int, default=12)
    chosen = options.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    lightning.seed_everything(0, verbose=False)

    pixels, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    train, test = torch.randperm(len(inputs)).split(1400)
    loader = DataLoader(TensorDataset(inputs[train], targets[train]), batch_size=64, shuffle=True, drop_last=True)

    module = Digits()
    trainer = lightning.Trainer(
        max_epochs=chosen.epochs, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on the number of workers
        trainer.fit(module, loader)

    optimizer = trainer.optimizers[0]
    assert isinstance(optimizer, curvestep.Auto)
    with optimizer.averaged(), torch.no_grad():
        module.eval()
        right = (module.net(inputs[test]).argmax(1) == targets[test]).float().mean().item()
    print(f"held-out accuracy {right:.3f}")
    return right


if __name__ == "__main__":
    main()
