"""The states of observed sequences, as one operation with a backward pass of its own.

What a step of a few rows computes takes less time than what autograd records of it, and the
gradient of the weights is as large as they are at every step. Here it is computed of all steps at
once.

Dimensions: b rows, t steps, d numbers of the recurrent state and of hidden layers, z numbers of
the variables, o numbers that their distribution is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from manyparts.nn.gru import gated, gated_backward
from manyparts.nn.latents import Latent

_EPSILON = 1e-5  # of `nn.LayerNorm`
_silu_backward = torch.ops.aten.silu_backward.default


class StepWeights(NamedTuple):
    """What a step reads besides actions and observations."""

    enter: Float[Tensor, "d z"]
    """From the variables to the input of the recurrent cell."""

    gates: Float[Tensor, "g e"]
    """From that input and the state, e = 2 d, to the cell's gates, g = 3 d."""

    scale: Float[Tensor, "g"]
    """Of the gates' normalisation."""

    shift: Float[Tensor, "g"]
    """Of the gates' normalisation."""

    read: Float[Tensor, "d d"]
    """From the state to the posterior's hidden layer."""

    out: Float[Tensor, "o d"]
    """From that layer to the posterior."""

    bias: Float[Tensor, "o"]
    """Of the posterior."""


class Filtering(torch.autograd.Function):
    """From what actions and observations add to each step to states, see `forward`."""

    @staticmethod
    def forward(  # pyright: ignore
        ctx: Any,
        taken: Tensor,
        seen: Tensor,
        latent: Latent,
        generator: torch.Generator | None,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return recurrent states (b, t, d), what posteriors are made of (b, t, o) and variables
        (b, t, z), of at least two steps.

        Args:
            ctx: For the backward pass.
            taken: (b, t - 1, d), what actions add to the input of the cell.
            seen: (b, t, d), what observations add to the posterior's hidden layer.
            latent: The family of the variables.
            generator: Draws them. None: the most likely ones are taken.
            *weights: Those of `StepWeights`, in their order.
        """
        step, actions = StepWeights(*weights), taken.unbind(dim=1)
        state = seen.new_zeros(len(seen), len(step.read))
        advanced: list[_Advanced] = []
        observed: list[_Observed] = []
        with torch.autocast(seen.device.type, enabled=False):
            for number, observation in enumerate(seen.unbind(dim=1)):
                if number:
                    advanced.append(_advance(step, actions[number - 1], observed[-1]))
                    state = advanced[-1].state
                observed.append(_observe(step, observation, state, latent, generator))
        ctx.latent, ctx.advanced, ctx.observed = latent, advanced, observed
        ctx.save_for_backward(*weights)
        return (
            torch.stack([each.state for each in observed], dim=1),
            torch.stack([each.outputs for each in observed], dim=1),
            torch.stack([each.drawn for each in observed], dim=1),
        )

    @staticmethod
    def backward(  # pyright: ignore
        ctx: Any, to_states: Tensor, to_outputs: Tensor, to_drawn: Tensor
    ) -> tuple[Tensor | None, ...]:
        step = StepWeights(*ctx.saved_tensors)
        advanced: Sequence[_Advanced] = ctx.advanced
        observed: Sequence[_Observed] = ctx.observed
        to_state, to_variables = list(to_states.unbind(dim=1)), list(to_drawn.unbind(dim=1))
        to_output = to_outputs.unbind(dim=1)
        reading: list[_OfObserved] = []
        entering: list[_OfAdvanced] = []
        for number in reversed(range(len(observed))):
            outputs = to_output[number] + ctx.latent.sampled_backward(
                to_variables[number], *observed[number].used
            )
            gradient, before = _observe_backward(step, observed[number], outputs, to_state[number])
            reading.append(gradient)
            if number:
                gradient, state, variables = _advance_backward(step, advanced[number - 1], before)
                entering.append(gradient)
                to_state[number - 1] = to_state[number - 1] + state
                to_variables[number - 1] = to_variables[number - 1] + variables
        return (
            torch.stack([each.entering for each in entering[::-1]], dim=1),
            torch.stack([each.reading for each in reading[::-1]], dim=1),
            None,
            None,
            *_of_weights(observed, advanced, reading[::-1], entering[::-1]),
        )


class _Observed(NamedTuple):
    """What the backward pass reads of an observed step."""

    state: Tensor
    reading: Tensor  # the posterior's hidden layer before its activation
    outputs: Tensor  # of the posterior
    drawn: Tensor
    used: tuple[Tensor, ...]  # see `Latent.sampled`


class _Advanced(NamedTuple):
    """What the backward pass reads of an action's step."""

    state: Tensor  # after it
    before: Tensor
    drawn: Tensor  # before it
    entering: Tensor  # the cell's input before its activation
    joined: Tensor  # that input and the state before
    normal: Tensor  # the gates, normalised to a mean of 0 and a std of 1
    inverse_std: Tensor  # before that
    gates: tuple[Tensor, ...]  # see `nn.gru.gated`


class _OfObserved(NamedTuple):
    """Gradients of an observed step."""

    outputs: Tensor
    reading: Tensor


class _OfAdvanced(NamedTuple):
    """Gradients of an action's step."""

    scaled: Tensor  # of the gates after their normalisation
    products: Tensor  # and before it
    entering: Tensor


def _observe(
    step: StepWeights,
    seen: Tensor,
    state: Tensor,
    latent: Latent,
    generator: torch.Generator | None,
) -> _Observed:
    reading = torch.addmm(seen, state, step.read.t())
    outputs = torch.addmm(step.bias, F.silu(reading), step.out.t())
    drawn, *used = latent.sampled(outputs, generator)
    return _Observed(state, reading, outputs, drawn, tuple(used))


def _observe_backward(
    step: StepWeights, seen: _Observed, to_outputs: Tensor, to_state: Tensor
) -> tuple[_OfObserved, Tensor]:
    """Return the gradients of an observed step, and that of its state."""
    reading = _silu_backward(to_outputs @ step.out, seen.reading)
    return _OfObserved(to_outputs, reading), torch.addmm(to_state, reading, step.read)


def _advance(step: StepWeights, taken: Tensor, last: _Observed) -> _Advanced:
    entering = torch.addmm(taken, last.drawn, step.enter.t())
    joined = torch.cat([F.silu(entering), last.state], dim=-1)
    products = joined @ step.gates.t()
    normal, _, inverse_std = torch.native_layer_norm(
        products, [products.shape[-1]], None, None, _EPSILON
    )
    state, *gates = gated(torch.addcmul(step.shift, normal, step.scale), last.state)
    return _Advanced(
        state, last.state, last.drawn, entering, joined, normal, inverse_std, tuple(gates)
    )


def _advance_backward(
    step: StepWeights, moved: _Advanced, to_state: Tensor
) -> tuple[_OfAdvanced, Tensor, Tensor]:
    """Return the gradients of an action's step, and those of the state and variables before."""
    scaled, before = gated_backward(to_state, moved.before, *moved.gates)
    to_normal = scaled * step.scale
    # Moving all gates together, or scaling them, changes nothing after the normalisation.
    along = (to_normal * moved.normal).mean(dim=-1, keepdim=True)
    products = to_normal - to_normal.mean(dim=-1, keepdim=True)
    products = products.sub_(moved.normal * along).mul_(moved.inverse_std)
    to_joined = products @ step.gates
    width = to_state.shape[-1]
    entering = _silu_backward(to_joined[:, :width], moved.entering)
    gradients = _OfAdvanced(scaled, products, entering)
    return gradients, before + to_joined[:, width:], entering @ step.enter


def _of_weights(
    observed: Sequence[_Observed],
    advanced: Sequence[_Advanced],
    of_observed: Sequence[_OfObserved],
    of_advanced: Sequence[_OfAdvanced],
) -> StepWeights:
    """Return the gradients of the weights, over all steps at once."""
    outputs = torch.cat([each.outputs for each in of_observed])
    hidden = F.silu(torch.cat([each.reading for each in observed]))
    reading = torch.cat([each.reading for each in of_observed])
    states = torch.cat([each.state for each in observed])
    read, out, bias = reading.t() @ states, outputs.t() @ hidden, outputs.sum(dim=0)
    scaled = torch.cat([each.scaled for each in of_advanced])
    normal = torch.cat([each.normal for each in advanced])
    products = torch.cat([each.products for each in of_advanced])
    joined = torch.cat([each.joined for each in advanced])
    entering = torch.cat([each.entering for each in of_advanced])
    drawn = torch.cat([each.drawn for each in advanced])
    return StepWeights(
        enter=entering.t() @ drawn,
        gates=products.t() @ joined,
        scale=(scaled * normal).sum(dim=0),
        shift=scaled.sum(dim=0),
        read=read,
        out=out,
        bias=bias,
    )
