"""Recurrent cells that arrive as one kernel, and packed sequences.

On a CPU `nn.GRU` and `nn.RNN`, and `nn.LSTM` in other precisions than float32, arrive as matrix products and
activations and need nothing from here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from curvestep._errors import MissingRuleError
from curvestep.engine.data.rule import Kind, Rule
from curvestep.engine.data.samples import Annotation, Marker, SampleAxis, merge
from curvestep.engine.rules.axes import leading_axis
from curvestep.engine.rules.forms import formula
from curvestep.engine.rules.operators import aten
from curvestep.engine.rules.site import AxisSite, Jet, Site
from curvestep.engine.rules.table import op


def _lstm_cell(
    from_input: Tensor, from_state: Tensor, cell: Tensor, bias: Tensor | None = None, state_bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    gates = from_input + from_state
    if bias is not None and state_bias is not None:
        gates = gates + bias + state_bias
    take, keep, new, show = gates.chunk(4, 1)
    cell = torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(new)
    return torch.sigmoid(show) * torch.tanh(cell), cell


def _gru_cell(
    from_input: Tensor, from_state: Tensor, state: Tensor, bias: Tensor | None = None, state_bias: Tensor | None = None
) -> Tensor:
    if bias is not None and state_bias is not None:
        from_input, from_state = from_input + bias, from_state + state_bias
    reset_in, keep_in, new_in = from_input.chunk(3, 1)
    reset, keep, new = from_state.chunk(3, 1)
    candidate = torch.tanh(new_in + torch.sigmoid(reset_in + reset) * new)
    return candidate + torch.sigmoid(keep_in + keep) * (state - candidate)


def _cell_axis(outputs: int) -> Callable[[AxisSite], list[Annotation]]:
    return lambda s: [leading_axis(s)] * (outputs - 1) + [Marker.LOST]


op(aten._thnn_fused_lstm_cell.default, formula(_lstm_cell, _cell_axis(3)))
op(aten._thnn_fused_gru_cell.default, formula(_gru_cell, _cell_axis(2)))


def _refused(how: str) -> Callable[[Site], Jet]:
    def jet(s: Site) -> Jet:
        raise MissingRuleError(
            f"Recurrent steps as separate operations were needed, but {s.node.name} ran them as one kernel that keeps "
            f"no gates. {how}"
        )

    return jet


REFUSED: dict[str, str] = {}  # operations whose rule is a sentence that says what to do instead
_CUDNN = "Run the forward inside `with torch.backends.cudnn.flags(enabled=False):`."
for _name, _how in (
    ("_cudnn_rnn", _CUDNN),
    ("miopen_rnn", _CUDNN),
    ("_lstm_mps", "Run the recurrent layer on the CPU."),
):
    REFUSED[f"aten.{_name}.default"] = _how
    op(
        getattr(aten, _name).default,
        Rule(Kind.NONLINEAR, _refused(_how), lambda s: [Marker.LOST] * len(s.node.outputs)),
    )


# -- the LSTM layer of oneDNN, which float32 takes on a CPU ----------------------------------------------------------


def _onednn_layer(
    inputs: Tensor,
    from_input: Tensor,
    from_state: Tensor,
    bias: Tensor,
    state_bias: Tensor,
    state: Tensor,
    cell: Tensor,
    reverse: bool,
    batch_sizes: list[int],
    mode: int,
    hidden_size: int,
    num_layers: int,
    has_biases: bool,
    bidirectional: bool,
    batch_first: bool,
    train: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer in one direction, over (T, B, features), as torch decomposes it in other precisions."""
    projected = torch.nn.functional.linear(inputs, from_input, bias + state_bias if has_biases else None)
    shape = state.shape
    state, cell = state.reshape(-1, hidden_size), cell.reshape(-1, hidden_size)
    shown: list[Tensor] = []
    for step in reversed(projected.unbind(0)) if reverse else projected.unbind(0):
        state, cell = _lstm_cell(step, state @ from_state.t(), cell)
        shown.append(state)
    return torch.stack(shown[::-1] if reverse else shown), state.reshape(shape), cell.reshape(shape)


def _onednn_axis(s: AxisSite) -> list[Annotation]:
    """Samples on axis 1 of the sequence, and on the last but one of the states."""
    states = [
        k.at(1) if isinstance(k, SampleAxis) and k.dim == len(s.shape(i)) - 2 else k for i in (5, 6) for k in (s.at(i),)
    ]
    known = merge([s.at(0), *states])
    if not isinstance(known, SampleAxis) or known.dim != 1:
        rest: Annotation = Marker.LOST if isinstance(known, SampleAxis) else known
        return [rest, rest, rest, Marker.LOST]
    last = known.at(len(s.out_shape(1)) - 2)
    return [known, last, last, Marker.LOST]


op(aten.mkldnn_rnn_layer.default, formula(_onednn_layer, _onednn_axis))


# -- packed sequences: rows sorted by time, of every sample that is still running ------------------------------------


def _packed(t: Tensor, lengths: Tensor, batch_first: bool) -> Tensor:
    return aten._pack_padded_sequence.default(t, lengths, batch_first)[0]


def _pack(s: Site) -> list[Jet]:
    lengths, batch_first = s.x(1), s.arg(2)

    return [s.through(lambda t: _packed(t, lengths, batch_first)), (None, None)]


def _pack_axis(s: AxisSite) -> list[Annotation]:
    known = s.at(0)
    rows: Annotation = Marker.LOST if isinstance(known, SampleAxis) else known
    steps: Annotation = Marker.SHARED
    return [rows, steps]


op(aten._pack_padded_sequence.default, Rule(Kind.LINEAR, _pack, _pack_axis))
