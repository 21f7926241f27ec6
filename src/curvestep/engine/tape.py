"""The tape: the questions that a user may ask of one recorded forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final, get_args

import torch
from torch import Tensor

from curvestep._errors import RecordingError
from curvestep.engine.data.curvature import Curvature, Form, Order, Precision
from curvestep.engine.data.part import checked_samples
from curvestep.engine.data.recording import Recording
from curvestep.engine.data.value import Node
from curvestep.engine.passes import along
from curvestep.engine.passes.analysis import Plan, analyse
from curvestep.engine.passes.following import following
from curvestep.engine.passes.proof import prove
from curvestep.engine.passes.sweep import check_direction, curvature_sweep, is_traced, slope_sweep
from curvestep.engine.recording.opaque import on_the_way, refuse_opaque
from curvestep.engine.recording.steps import age_stepped

#: What a released tape is of.
_NOTHING = Recording()
_NOTHING.release()


@final
class Tape:
    """One recorded forward and what its backward left, ready for passes along any direction.

    Made by `curvestep.record()`; every method needs the backward to have run once.
    """

    def __init__(self, recording: Recording | None = None) -> None:
        self.recording = Recording() if recording is None else recording
        self.recording.holders += 1
        self._visible = False
        self._plan: Plan | None = None
        self._followed: Plan | None = None
        self._revealed: list[str] = []

    # -- what the recording says ------------------------------------------------------------------------------

    @property
    def backwards(self) -> int:
        """How many backward passes the recording has seen."""
        return len(self.recording.log.tasks)

    @property
    def nodes(self) -> list[Node]:
        """The operations of the forward, in the order in which they ran."""
        return self.recording.nodes

    @property
    def loss(self) -> Tensor:
        """The value of the scalar on which backward was called: shape (), detached."""
        root = self.recording.root
        assert root.data is not None
        return root.data.detach().reshape(())

    @property
    def batch_size(self) -> int | None:
        """How many samples the recording saw, or None where no sample axis was found."""
        return self.plan.batch

    @property
    def plan(self) -> Plan:
        """What analysis found on the tape: made once, on first use."""
        if self._plan is None:
            self._plan = analyse(self.recording, self.recording.root)
        return self._plan

    @property
    def _line(self) -> Plan:
        """The plan with what follows the parameters without a gradient: made once, on first use."""
        if self._followed is None:
            self._followed = following(self.recording, self.plan)
        return self._followed

    def require_backward(self) -> None:
        """Refuse, in a sentence, unless backward ran exactly once within the recording."""
        self.recording.require_backward()

    def _require_visible(self) -> None:
        """Refuse a loss that depends on what the recording cannot see into; notice steps taken since."""
        root = self.recording.root
        age_stepped(self.recording)
        changed = self.recording.log.changed
        if changed:
            raise RecordingError(
                f"The gradient of the recorded loss was needed, but {changed[0]} handed on another gradient than it "
                "was given, so that p.grad is the gradient of another function. Do without the hook, or return the "
                "gradient itself; a hook on a parameter may change its gradient."
            )
        if not self._visible:
            refuse_opaque(self.recording, root)
            if self.recording.revealed:
                wanted = on_the_way(self.recording, root)
                self._revealed = [
                    name for v, name in self.recording.revealed.items() if v in wanted or not v.needs_grad
                ]
            self._visible = True

    def _prove(self, params: Sequence[Tensor], direction: Sequence[Tensor], slope: Tensor | None = None) -> None:
        """Refuse a pass whose slope is not that of the gradient: always where something ran beneath autograd."""
        noted, leaves = self.recording.log.gradients, self.recording.leaves
        plain = slope is not None and bool(noted) and all(id(p) in noted for p in params if id(p) in leaves)
        if is_traced() or not (self._revealed or plain):
            return
        if slope is None:
            slope = slope_sweep(self.recording, params, direction)
        still = [torch.zeros_like(d) for d in direction]
        again = lambda: along.gradient_along(self.recording, self.plan, params, still, 0.0)  # noqa: E731
        with torch.no_grad():
            prove(self.recording, self._revealed, params, direction, slope, again)

    # -- passes -----------------------------------------------------------------------------------------------

    def curvature(
        self,
        params: Sequence[Tensor],
        direction: Sequence[Tensor],
        *,
        per_sample: bool = True,
        form: Form = "auto",
        samples: float | Sequence[int] | Tensor | None = None,
        part: int | Tensor = 0,
        kind: Order = "exact",
        precision: Precision = "recorded",
    ) -> Curvature:
        """The exact second directional derivative of the recorded loss, or its generalised Gauss-Newton form.

        Definition:
            q_s = ⟨∇²J_s(θ) d, d⟩ for each sample s, and q = (1/B) Σ_s q_s = ⟨∇²J(θ) d, d⟩ where
            J = (1/B) Σ_s J_s is the scalar that backward was called on (a mean over the batch).
            With kind="ggn", J_s = ℓ_s ∘ f and q_s = ⟨∇²ℓ_s(f) ḟ, ḟ⟩ with ḟ = ∂f(θ)[d]: at least 0 where ℓ_s is convex,
            and equal to the exact form where f is linear in θ. ℓ is what comes behind the last operation that reads
            a moving parameter, or multiplies activations by what is made of parameters alone (a normalised weight);
            f is everything before it.

        | symbol | name | meaning |
        |---|---|---|
        | θ | `params` | the tensors that move |
        | d | `direction` | how they move |
        | q | `total` | curvature of J along d |
        | q_s | `per_sample` | curvature of the loss of sample s along d |
        | ⟨∇J, d⟩ | `slope` | first directional derivative |
        | f, ℓ_s | | the network up to its last parameter, and the loss of sample s as a function of it |

        Args:
            params: leaf tensors that require gradients, any floating or complex dtype. One that the recorded forward
                did not use adds nothing; complex numbers count as pairs of real ones, ⟨a, b⟩ = Re Σ ā b.
            direction: one tensor a parameter, of its shape, dtype and device; any scale.
            per_sample: also split the total over the samples. Costs nothing extra unless samples interact or
                weights are transformed before use; there the affected part of the net carries one more tangent.
            form: "tangent" pairs second-order terms with cotangents where they arise (Algorithm 2); "taylor" carries
                them to the loss (equation 21), which splits exactly under batch normalisation too, for one product
                more; "auto" carries them only where samples interact, and of a part of the batch so does "tangent": a
                term above the samples would meet the gradient of them all.
            samples: measure so many samples of the batch (an int, at least 1) or this fraction of it (a float in
                (0, 1], rounded up) instead of all, spread evenly over it; or the samples with these indices (distinct
                whole numbers, or a tensor of them, which is read on the host). J is then the mean over these samples,
                penalties on weights whole: `per_sample` has one exact entry for each of them, in the order of
                `Curvature.indices`, and `slope` is that of the part, not of the batch. Where the samples come in random
                order, `total` is an unbiased estimate of the batch's curvature, and `Curvature.standard_error` says how
                far off it may be. Under `record(samples=index)` the rows of these samples are measured. J_s is B times
                what sample s adds to J: its own loss where J is a mean over samples, and where J is a mean over N rows
                B/N times the sum over its own, so that `total` is unbiased, and no mean over the rows of the part.
                Where samples mix (batch normalisation in training, contrastive losses), their axis is lost or the part
                has no row, the whole batch is measured, with a warning; `Curvature.samples` says how many were.
            part: o, at least 0: which of the parts with `samples` = k as a number or a fraction. Sample s belongs to
                it iff ⌊(s + 1 + o) k/B⌋ > ⌊(s + o) k/B⌋, so that ⌈B/k⌉ of them in a row measure each sample, and B of
                them each equally often. An integer tensor of shape () serves a graph that is traced once for all parts.
            kind: "exact", or "ggn" for the generalised Gauss-Newton form. An activation behind the last weight belongs
                to ℓ. A penalty in the loss counts in as far as it bends what was computed from a parameter without
                reading one: of (w − w₀)², written so, the square counts; of w², written so, nothing does.
            precision: the dtype of the tangents and their products. "recorded": that of each tensor, so float32 for a
                net in float32, 16 bits where autocast ran in them. "float32": what was recorded in 16 bits is read as
                float32. "bfloat16": products and what lies element by element between them in bfloat16; sums,
                normalisations, softmax and losses in float32. "tf32": as "float32", products in TensorFloat-32 during
                the pass on a device that has it, elsewhere in float32. "float64": everything is read as float64, a
                truth for the rounding of the pass alone. docs/precision.md has the errors of each.

        Returns:
            A `Curvature`: `total` and `slope` are tensors of shape (); `per_sample` has shape (B,) and mean `total`. Of
            the loss's dtype, or wider where the pass is.

        Raises:
            RecordingError: backward did not run, ran twice, or a stored tensor was overwritten since.
            MissingRuleError: an operation between a parameter and the loss has no rule, or the slope is not that of
                the gradient that a `torch.autograd.Function` left.
            DirectionError: params and direction do not match.
            SampleAxisError: no tensor has an axis of the stated `batch_size`.
            ValueError: `form`, `kind` or `precision` is none of those named, `samples` is no count, no fraction and no
                set of samples, or `part` is no whole number of at least 0.

        Cost:
            One tangent pass: two or three products for every product of the forward (see `products` of `record`; one in
            the first layer), two with kind="ggn"; one more where terms are carried, and the forward again where the
            recording holds no values; no host sync, but one where a `torch.autograd.Function` has to be proved. Of a
            part of the batch, that part of it, and then also first tangents of the whole for that proof. Per operation
            some microseconds of Python, and once for each new sequence of shapes, or in each pass under
            `record(samples=index)`, some milliseconds to find how the tape is cut.

        Example:
            The curvature of ½‖θ‖² along d is ‖d‖²:

            >>> import torch, curvestep
            >>> theta = torch.tensor([3.0, 4.0], requires_grad=True)
            >>> with curvestep.record() as tape:
            ...     loss = 0.5 * (theta * theta).sum()
            ...     loss.backward()
            >>> q = tape.curvature([theta], [torch.tensor([1.0, 2.0])])
            >>> q.total.item(), q.slope.item()
            (5.0, 11.0)

        Source: de Gournay & Gossard (2022), Algorithm 2 and equations (15) and (21); Schraudolph (2002), Fast
            Curvature Matrix-Vector Products for Second-Order Gradient Descent, section 3 for kind="ggn".

        Deviations: one sweep serves both forms. Where samples are independent downstream, second-order terms are
            paired with cotangents at once (Algorithm 2); elsewhere they are carried forward (equation 21), so
            that the split stays exact under batch normalisation, where Algorithm 2 alone splits only the sum.
            `samples` is not in the source, which measures all of them.
        """
        if form not in get_args(Form):
            raise ValueError(f"form must be one of {', '.join(get_args(Form))}, but form={form!r} was given.")
        if kind not in get_args(Order):
            raise ValueError(f"kind must be one of {', '.join(get_args(Order))}, but kind={kind!r} was given.")
        if precision not in get_args(Precision):
            raise ValueError(
                f"precision must be one of {', '.join(get_args(Precision))}, but precision={precision!r} was given."
            )
        if not isinstance(part, Tensor) and (isinstance(part, bool) or not isinstance(part, int) or part < 0):
            raise ValueError(f"part must be a whole number of at least 0, but part={part!r} was given.")
        asked = None if samples is None else checked_samples(samples)
        self._require_visible()
        found = curvature_sweep(
            self.recording,
            params,
            direction,
            per_sample=per_sample,
            form=form,
            samples=asked,
            part=part,
            kind=kind,
            precision=precision,
        )
        whole = found.samples == found.batch_size and precision not in ("bfloat16", "tf32")
        self._prove(params, direction, found.slope if whole else None)
        return found

    def loss_along(self, params: Sequence[Tensor], direction: Sequence[Tensor], steps: Sequence[float]) -> Tensor:
        """The recorded loss at points of a line, on the same batch with the same random numbers.

        Definition:
            J(θ + t d) for each t in `steps`, J as in `curvature`.

        | symbol | name | meaning |
        |---|---|---|
        | θ | `params` | the tensors that move |
        | d | `direction` | how they move |
        | t | `steps` | how far, in units of d |

        Args:
            params: leaf tensors of the recording, any floating dtype.
            direction: one tensor a parameter, of its shape, dtype and device.
            steps: numbers.

        Returns:
            One loss a step, shape (len(steps),). Dropout masks and other random draws are the recorded ones;
            conditions, indices and detached values are those of the new point; batch normalisation in training mode
            takes its statistics there and leaves the running ones alone.

        Raises:
            RecordingError: backward did not run, ran twice, or a stored constant was overwritten since; or Python read
                a number in the forward (`.item()`, an if) that is another one there.
            DirectionError: params and direction do not match.

        Cost:
            One forward a step, no host sync but for numbers that the forward read.

        Example:
            >>> import torch, curvestep
            >>> theta = torch.tensor([3.0], requires_grad=True)
            >>> with curvestep.record() as tape:
            ...     loss = (theta**2).sum()
            ...     loss.backward()
            >>> tape.loss_along([theta], [torch.ones(1)], [0.0, -3.0]).tolist()
            [9.0, 0.0]
        """
        self._require_visible()
        check_direction(params, direction)
        return along.loss_along(self.recording, self._line, params, direction, steps)

    def gradient_along(self, params: Sequence[Tensor], direction: Sequence[Tensor], t: float) -> list[Tensor]:
        """The gradient of the recorded loss at a point of a line, on the same batch with the same random numbers.

        Definition:
            ∇J(θ + t d), J as in `curvature`.

        | symbol | name | meaning |
        |---|---|---|
        | θ | `params` | the tensors that move, and with respect to which J is differentiated |
        | d | `direction` | how they move |
        | t | `t` | how far, in units of d |

        Args:
            params: leaf tensors of the recording that require gradients, any floating dtype.
            direction: one tensor a parameter, of its shape, dtype and device.
            t: any number; 0 gives the gradient at θ again.

        Returns:
            One tensor a parameter, of its shape, whole where that is sharded; zeros where J does not depend on it.
            `p.grad` is left alone. Masks and batch statistics are as in `loss_along`.

        Raises:
            RecordingError: backward did not run, ran twice, or a stored constant was overwritten since.
            DirectionError: params and direction do not match.

        Cost:
            A forward and a backward with their memory, no host sync.

        Example:
            >>> import torch, curvestep
            >>> theta = torch.tensor([1.0, 2.0], requires_grad=True)
            >>> with curvestep.record() as tape:
            ...     loss = (theta**3).sum()
            ...     loss.backward()
            >>> tape.gradient_along([theta], [torch.ones(2)], -1.0)[0].tolist()  # 3 (θ − 1)²
            [0.0, 3.0]
        """
        self._require_visible()
        check_direction(params, direction)
        return along.gradient_along(self.recording, self._line, params, direction, t)

    def hvp(self, params: Sequence[Tensor], direction: Sequence[Tensor]) -> list[Tensor]:
        """The product of the Hessian of the recorded loss with a direction.

        Definition:
            ∇²J(θ) d, J as in `curvature`, computed as the gradient of θ ↦ ⟨∇J(θ), d⟩, which the tangent pass gives.

        | symbol | name | meaning |
        |---|---|---|
        | θ | `params` | the tensors with respect to which J is differentiated |
        | d | `direction` | the factor |

        Args:
            params: leaf tensors of the recording, any floating dtype.
            direction: one tensor a parameter, of its shape, dtype and device.

        Returns:
            One tensor a parameter, of its shape, whole where that is sharded; zeros where J does not depend on it.

        Raises:
            RecordingError: backward did not run, ran twice, or a stored constant was overwritten since.
            MissingRuleError: an operation between a parameter and the loss has no rule.
            DirectionError: params and direction do not match.

        Cost:
            A forward, a tangent pass and the backward of both: about four gradients, with their memory.

        Example:
            >>> import torch, curvestep
            >>> theta = torch.tensor([1.0, 2.0], requires_grad=True)
            >>> with curvestep.record() as tape:
            ...     loss = (theta**3).sum()
            ...     loss.backward()
            >>> tape.hvp([theta], [torch.ones(2)])[0].tolist()  # 6 θ
            [6.0, 12.0]

        Source: de Gournay & Gossard (2022), appendix A.1, equations (23) and (24); Pearlmutter (1994).

        Deviations: autograd runs the backward, over formulas that it differentiates once; no fused operation is
            differentiated twice, which is where its second derivatives are missing or wrong.
        """
        self._require_visible()
        check_direction(params, direction)
        self._prove(params, direction)
        return along.hessian_vector_product(self.recording, self.plan, params, direction)

    # -- life -------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Drop every tensor that the tape holds, unless another tape of the recording does; passes are refused then."""
        shared, self.recording = self.recording, _NOTHING
        self._plan = self._followed = None
        if not shared.released:
            shared.holders -= 1
            shared.waiting.pop(id(self), None)
            if shared.holders == 0:
                shared.release()

    @property
    def released(self) -> bool:
        """Whether `release` was called."""
        return self.recording.released
