"""Training loops as people write them, on one small problem: every one must take the steps of the plain loop."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

import curvestep
from tests.optim.windowed import short_auto

STEPS, BATCH, PARTS, CLIP = 20, 8, 2, 0.05

Make = Callable[[Any], Any]


class Net(nn.Module):
    """Returns the loss as HF Trainer wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {
            "loss": functional.cross_entropy(
                self.layers(inputs).to(torch.promote_types(inputs.dtype, torch.float32)), labels
            )
        }


@dataclass(frozen=True)
class Setting:
    """How a loop is run."""

    precision: str  # float64, bf16 (autocast), fp16 (autocast and a scaler)
    extra: str  # none, accumulation, clipping

    @property
    def parts(self) -> int:
        return PARTS if self.extra == "accumulation" else 1

    @property
    def clips(self) -> bool:
        return self.extra == "clipping"

    @property
    def autocast(self) -> AbstractContextManager[Any]:
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast("cpu", dtype=dtype)

    @property
    def scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=self.precision == "fp16")


class Samples(IterableDataset[Any]):
    """Five batches over and over, always in this order."""

    def __init__(self, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(3)
        self.inputs = torch.randn(5 * BATCH, 5, generator=generator, dtype=torch.float64).to(dtype)
        self.labels = torch.randint(3, (5 * BATCH,), generator=generator)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for index in range(STEPS * BATCH):
            at = index % (5 * BATCH)
            yield {"inputs": self.inputs[at], "labels": self.labels[at]}


def make_net(setting: Setting) -> Net:
    """The same weights each time, so sharp that the step matters."""
    generator = torch.Generator().manual_seed(5)
    net = Net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return net.double() if setting.precision == "float64" else net


def batches(setting: Setting) -> DataLoader[Any]:
    """Micro-batches in order."""
    dtype = torch.float64 if setting.precision == "float64" else torch.float32
    return DataLoader(Samples(dtype), batch_size=BATCH // setting.parts)


def groups_of(setting: Setting) -> Iterator[list[dict[str, Tensor]]]:
    """The micro-batches of each step."""
    found: list[dict[str, Tensor]] = []
    for batch in batches(setting):
        found.append(batch)
        if len(found) == setting.parts:
            yield found
            found = []


def plain(net: Net, make: Make, setting: Setting, *, attaches: bool = False) -> Any:
    """``record()`` around forward and backward; attached, no line for it."""
    optimizer, scaler = make(net.parameters()), setting.scaler
    if attaches:
        curvestep.attach(net, optimizer, scaler=scaler)
    for group in groups_of(setting):
        for batch in group:
            with nullcontext() if attaches else optimizer.record(scaler=scaler):
                with setting.autocast:
                    loss = net(**batch)["loss"] / len(group)
                scaler.scale(loss).backward()
        if setting.clips:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    return optimizer


def closure(net: Net, make: Make, setting: Setting) -> Any:
    """Everything inside of a closure."""
    optimizer, scaler = make(net.parameters()), setting.scaler
    for group in groups_of(setting):

        def evaluate(group: list[dict[str, Tensor]] = group) -> Tensor:
            optimizer.zero_grad()
            total = torch.zeros(())
            for batch in group:
                with setting.autocast:
                    loss = net(**batch)["loss"] / len(group)
                scaler.scale(loss).backward()
                total = total + loss.detach()
            if setting.clips:
                nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            return total

        if scaler.is_enabled():
            scaler.scale(torch.ones(()))  # torch's own assertion asks for one call before the first step
        scaler.step(optimizer, evaluate)
    return optimizer


def lightning_module(net: Net, make: Make, attach: Callable[[Net, Any], Any] | None) -> Any:
    """A module of Lightning's automatic optimization."""
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: dict[str, Tensor]) -> Tensor:
            return self.net(**batch)["loss"]

        def configure_optimizers(self) -> Any:
            self.optimizer = make(self.net.parameters())
            if attach is not None:
                attach(self.net, self.optimizer)
            return self.optimizer

    return Module()


def lightning(net: Net, make: Make, setting: Setting, *, attaches: bool = True) -> Any:
    """Lightning's automatic optimization, attached."""
    import lightning.pytorch as pl
    from lightning.pytorch.plugins.precision import MixedPrecision

    plugins: list[Any] = []
    if setting.precision == "fp16":
        plugins = [MixedPrecision("16-mixed", "cpu", setting.scaler)]
    elif setting.precision == "bf16":
        plugins = [MixedPrecision("bf16-mixed", "cpu")]
    trainer = pl.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        accumulate_grad_batches=setting.parts,
        gradient_clip_val=CLIP if setting.clips else None,
        plugins=plugins,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = lightning_module(net, make, curvestep.attach if attaches else None)
    trainer.fit(module, batches(setting))
    return module.optimizer


def as_fp16(accelerator: Any, setting: Setting) -> None:
    """Have Accelerate do on the CPU what it does for ``mixed_precision="fp16"`` on an accelerator."""
    accelerator.state._mixed_precision = "fp16"
    accelerator.native_amp = True
    accelerator.scaler = setting.scaler


def accelerate(net: Net, make: Make, setting: Setting) -> Any:
    """Accelerate's wrapper, attached."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    accelerator = Accelerator(
        cpu=True,
        gradient_accumulation_steps=setting.parts,
        mixed_precision="bf16" if setting.precision == "bf16" else "no",
    )
    if setting.precision == "fp16":
        as_fp16(accelerator, setting)
    net, optimizer, loader = accelerator.prepare(net, make(net.parameters()), batches(setting))
    curvestep.attach(net, optimizer)
    for batch in loader:
        with accelerator.accumulate(net):
            accelerator.backward(net(**batch)["loss"])
            if setting.clips:
                accelerator.clip_grad_norm_(net.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad()
    AcceleratorState._reset_state(True)
    return optimizer.optimizer


def hf_trainer(net: Net, make: Make, setting: Setting) -> Any:
    """HF Trainer, attached."""
    from accelerate.state import AcceleratorState
    from transformers import Trainer, TrainingArguments, get_constant_schedule

    AcceleratorState._reset_state(True)
    optimizer = make(net.parameters())
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            net,
            TrainingArguments(
                folder,
                max_steps=STEPS,
                per_device_train_batch_size=BATCH // setting.parts,
                gradient_accumulation_steps=setting.parts,
                max_grad_norm=CLIP if setting.clips else 0.0,
                bf16=setting.precision == "bf16",
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=batches(setting).dataset,
            optimizers=(optimizer, get_constant_schedule(optimizer)),
        )
        if setting.precision == "fp16":
            as_fp16(trainer.accelerator, setting)
        curvestep.attach(net, optimizer, scaler=trainer.accelerator.scaler)
        gc.freeze()  # Trainer collects garbage at its end, through all that a test run has imported
        trainer.train()
        gc.unfreeze()
    AcceleratorState._reset_state(True)
    return optimizer


LOOPS: dict[str, Callable[[Net, Make, Setting], Any]] = {
    "plain": plain,
    "attach": partial(plain, attaches=True),
    "closure": closure,
    "Lightning": lightning,
    "Lightning, closure": partial(lightning, attaches=False),
    "Accelerate": accelerate,
    "HF Trainer": hf_trainer,
}

METHODS: dict[str, Make] = {
    "Auto": short_auto,
    "RescaledSGD": lambda p: curvestep.RescaledSGD(p, lr=0.3),
    "RescaledAdam": lambda p: curvestep.RescaledAdam(p, lr=0.3),
    "LQA": lambda p: curvestep.LQA(p, lr=0.3),
    "ALIG": curvestep.ALIG,
    "EGStepSize": lambda p: curvestep.EGStepSize(torch.optim.AdamW(p, lr=0.02)),
}
