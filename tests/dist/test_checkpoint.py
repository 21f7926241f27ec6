"""Checkpoints through torch.distributed.checkpoint: what is loaded goes on bit for bit as what was saved."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from curvestep._errors import RecordingError
from tests.methods import METHODS, Method, Options
from tests.optim.problem import Problem, assert_bitwise_equal, make_problem

# It says so itself where there is one process.
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")

#: Every set of tensors that an optimizer may keep, and averages of the weights beside them.
NAMED = [
    (f"{name}-{variant}", METHODS[name], METHODS[name].variants[variant])
    for name in METHODS
    for variant in (*METHODS[name].state_per_parameter, "averaged")
    if variant in METHODS[name].variants
]
IDS = [name for name, _, _ in NAMED]
CASES = [(method, options) for _, method, options in NAMED]


def saved(problem: Problem, optimizer: Any, folder: Path) -> None:
    """Write a checkpoint of model and optimizer."""
    model, state = get_state_dict(problem.net, optimizer)
    dcp.save({"model": model, "optimizer": state}, checkpoint_id=folder)


def loaded(problem: Problem, optimizer: Any, folder: Path) -> None:
    """Load a checkpoint into a model and an optimizer that has taken no step."""
    model, state = get_state_dict(problem.net, optimizer)
    holder: dict[str, Any] = {"model": model, "optimizer": state}
    dcp.load(holder, checkpoint_id=folder)
    set_state_dict(problem.net, optimizer, model_state_dict=holder["model"], optim_state_dict=holder["optimizer"])


@pytest.mark.parametrize(("method", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("steps", [0, 5])  # after five a first window has ended, and the next call measures it
def test_what_is_loaded_into_a_fresh_optimizer_goes_on_bit_for_bit(
    method: Method, options: Options, steps: int, tmp_path: Path
) -> None:
    first, second = make_problem(), make_problem()
    with torch.no_grad():
        for parameter in second.net.parameters():
            parameter.mul_(0.5)
    optimizer = method.make(first.net.parameters(), **options)
    first.train(optimizer, range(steps))
    optimizer.zero_grad()
    saved(first, optimizer, tmp_path)
    other = method.make(second.net.parameters(), **options)
    loaded(second, other, tmp_path)
    assert_bitwise_equal(second.parameters(), first.parameters())
    assert first.train(optimizer, range(steps, steps + 4)) == second.train(other, range(steps, steps + 4))
    assert_bitwise_equal(second.parameters(), first.parameters())


# torch refuses to load a full state without a tensor, that of torch.optim.SGD too.
@pytest.mark.parametrize("full", [True, False], ids=["full", "flat"])
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.state_per_parameter["plain"]])
def test_other_forms_of_the_state_are_loaded_too(name: str, full: bool) -> None:
    first, second = make_problem(), make_problem()
    optimizer, other = (METHODS[name].make(problem.net.parameters()) for problem in (first, second))
    first.train(optimizer, range(3))
    optimizer.zero_grad()
    options = StateDictOptions(full_state_dict=full, flatten_optimizer_state_dict=not full)
    model, state = copy.deepcopy(get_state_dict(first.net, optimizer, options=options))
    set_state_dict(second.net, other, model_state_dict=model, optim_state_dict=state, options=options)
    assert first.train(optimizer, range(3, 8)) == second.train(other, range(3, 8))  # a window's end among them
    assert_bitwise_equal(second.parameters(), first.parameters())


# A base of torch.optim counts the step with a gradient of zero, as it does on its own.
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.still])
def test_making_a_state_dict_of_a_fresh_optimizer_changes_no_later_step(name: str) -> None:
    method = METHODS[name]
    plain, looked = make_problem(), make_problem()
    one, other = method.make(plain.net.parameters()), method.make(looked.net.parameters())
    get_state_dict(looked.net, other)
    assert plain.train(one, range(4)) == looked.train(other, range(4))
    assert_bitwise_equal(looked.parameters(), plain.parameters())


def test_a_step_without_a_recording_is_refused_where_something_could_move() -> None:
    problem = make_problem()
    optimizer = METHODS["RescaledAdam"].make(problem.net.parameters())
    problem.loss(0).backward()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    with pytest.raises(RecordingError, match="nothing was recorded"):
        optimizer.step()
    for group, parameter in zip(optimizer.param_groups, problem.net.parameters(), strict=False):
        group["lr"] = 0.5
        parameter.grad = torch.zeros_like(parameter)
    with pytest.raises(RecordingError, match="nothing was recorded"):
        optimizer.step()


@pytest.mark.parametrize("name", METHODS)
def test_parameters_of_the_older_sharding_are_refused(name: str) -> None:
    (parameter,) = parameters = [torch.nn.Parameter(torch.ones(3))]
    vars(parameter)["_fsdp_flattened"] = True  # as FullyShardedDataParallel marks them; it needs an accelerator
    with pytest.raises(ValueError, match="shard the model with torch.distributed.fsdp.fully_shard"):
        METHODS[name].make(parameters)
