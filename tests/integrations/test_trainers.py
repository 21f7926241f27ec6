"""What trainers do beside the loop: empty closures, skipped batches, checkpoints, logs of the effective step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import curvestep
from curvestep._records import Outcome
from tests.integrations.loops import (
    CLIP,
    METHODS,
    STEPS,
    Make,
    Setting,
    batches,
    lightning_module,
    make_net,
    plain,
)
from tests.optim.problem import assert_bitwise_equal, assert_close

pytestmark = pytest.mark.filterwarnings(  # the trainers'
    "ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"
)
SETTING = Setting("float64", "none")
every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


@pytest.fixture
def _one_accelerator() -> Iterator[None]:
    state = pytest.importorskip("accelerate.state").AcceleratorState
    state._reset_state(True)
    yield
    state._reset_state(True)


def parameters(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def expected(make: Make, setting: Setting = SETTING) -> list[Tensor]:
    net = make_net(setting)
    plain(net, make, setting)
    return parameters(net)


# ---------------------------------------------------------------------------------------------------------- Lightning


def fit(module: Any, data: Any = None, resume: Path | None = None, **options: Any) -> Any:
    pl = pytest.importorskip("lightning.pytorch")
    defaults = {
        "max_steps": STEPS,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(**{**defaults, **options})
    trainer.fit(
        module,
        batches(SETTING) if data is None else data,
        ckpt_path=resume,
        weights_only=None if resume is None else True,
    )
    return trainer


@every_method
@pytest.mark.parametrize("form", ["attach", "record"])
@pytest.mark.parametrize("clips", [False, True], ids=["whole", "clipped"])
def test_lightning_manual(make: Make, form: str, clips: bool) -> None:
    """Its ``step()`` passes a closure that does nothing, and its wrapper has attributes of its own."""
    pl = pytest.importorskip("lightning.pytorch")

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_net(SETTING)
            self.automatic_optimization = False

        def training_step(self, batch: dict[str, Tensor]) -> None:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            if form == "record":
                with optimizer.record():
                    self.manual_backward(self.net(**batch)["loss"])
            else:
                self.manual_backward(self.net(**batch)["loss"])
            if clips:
                nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
            optimizer.step()

        def configure_optimizers(self) -> Any:
            optimizer = make(self.net.parameters())
            if form == "attach":
                curvestep.attach(self.net, optimizer)
            return optimizer

    module = Module()
    trainer = fit(module)
    assert trainer.global_step == STEPS
    wanted = expected(make, Setting("float64", "clipping" if clips else "none"))
    assert_bitwise_equal(parameters(module.net), wanted)


@every_method
@pytest.mark.parametrize("attaches", [True, False], ids=["attached", "closure"])
def test_lightning_batches_that_training_step_passes_over(make: Make, attaches: bool) -> None:
    net = make_net(SETTING)
    module: Any = lightning_module(net, make, curvestep.attach if attaches else None)
    whole = type(module).training_step
    taken: list[int] = []

    def some(self: Any, batch: dict[str, Tensor], batch_idx: int) -> Tensor | None:
        return None if batch_idx % 3 == 1 else whole(self, batch)

    type(module).training_step = some
    fit(module)
    other = make_net(SETTING)
    optimizer = make(other.parameters())
    for index, batch in enumerate(batches(SETTING)):
        if index % 3 == 1:
            continue
        taken.append(index)
        with optimizer.record():
            other(**batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert_bitwise_equal(parameters(net), parameters(other))
    assert module.optimizer.outcomes[Outcome.ZERO_GRADIENT] == STEPS - len(taken)


@every_method
def test_lightning_resumes_bit_for_bit(make: Make, tmp_path: Path) -> None:
    whole = lightning_module(make_net(SETTING), make, curvestep.attach)
    fit(whole)
    data: Any = list(batches(SETTING))
    epochs = [DataLoader(part, batch_size=None) for part in (data[:9], data[9:])]
    first = lightning_module(make_net(SETTING), make, curvestep.attach)
    fit(first, epochs[0], max_steps=-1, max_epochs=1).save_checkpoint(tmp_path / "nine.ckpt")
    second = lightning_module(make_net(SETTING), make, curvestep.attach)
    fit(second, epochs[1], tmp_path / "nine.ckpt", max_steps=-1, max_epochs=2)
    assert_bitwise_equal(parameters(second.net), parameters(whole.net))
    assert second.optimizer.outcomes == whole.optimizer.outcomes


@pytest.mark.parametrize("name", [name for name in METHODS if name != "EGStepSize"])  # which Lightning clips itself
def test_lightning_clips_under_its_scaler_in_a_hook(name: str) -> None:
    pytest.importorskip("lightning.pytorch")
    from lightning.pytorch.plugins.precision import MixedPrecision

    setting, make = Setting("fp16", "clipping"), METHODS[name]
    scaler, net = setting.scaler, make_net(setting)
    module: Any = lightning_module(net, make, partial(curvestep.attach, scaler=scaler))

    def clip(self: Any, optimizer: Any) -> None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)

    type(module).on_before_optimizer_step = clip
    fit(module, batches(setting), plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    assert_close(parameters(net), expected(make, setting), 1e-6)


def test_lightning_logs_the_effective_step(tmp_path: Path) -> None:
    """LearningRateMonitor shows ℓ, the ``lr`` of the groups; one line beside it shows what came of it."""
    pytest.importorskip("lightning.pytorch")
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import CSVLogger

    class Module(type(lightning_module(make_net(SETTING), METHODS["Auto"], None))):
        def configure_optimizers(self) -> Any:
            optimizer = super().configure_optimizers()
            optimizer.register_step_post_hook(lambda *_: self.log_dict(optimizer.last_step.scalars()))
            return optimizer

    module = Module()
    logger = CSVLogger(tmp_path)
    monitor = LearningRateMonitor()
    fit(module, max_steps=4, logger=logger, log_every_n_steps=1, callbacks=[monitor])
    lines = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    assert "curvestep/step_size" in lines[0] and "lr-Auto" in lines[0]
    column = lines[0].split(",").index("curvestep/step_size")
    sizes = [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]
    assert len(sizes) == 4
    assert sizes[-1] == pytest.approx(module.optimizer.last_step.step_size, rel=1e-6)  # Lightning keeps float32


# --------------------------------------------------------------------------------------------------------- Accelerate


@pytest.mark.usefixtures("_one_accelerator")
def test_accelerate_saves_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    from accelerate import Accelerator

    make = METHODS["RescaledAdam"]
    accelerator = Accelerator(cpu=True)
    net = make_net(SETTING)
    net, optimizer = accelerator.prepare(net, make(net.parameters()))
    curvestep.attach(net, optimizer)

    def train(steps: list[dict[str, Tensor]]) -> None:
        for batch in steps:
            accelerator.backward(net(**batch)["loss"])
            optimizer.step()
            optimizer.zero_grad()

    data = list(batches(SETTING))
    train(data[:9])
    accelerator.save_state(str(tmp_path))
    train(data[9:12])
    accelerator.load_state(str(tmp_path))
    train(data[9:])
    assert_bitwise_equal(parameters(net), expected(make))


# --------------------------------------------------------------------------------------------------------- HF Trainer


def trainer_of(net: nn.Module, optimizer: Any, folder: Path, **options: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    arguments = {
        "max_steps": STEPS,
        "per_device_train_batch_size": 8,
        "max_grad_norm": 1.0,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }
    return transformers.Trainer(
        net,
        transformers.TrainingArguments(str(folder), **{**arguments, **options}),
        train_dataset=batches(SETTING).dataset,
        optimizers=(optimizer, transformers.get_constant_schedule(optimizer)),
    )


@pytest.mark.usefixtures("_one_accelerator")
def test_hf_trainer_resumes_and_logs_the_effective_step(tmp_path: Path) -> None:
    make, nets, logs = METHODS["RescaledAdam"], [], []
    for upto in (STEPS, 9, STEPS):
        net = make_net(SETTING)
        optimizer = make(net.parameters())
        saving = {"save_strategy": "steps", "save_steps": 9, "max_steps": upto}
        trainer = trainer_of(net, optimizer, tmp_path / ("whole" if not nets else "parts"), **saving)
        curvestep.attach(net, optimizer)
        optimizer.register_step_post_hook(
            lambda optimizer, *_, trainer=trainer: trainer.log(optimizer.last_step.scalars())
        )
        trainer.train(resume_from_checkpoint=len(nets) == 2)
        nets.append(net)
        logs.append([e["curvestep/step_size"] for e in trainer.state.log_history if "curvestep/step_size" in e])
    assert_close(parameters(nets[2]), parameters(nets[0]), 0.0)
    assert len(logs[0]) == STEPS and logs[2] == logs[0]


@pytest.mark.usefixtures("_one_accelerator")
def test_hf_trainer_with_gradient_checkpointing(tmp_path: Path) -> None:
    """On a GPT-2 from configuration: the steps without it, to rounding."""
    transformers = pytest.importorskip("transformers")
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        config = transformers.GPT2Config(
            vocab_size=19, n_positions=8, n_embd=8, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
        )
        net = transformers.GPT2LMHeadModel(config).double()
        optimizer = curvestep.RescaledAdam(net.parameters(), lr=0.3)
        data = [{"input_ids": row, "labels": row} for row in torch.randint(19, (32, 8))]
        trainer = transformers.Trainer(
            net,
            transformers.TrainingArguments(
                str(tmp_path),
                max_steps=4,
                gradient_checkpointing=checkpointing,
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=data,
            optimizers=(optimizer, transformers.get_constant_schedule(optimizer)),
        )
        curvestep.attach(net, optimizer)
        trainer.train()
        assert optimizer.outcomes.keys() <= {Outcome.TAKEN, Outcome.CLAMPED, Outcome.ABSOLUTE_SLOPE}
        found.append(parameters(net))
    assert_close(found[1], found[0], 1e-9)
