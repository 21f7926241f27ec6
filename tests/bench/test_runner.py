"""The training loop: every task trains, the seed decides everything, measurements mean what they say."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from curvestep.bench.config import RunConfig
from curvestep.bench.errors import SettingError
from curvestep.bench.execute import execute
from curvestep.bench.measure import MovingAverage, StepMeasurement, Thinner, cross_entropy, l2_term
from curvestep.bench.methods import METHODS
from curvestep.bench.methods.method import BuildRequest, Built
from curvestep.bench.networks.resnet import BasicBlock
from curvestep.bench.networks.specs import ViTSpec
from curvestep.bench.networks.transformer import Block
from curvestep.bench.record import RunRecord, run_store
from curvestep.bench.runner import Progress, resolve_device, run
from curvestep.bench.settings import Wish, run_config
from curvestep.bench.task import LoadRequest, Recovery
from curvestep.bench.tasks import TASKS, get_task

DIGITS = Wish("digits-mlp", scale="small", epochs=2)


def timeless(record: RunRecord) -> object:
    """A record without what no seed decides."""
    epochs = [dataclasses.replace(epoch, seconds=0.0) for epoch in record.epochs]
    return epochs, dataclasses.replace(record.samples, seconds=()), record.outcomes


@pytest.mark.parametrize("method", ["red-sgd", "sgd"])
@pytest.mark.parametrize("name", TASKS)
def test_every_task_trains(name: str, method: str, data_folder: Path) -> None:
    text = TASKS[name].scales["small"].window is not None
    wish = Wish(name, scale="small", steps=3, batch_size=4 if text else 16, subset=2000 if text else 32)
    record = run(run_config(wish, method, None if method == "red-sgd" else 1e-3, 0), data_folder)
    assert record.status == "finished"
    assert record.last is not None and record.last.step == 3
    numbers = [record.last.train_loss, record.last.train_eval_loss, record.last.test_loss, *record.samples.loss]
    assert all(number is not None and math.isfinite(number) for number in numbers)
    assert (record.last.test_accuracy is not None) == TASKS[name].has_accuracy
    assert record.samples.step == (1, 2, 3)
    if method == "red-sgd":
        assert sum(record.outcomes.values()) == 3
        assert all(value is not None for value in record.samples.curvature)
    else:
        assert record.samples.step_size == (1e-3, 1e-3, 1e-3)


@pytest.mark.parametrize(
    ("name", "scale", "parameters"),
    [
        # Σ (inputs + 1)·outputs over the layers, counted by hand from the widths.
        ("digits-mlp", "paper", 65 * 64 + 65 * 32 + 33 * 10),
        ("mnist-lenet", "paper", 785 * 300 + 301 * 100 + 101 * 10),
        (
            "mnist-autoencoder",
            "paper",
            785 * 1000 + 1001 * 500 + 501 * 250 + 251 * 30 + 31 * 250 + 251 * 500 + 501 * 1000 + 1001 * 784,
        ),
        # VGG11's 9,220,480 convolution weights and biases, as published for 3 channels, and 513·10 of the last layer.
        ("cifar10-vgg11", "paper", 9_220_480 + 5_130),
        ("cifar10-vgg11-relu", "paper", 9_220_480 + 5_130),
        ("cifar10-vgg11-memory", "paper", 9_220_480 + 5_130),
        # VGG19's 20,024,384 convolution weights and biases, as published, and 513·100 of the last layer.
        ("cifar100-vgg19", "paper", 20_024_384 + 51_300),
        ("linear-probe", "paper", 65 * 100),
        # ResNet-20 as published with 1×1 shortcuts: 269,722 with identity ones, 16·32 + 32·64 weights of two
        # convolutions and their 2·(32 + 64) scales and shifts.
        ("cifar10-resnet", "paper", 269_722 + 512 + 2_048 + 192),
        # The same convolutions with a bias each (as many as they have channels) instead of two numbers of a norm.
        ("cifar10-resnet-plain", "paper", 269_722 + 512 + 2_048 + 192 - 16 * 7 - 32 * 7 - 64 * 7),
        # 49 pixels to 64, 16 positions, 3 blocks of 4·64 + 65·192 + 65·64 + 65·256 + 257·64, norm 128, 65·10.
        (
            "mnist-vit",
            "small",
            50 * 64 + 16 * 64 + 3 * (256 + 65 * 192 + 65 * 64 + 65 * 256 + 257 * 64) + 128 + 650,
        ),
        # 65·128 embedding, four gates of 128 from 128 inputs, 128 states and two biases, logits 129·65.
        ("shakespeare-lstm", "small", 65 * 128 + 4 * 128 * (128 + 128 + 2) + 129 * 65),
        # 65·96 + 64·96 embeddings, 3 blocks of 4·96·2/2 + 97·288 + 97·96 + 97·384 + 385·96, norm 192, logits 65·96.
        (
            "shakespeare-gpt",
            "small",
            65 * 96 * 2 + 64 * 96 + 3 * (384 + 97 * 288 + 97 * 96 + 97 * 384 + 385 * 96) + 192,
        ),
    ],
)
def test_networks_have_the_stated_size(name: str, scale: str, parameters: int) -> None:
    network = get_task(name).scales[scale].network.build()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_a_plain_residual_network_starts_as_its_shortcuts() -> None:
    network = get_task("cifar10-resnet-plain").scales["small"].network.build()
    assert isinstance(network, torch.nn.Sequential)
    blocks = [module for module in network if isinstance(module, BasicBlock)]
    assert len(blocks) == 6
    hidden = torch.relu(torch.randn(2, 16, 16, 16))
    assert torch.equal(blocks[0](hidden), hidden)
    hidden = blocks[2](hidden)
    assert hidden.shape == (2, 32, 8, 8)


def test_a_vision_transformer_looks_at_every_patch_from_everywhere() -> None:
    network = ViTSpec(8, 1, 4, 1, 8, 2, 3).build()
    images = torch.randn(1, 1, 8, 8, requires_grad=True)
    network(images).sum().backward()
    assert images.grad is not None and bool((images.grad != 0.0).all())
    hidden = torch.randn(1, 4, 8)
    for causal in (False, True):
        moved = hidden.clone()
        moved[:, -1] = torch.randn(8)
        block = Block(8, 2, causal=causal)
        # The first token hears of a change of the last one exactly where attention is not causal.
        assert torch.equal(block(hidden)[:, 0], block(moved)[:, 0]) == causal


def test_a_scale_says_how_many_examples_are_measured(data_folder: Path) -> None:
    task = get_task("cifar10-resnet")
    request = LoadRequest(16, 32, 0, torch.device("cpu"), data_folder, False, None, evaluation_size=20)
    assert sum(len(batch.inputs) for batch in task.load(request).evaluation("train")) == 20
    assert sum(len(batch.inputs) for batch in task.load(request).evaluation("test")) == 20
    whole = dataclasses.replace(request, evaluation_size=None)
    assert sum(len(batch.inputs) for batch in task.load(whole).evaluation("train")) == 32


def test_equal_seeds_give_equal_runs() -> None:
    config = run_config(DIGITS, "red-adam", None, 5)
    assert timeless(run(config)) == timeless(run(config))
    other = run(run_config(DIGITS, "red-adam", None, 6))
    assert timeless(other) != timeless(run(config))


def test_all_methods_start_from_the_same_weights_and_batch() -> None:
    starts = {
        run(run_config(DIGITS, method, lr, 5)).samples.loss[0] for method, lr in [("red-sgd", None), ("sgd", 1.0)]
    }
    assert len(starts) == 1


def test_training_learns_the_digits() -> None:
    record = run(run_config(dataclasses.replace(DIGITS, epochs=5), "red-sgd", None, 0))
    assert record.last is not None and record.last.test_accuracy is not None
    # Chance is 0.1; sgd at a middling rate of 0.1 is at 0.87 after five epochs.
    assert record.last.test_accuracy > 0.8


def test_divergence_ends_the_run_and_is_a_result() -> None:
    # λ·lr = 1e4 multiplies θ by about -1e4 in each step: float32 overflows within ten.
    wish = dataclasses.replace(DIGITS, weight_decay=1.0)
    record = run(run_config(wish, "sgd", 1e4, 0))
    assert record.status == "diverged"
    assert record.diverged_at is not None and 1 < record.diverged_at <= 20
    assert record.samples.step[-1] == record.diverged_at
    assert RunRecord.from_json(record.to_json()).samples.loss[-1] is None


def test_steps_end_a_run_inside_an_epoch() -> None:
    record = run(run_config(Wish("digits-mlp", scale="small", steps=15), "sgd", 0.1, 0))
    assert [(epoch.epoch, epoch.step) for epoch in record.epochs] == [(1.0, 10), (1.5, 15)]


def test_epoch_loss_is_the_mean_of_its_batches_with_the_l2_term() -> None:
    record = run(run_config(Wish("digits-mlp", scale="small", epochs=2, weight_decay=0.5), "sgd", 1e-9, 0))
    first, second = record.samples.loss[:10], record.samples.loss[10:20]
    assert record.epochs[0].train_loss == pytest.approx(math.fsum(x for x in first if x is not None) / 10)
    assert record.epochs[1].train_loss == pytest.approx(math.fsum(x for x in second if x is not None) / 10)
    without = run(run_config(Wish("digits-mlp", scale="small", epochs=2, weight_decay=0.0), "sgd", 1e-9, 0))
    torch.manual_seed(0)
    network = get_task("digits-mlp").scales["small"].network.build()
    l2 = 0.25 * sum(float(parameter.detach().double().square().sum()) for parameter in network.parameters())
    assert without.samples.loss[0] is not None and record.samples.loss[0] is not None
    # float32 losses of about 2.3 and a sum of 2,778 squares: both good to about 1e-6.
    assert record.samples.loss[0] - without.samples.loss[0] == pytest.approx(l2, rel=1e-5)
    assert record.epochs[0].test_loss is not None and without.epochs[0].test_loss is not None
    assert record.epochs[0].test_loss - without.epochs[0].test_loss == pytest.approx(l2, rel=1e-5)


def test_l2_term_of_known_parameters() -> None:
    assert l2_term([torch.tensor([3.0, 4.0]), torch.tensor([[12.0]])], 0.1) == pytest.approx(0.5 * 0.1 * 169.0)


def test_moving_average_has_no_bias_at_the_start() -> None:
    average = MovingAverage(0.9)
    assert average.update(4.0) == pytest.approx(4.0)
    assert average.update(4.0) == pytest.approx(4.0)
    # weights 0.09·…: (0.81·0.1·4 + 0.9·0.1·4 … ) written out: m = 0.1·(0.81·4 + 0.9·4 + 1·10), over 0.1·(0.81+0.9+1)
    assert average.update(10.0) == pytest.approx((0.81 * 4 + 0.9 * 4 + 10) / (0.81 + 0.9 + 1))


@pytest.mark.parametrize(("steps", "kept"), [(1, 1), (400, 400), (401, 201), (899, 301), (900, 301)])
def test_samples_are_thinned(steps: int, kept: int) -> None:
    thinner = Thinner(steps)
    for step in range(1, steps + 1):
        thinner.add(StepMeasurement(step, step / 10, 0.1 * step, 2.0, 2.0, 0.1, 0.1, None, None, None))
    numbers = thinner.samples().step
    stride = -(-steps // 400)
    # Every stride-th from the first, and the last one.
    assert numbers == (*range(1, steps, stride), steps)
    assert len(numbers) == kept


def test_cross_entropy_of_sequences_is_the_mean_over_all_characters() -> None:
    logits, classes = torch.randn(2, 3, 5), torch.randint(0, 5, (2, 3))
    expected = -logits.log_softmax(-1).gather(-1, classes[..., None]).mean()
    torch.testing.assert_close(cross_entropy(logits, classes), expected)


def test_progress_is_reported_after_each_step() -> None:
    seen: list[Progress] = []
    run(run_config(Wish("digits-mlp", scale="small", steps=12), "red-sgd", None, 0), on_step=seen.append)
    assert [progress.measurement.step for progress in seen] == list(range(1, 13))
    assert seen[9].metrics is None and seen[10].metrics is not None
    assert all(progress.measurement.curvature is not None for progress in seen)


def test_unknown_device_lists_the_known() -> None:
    with pytest.raises(SettingError, match="no device 'cuda:99' here; the devices are cpu"):
        resolve_device("cuda:99")


def test_warmup_longer_than_the_run() -> None:
    wish = Wish("digits-mlp", scale="small", epochs=1, schedule="cosine", warmup=10)
    with pytest.raises(SettingError, match="--warmup 10 leaves nothing of a run of 10 steps"):
        run(run_config(wish, "sgd", 0.1, 0))


def test_records_name_no_host_and_no_path() -> None:
    import getpass
    import platform

    text = json.dumps(run(run_config(Wish("digits-mlp", scale="small", steps=1), "sgd", 0.1, 0)).to_json())
    assert platform.node() not in text
    assert str(Path.home()) not in text and str(Path.cwd()) not in text
    assert f'"{getpass.getuser()}"' not in text


class Average:
    """A stand-in for an optimizer that keeps averaged weights: the averages are all zero."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        self.parameters = parameters
        self.entered = 0

    @contextmanager
    def averaged(self) -> Iterator[None]:
        self.entered += 1
        kept = [parameter.detach().clone() for parameter in self.parameters]
        with torch.no_grad():
            for parameter in self.parameters:
                parameter.zero_()
        yield
        with torch.no_grad():
            for parameter, value in zip(self.parameters, kept, strict=True):
                parameter.copy_(value)


def test_averaged_weights_are_measured_and_training_goes_on_with_the_last(
    monkeypatch: pytest.MonkeyPatch, data_folder: Path
) -> None:
    wish = Wish("cifar10-resnet", scale="small", steps=4, batch_size=16, subset=32)
    plain = run(run_config(wish, "sgd", 0.1, 0), data_folder)
    averages: list[Average] = []
    row = METHODS["sgd"]

    def build(request: BuildRequest) -> Built:
        averages.append(Average(request.parameters))
        return dataclasses.replace(row.build(request), averaged=averages[0].averaged)

    monkeypatch.setitem(METHODS, "sgd", dataclasses.replace(row, build=build))
    record = run(run_config(wish, "sgd", 0.1, 0), data_folder)
    assert averages[0].entered == 2
    # Logits of zero weights are zero: a cross-entropy of log 10.
    assert [epoch.test_loss for epoch in record.epochs] == pytest.approx([math.log(10)] * 2, rel=1e-6)
    assert record.held_out == record.epochs[-1].test_loss
    # Parameters and batch-norm statistics are put back: the run itself is the one without averages.
    assert record.samples.loss == plain.samples.loss
    assert [epoch.last_test_loss for epoch in record.epochs] == [epoch.test_loss for epoch in plain.epochs]
    assert [epoch.last_train_eval_loss for epoch in record.epochs] == [e.train_eval_loss for e in plain.epochs]
    assert plain.epochs[0].last_test_loss is None
    assert RunRecord.from_json(json.loads(json.dumps(record.to_json()))).epochs[0].last_test_loss is not None


def test_a_diverged_run_has_no_held_out_loss() -> None:
    record = run(run_config(dataclasses.replace(DIGITS, weight_decay=1.0), "sgd", 1e4, 0))
    assert record.status == "diverged" and record.held_out is None


def test_the_stream_turns_and_recovery_is_counted_from_each_turn(data_folder: Path) -> None:
    request = LoadRequest(16, 32, 0, torch.device("cpu"), data_folder, False, None)
    feed, still = get_task("mnist-stream").load(request), get_task("mnist-lenet").load(request)
    first, third = next(feed.evaluation("test", 0)), next(feed.evaluation("test", 2))
    original = next(still.evaluation("test"))
    assert torch.equal(first.inputs, original.inputs) and torch.equal(third.targets, original.targets)
    assert not torch.allclose(third.inputs, original.inputs, atol=0.1)
    # 24 · 75° = 5 · 360°
    assert torch.equal(next(feed.evaluation("train", 24)).inputs, next(still.evaluation("train")).inputs)
    batch, same = next(feed.epoch(1)), next(still.epoch(1))
    assert torch.equal(batch.targets, same.targets) and not torch.allclose(batch.inputs, same.inputs, atol=0.1)
    record = run(run_config(Wish("mnist-stream", scale="small", epochs=2, subset=32, batch_size=2), "sgd", 0.1, 0),
                 data_folder)  # fmt: skip
    for epoch in (0, 1):
        losses = [loss for loss in record.samples.loss[16 * epoch : 16 * epoch + 16] if loss is not None]
        assert record.epochs[epoch].recovery_steps == Recovery(0.6, 10).steps(losses)


def test_recovery_needs_a_full_window_behind_the_shift() -> None:
    recovery = Recovery(loss=1.0, window=3)
    assert recovery.steps([0.0, 0.0]) is None
    assert recovery.steps([0.0, 0.0, 0.0]) == 3
    assert recovery.steps([5.0, 2.0, 1.0, 0.5, 1.5, 9.0]) == 5
    assert recovery.steps([5.0] * 9) is None
    assert recovery.steps([float("nan"), 0.0, 0.0, 0.0]) == 4


class Log:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def skipped(self, config: RunConfig) -> None:
        self.events.append(("skipped", config.seed))

    def started(self, config: RunConfig) -> None:
        self.events.append(("started", config.seed))

    def stepped(self, config: RunConfig, progress: Progress) -> None:
        pass

    def finished(self, record: RunRecord) -> None:
        self.events.append(("finished", record.config.seed))


def configs(count: int) -> list[RunConfig]:
    return [run_config(Wish("digits-mlp", scale="small", steps=2), "sgd", 0.1, seed) for seed in range(count)]


def test_runs_in_the_store_are_not_repeated(tmp_path: Path) -> None:
    store, first, second = run_store(tmp_path), Log(), Log()
    execute(configs(2), store, first)
    assert first.events == [("started", 0), ("finished", 0), ("started", 1), ("finished", 1)]
    before = store.path.read_bytes()
    execute(configs(3), store, second)
    assert second.events == [("skipped", 0), ("skipped", 1), ("started", 2), ("finished", 2)]
    assert store.path.read_bytes().startswith(before)


def test_a_killed_comparison_goes_on_where_it_stopped(tmp_path: Path) -> None:
    store, log = run_store(tmp_path), Log()

    class Killed(Log):
        def stepped(self, config: RunConfig, progress: Progress) -> None:
            if config.seed == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(configs(3), store, Killed())
    assert [record.config.seed for record in store.read()] == [0]
    execute(configs(3), store, log)
    assert log.events[0] == ("skipped", 0)
    assert [record.config.seed for record in store.read()] == [0, 1, 2]


def test_jobs_give_the_same_runs(tmp_path: Path) -> None:
    one, two = run_store(tmp_path / "one"), run_store(tmp_path / "two")
    execute(configs(2), one, Log(), threads=1)
    execute(configs(2), two, Log(), threads=1, jobs=2)
    by_seed = {record.config.seed: timeless(record) for record in two.read()}
    assert by_seed == {record.config.seed: timeless(record) for record in one.read()}


@pytest.mark.parametrize(("threads", "jobs", "sentence"), [(0, 1, "--threads"), (None, 0, "--jobs")])
def test_threads_and_jobs_out_of_range(tmp_path: Path, threads: int | None, jobs: int, sentence: str) -> None:
    with pytest.raises(SettingError, match=f"{sentence} is a whole number ≥ 1, 0 was given"):
        execute(configs(1), run_store(tmp_path), Log(), threads=threads, jobs=jobs)


def test_threads_are_put_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    execute(configs(1), run_store(tmp_path), Log(), threads=before + 1)
    assert torch.get_num_threads() == before
