"""The table of tasks: one file a task, one row here."""

from __future__ import annotations

from curvestep.bench.errors import SettingError
from curvestep.bench.task import Task
from curvestep.bench.tasks.cifar10_vgg11 import CIFAR10_VGG11
from curvestep.bench.tasks.digits_mlp import DIGITS_MLP
from curvestep.bench.tasks.mnist_autoencoder import MNIST_AUTOENCODER
from curvestep.bench.tasks.mnist_lenet import MNIST_LENET
from curvestep.bench.tasks.shakespeare_gpt import SHAKESPEARE_GPT

TASKS: dict[str, Task] = {
    task.name: task for task in (DIGITS_MLP, MNIST_LENET, MNIST_AUTOENCODER, CIFAR10_VGG11, SHAKESPEARE_GPT)
}


def get_task(name: str) -> Task:
    """The task with this name.

    Args:
        name: as ``curvestep tasks`` lists it.

    Returns:
        The task.

    Raises:
        SettingError: if there is none.
    """
    if name not in TASKS:
        raise SettingError(f"There is no task {name!r}; the tasks are {', '.join(TASKS)}.")
    return TASKS[name]
