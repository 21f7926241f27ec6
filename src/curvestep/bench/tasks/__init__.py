"""The table of tasks: one file a task, one row here."""

from __future__ import annotations

from curvestep.bench.names import named
from curvestep.bench.task import Task
from curvestep.bench.tasks.cifar10_resnet import CIFAR10_RESNET, CIFAR10_RESNET_PLAIN
from curvestep.bench.tasks.cifar10_vgg11 import CIFAR10_VGG11, CIFAR10_VGG11_MEMORY, CIFAR10_VGG11_RELU
from curvestep.bench.tasks.cifar100_vgg19 import CIFAR100_VGG19, CIFAR100_VGG19_MEMORY
from curvestep.bench.tasks.digits_mlp import DIGITS_MLP
from curvestep.bench.tasks.linear_probe import LINEAR_PROBE, LINEAR_PROBE_TRICKS
from curvestep.bench.tasks.mnist_autoencoder import MNIST_AUTOENCODER
from curvestep.bench.tasks.mnist_lenet import MNIST_LENET
from curvestep.bench.tasks.mnist_stream import MNIST_STREAM
from curvestep.bench.tasks.mnist_vit import MNIST_VIT
from curvestep.bench.tasks.shakespeare_gpt import SHAKESPEARE_GPT
from curvestep.bench.tasks.shakespeare_lstm import SHAKESPEARE_LSTM

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        DIGITS_MLP,
        MNIST_LENET,
        MNIST_AUTOENCODER,
        CIFAR10_VGG11,
        CIFAR10_VGG11_RELU,
        CIFAR10_VGG11_MEMORY,
        CIFAR100_VGG19,
        CIFAR100_VGG19_MEMORY,
        LINEAR_PROBE,
        LINEAR_PROBE_TRICKS,
        CIFAR10_RESNET,
        CIFAR10_RESNET_PLAIN,
        MNIST_VIT,
        MNIST_STREAM,
        SHAKESPEARE_GPT,
        SHAKESPEARE_LSTM,
    )
}


def get_task(name: str) -> Task:
    """The task of this name, as ``curvestep tasks`` lists it; SettingError if there is none."""
    return named("task", name, TASKS)
