"""A recurrent state-space model: a recurrent state and categorical variables (DreamerV2).

Hafner et al. 2021, "Mastering Atari with Discrete World Models", arXiv 2010.02193. Dimensions: b or
n rows, t steps, u actions, v variables of c categories each, z = v c, d numbers of the recurrent
state, f = d + z features.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.embodiment.embodiment_set import EmbodimentSet
from manyparts.models.base import TrainableModel
from manyparts.models.dynamics.configs import RecurrentDynamicsConfig
from manyparts.models.dynamics.markov_context import require_actions, require_lengths
from manyparts.models.dynamics.single_embodiment import dimensions
from manyparts.models.dynamics.world_model import Prediction
from manyparts.nn.mlp import mlp


class Filtered(NamedTuple):
    """The states of a sequence."""

    recurrent: Float[Tensor, "b t d"]
    """The recurrent state at each step, from the steps before it."""

    prior: Float[Tensor, "b t v c"]
    """Log probabilities of the variables without the step's observation."""

    posterior: Float[Tensor, "b t v c"]
    """Log probabilities of the variables with the step's observation."""

    drawn: Float[Tensor, "b t z"]
    """Variables that are drawn from the posterior, one-hot."""

    @property
    def features(self) -> Float[Tensor, "b t f"]:
        """The whole state: recurrent state and variables."""
        return torch.cat([self.recurrent, self.drawn], dim=-1)


class RecurrentDynamics(nn.Module, TrainableModel):
    """See the module. What follows an action, observation and reward, is decoded from the state
    after it.

    Args:
        config: Sizes.
        embodiments: One embodiment.
        chunk: Actions per step; must be 1.
        steps: Steps of a window, and of the context that is kept, which starts from a state of
            zeros.
    """

    prompt_encoder = None
    encoder_names = ()
    reward_limit = math.inf

    def __init__(
        self, config: RecurrentDynamicsConfig, embodiments: EmbodimentSet, *, chunk: int, steps: int
    ):
        super().__init__()
        self.state_dimension, self.action_dimension = dimensions(
            embodiments, chunk=chunk, steps=steps
        )
        self.config, self.embodiments, self.chunk, self.steps = config, embodiments, chunk, steps
        width, drawn = config.width, config.variables * config.categories
        self.enter = nn.Linear(drawn + self.action_dimension, width)
        self.recurrent = nn.GRUCell(width, width)
        self.prior_head = mlp([width, width, drawn])
        self.posterior_head = mlp([width + self.state_dimension, width, drawn])
        self.decoder = mlp([width + drawn, width, width, self.state_dimension + 1])

    def decode(self, features: Float[Tensor, "... f"]) -> Float[Tensor, "... m"]:
        """Return the observation at a state, then the reward of the action before: m = s + 1."""
        return self.decoder(features)

    def filter(
        self,
        observation: Float[Tensor, "b t s"],
        action: Float[Tensor, "b u a"],
        generator: torch.Generator | None = None,
    ) -> Filtered:
        """Return the states of a sequence.

        Args:
            observation: t observations.
            action: The u >= t - 1 actions after them.
            generator: Draws the variables. None: the most likely ones are taken.
        """
        # A window starts in the middle of an episode, so its first state knows nothing: zeros.
        recurrent = [observation.new_zeros(len(observation), self.config.width)]
        posterior, drawn = [], []
        # A loop over steps: each draw goes into the next recurrent state.
        for step in range(observation.shape[1]):
            if step:
                recurrent.append(self.advance(recurrent[-1], drawn[-1], action[:, step - 1]))
            # The posterior sees the observation that the prior has to do without.
            evidence = torch.cat([recurrent[-1], observation[:, step]], dim=-1)
            posterior.append(self._distribution(self.posterior_head(evidence)))
            drawn.append(self.draw(posterior[-1], generator))
        states = torch.stack(recurrent, dim=1)
        # Priors depend on recurrent states alone, so they are computed for all steps at once.
        return Filtered(
            states, self.prior(states), torch.stack(posterior, dim=1), torch.stack(drawn, dim=1)
        )

    def advance(
        self,
        recurrent: Float[Tensor, "n d"],
        drawn: Float[Tensor, "n z"],
        action: Float[Tensor, "n a"],
    ) -> Float[Tensor, "n d"]:
        """Return the recurrent state after an action.

        Args:
            recurrent: The recurrent state before the action.
            drawn: The variables at that state, one-hot, flattened.
            action: Within [-1, 1].
        """
        return self.recurrent(F.gelu(self.enter(torch.cat([drawn, action], dim=-1))), recurrent)

    def prior(self, recurrent: Float[Tensor, "... d"]) -> Float[Tensor, "... v c"]:
        """Return log probabilities of the variables before anything is observed."""
        return self._distribution(self.prior_head(recurrent))

    def draw(
        self, log_probabilities: Float[Tensor, "... v c"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "... z"]:
        """Return variables one-hot, flattened.

        Gradients pass as if the result were the probabilities (straight through).

        Args:
            log_probabilities: Of each variable's categories.
            generator: Draws the variables. None: the most likely ones are taken.
        """
        scores = log_probabilities
        if generator is not None:
            # The Gumbel-max trick: the category with the largest sum of log probability and noise
            # is a draw. The clamp keeps both logarithms finite in float32.
            noise = torch.rand(scores.shape, generator=generator, device=generator.device).to(
                scores.device
            )
            scores = scores - (-noise.clamp(1e-20, 1 - 1e-7).log()).log()
        chosen = F.one_hot(scores.argmax(dim=-1), self.config.categories).to(
            log_probabilities.dtype
        )
        probabilities = log_probabilities.exp()
        # The value of `chosen`, the gradient of `probabilities`.
        return (chosen + probabilities - probabilities.detach()).flatten(-2)

    @torch.no_grad()
    def encode(
        self,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
        reward: Float[Tensor, "u"],
    ) -> RecurrentContext:
        """See `WorldModel.encode`. Of a longer context the last window is kept."""
        require_lengths(observation, action, reward)
        return RecurrentContext(self, observation, action)

    def _distribution(self, logits: Float[Tensor, "... z"]) -> Float[Tensor, "... v c"]:
        """Return log probabilities, with the uniform distribution mixed in."""
        categories = self.config.categories
        # In float32: the logarithm below would lose too much in bfloat16.
        probabilities = rearrange(logits.float(), "... (v c) -> ... v c", c=categories).softmax(
            dim=-1
        )
        uniform = torch.full_like(probabilities, 1 / categories)
        return torch.lerp(probabilities, uniform, self.config.uniform).log()


class RecurrentContext:
    """See `Context`: a window's observations and actions, and the state at its end.

    The state is computed again from the whole window at each step, of which there are few: a state
    that remembers more than a window was never trained.
    """

    def __init__(
        self,
        model: RecurrentDynamics,
        observation: Float[Tensor, "t s"],
        action: Float[Tensor, "u a"],
    ) -> None:
        self.model, self.observation = model, observation[-model.steps :]
        # The actions between the observations that are kept: one fewer than these.
        self.action = action[len(action) + 1 - len(self.observation) :]
        filtered = model.filter(self.observation[None], self.action[None])
        self.recurrent, self.drawn = filtered.recurrent[0, -1], filtered.drawn[0, -1]

    def imagine(self, count: int, generator: torch.Generator | None = None) -> RecurrentImagination:
        """See `Context.imagine`. Nothing is drawn."""
        return RecurrentImagination(
            self.model, self.recurrent.expand(count, -1), self.drawn.expand(count, -1)
        )

    @torch.no_grad()
    def extended(
        self, action: Float[Tensor, "a"], reward: Float[Tensor, ""], observation: Float[Tensor, "s"]
    ) -> RecurrentContext:
        """See `Context.extended`."""
        observations = torch.cat([self.observation, observation[None]])
        actions = torch.cat([self.action, action[None]])
        return RecurrentContext(self.model, observations, actions)


class RecurrentImagination:
    """See `Imagination`: it goes on with the most likely variables at each step.

    So no draw decides which plan is the best.
    """

    def __init__(
        self, model: RecurrentDynamics, recurrent: Float[Tensor, "n d"], drawn: Float[Tensor, "n z"]
    ) -> None:
        self._model, self._recurrent, self._drawn = model, recurrent, drawn

    @torch.no_grad()
    def step(self, action: Float[Tensor, "n a"]) -> Prediction:
        """See `Imagination.step`."""
        model = self._model
        require_actions(action, len(self._recurrent), model.action_dimension)
        self._recurrent = model.advance(self._recurrent, self._drawn, action)
        # From the prior, since nothing is observed; without a generator, the most likely variables.
        self._drawn = model.draw(model.prior(self._recurrent))
        outputs = model.decode(torch.cat([self._recurrent, self._drawn], dim=-1))
        return Prediction(outputs[:, :-1], outputs[:, -1])
