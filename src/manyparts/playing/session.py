"""One page's episode: who acts, what is asked for, and what comes of it. It knows no sockets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from manyparts.agents.base import Agent
from manyparts.core.errors import UserError, closest
from manyparts.core.printing import counted
from manyparts.core.records import Demonstration, Observation
from manyparts.envs.base import Environment
from manyparts.envs.offers import Pushable
from manyparts.envs.registry import instructions, steps_after_success
from manyparts.playing import prompting
from manyparts.playing.beside import Beside, begun_beside
from manyparts.playing.cast import Cast
from manyparts.playing.hand import Hand, Wish
from manyparts.playing.prompting import Images
from manyparts.playing.stepping import advanced
from manyparts.playing.trace import Actor, Moment, Trace, parts_to_save

Control = Literal["agent", "hand", "takeover"]
CONTROLS: tuple[Control, ...] = ("agent", "hand", "takeover")


class Session:
    """An environment with an agent and a person in it.

    All of it runs in one thread, since a simulator belongs to the thread that made it.

    Args:
        cast: What there is to play with.

    Attributes:
        env: The environment of the current task.
        seed: Of the current episode.
        control: Who acts: the agent, the hand, or the hand wherever it presses something.
        wish: What a person presses at this moment.
        ended: Why the episode has ended; empty while it goes on.
        waiting: Whether nothing happens until a person acts.
        steps: Actions of this episode.
        followed: The instruction of its steps. One that is typed after the end is for the next.
    """

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        self.control: Control = "hand" if cast.agent_of is None else "agent"
        self.env = self.cast.made(cast.tasks[0])
        self.beside: Beside | None = None
        self._whole: Environment | None = None  # with episodes as long as an expert needs
        self.shows_expert = False
        self._take_place()

    # What a person chooses.

    def show(self, task: str) -> None:
        """Go to another task, and begin its first episode.

        Args:
            task: One of the cast's.

        Raises:
            UserError: It cannot be made or acted in; then the page stays where it is.
        """
        if task not in self.cast.tasks:
            raise UserError(f"unknown task {task[:60]!r}; {closest(task, self.cast.tasks)}")
        env = self.cast.made(task)
        try:
            if self.cast.agent_of is not None:
                self.cast.agent_of(env, 0)
        except UserError:
            env.close()
            raise
        self._leave()
        self.close()
        self.env = env
        self._take_place()

    def _take_place(self) -> None:
        """Begin the first episode in a new environment."""
        env, recorder = self.env, self.cast.recorder
        self.hand, self.wish = Hand(env.embodiment_spec), Wish()
        self.asked = prompting.Asked()
        self.shows_expert = self.shows_expert and prompting.has_expert(env.task)
        self.steps, self._counted, self.trace = 0, False, Trace()
        self.begin(0 if recorder is None else recorder.next_seed(env.task))

    def _leave(self) -> None:
        """Note an episode that is broken off."""
        if self.steps and not self._counted:
            self.cast.counts.leave_out()

    def begin(self, seed: int) -> None:
        """Begin the episode of a seed.

        Args:
            seed: Of the environment.
        """
        self._leave()
        env = self.env
        self.seed, self.steps, self.ended = seed, 0, "it could not begin"
        self.wish = replace(self.wish, choice=None)  # a key of the episode before is not for this
        env.begin(seed)
        self.terminated, self.waiting, self.helped = False, False, False
        self.success: bool | None = False if env.knows_success else None
        self.solved_at: int | None = None
        self.return_, self.reward = 0.0, 0.0
        self.action: np.ndarray | None = None
        self.actor: Actor | None = None
        self.state: np.ndarray | None = None
        self.trace, self.saved, self._counted = Trace(), False, False
        self.carry: Any = None
        self.carry_before: Any = None
        acts = self.cast.agent_of
        self.agent: Agent | None = None if acts is None else acts(env, seed)
        if self.asked.goal_of_episode:
            self.asked.goal = self._own_goal()
        self._set_prompt()
        self._follow_prompt()
        self._begin_beside()
        self.ended = ""

    def ask(self, text: str | None) -> str:
        """Ask for something else, at any step, and return what that leaves out, in words.

        After the end of an episode it is for the next one.

        Args:
            text: The instruction; None: the task's own.
        """
        before = self.said
        self.asked.typed = text
        return "" if self.said == before else self._changed_prompt()

    def show_goal(self, images: Images | None, *, of_episode: bool = False) -> str:
        """Ask with a goal image, or no longer; see `ask`.

        Args:
            images: Camera to image.
            of_episode: Whether it is this episode's own, and the next one has another.
        """
        self.require("goal_image")
        self.asked.goal, self.asked.goal_of_episode = images, of_episode
        return self._changed_prompt()

    def show_demonstration(self, shown: Demonstration | None, name: str) -> str:
        """Ask with a demonstration, or no longer; see `ask`.

        Args:
            shown: The demonstration.
            name: What it is called.
        """
        self.require("demonstration")
        self.asked.demonstration, self.asked.demonstration_name = shown, name
        return self._changed_prompt()

    def take(self, control: Control) -> None:
        """Give control to the agent, the hand, or both."""
        if self.cast.agent_of is None and control != "hand":
            raise UserError(f"there is no agent in `play {self.cast.name}`; the hand acts")
        self.control = control

    def put_expert_beside(self, on: bool) -> None:
        """Let the expert act in the same episode, next to this one, or no longer."""
        if on and not prompting.has_expert(self.env.task):
            raise UserError(f"{self.env.task} has no expert to put beside it")
        self.shows_expert = on
        self._begin_beside()

    def push(self, at: tuple[float, float], towards: tuple[float, float]) -> str:
        """Push what is in the scene, and return what it is; see `envs.offers.Pushable`."""
        if not isinstance(self.env, Pushable):
            raise UserError(f"nothing can be pushed in {self.env.task}")
        if self.ended:
            raise UserError("the episode has ended; begin another before you push")
        pushed = self.env.push(at, towards)
        if pushed:
            self.helped = True
            self.trace.pushes.append(len(self.trace.moments))
        return pushed

    # What can be shown to the agent.

    def scene(self) -> dict[str, np.ndarray]:
        """Return what the cameras see now."""
        return dict(self.env.observe()["images"])

    def show_expert_goal(self) -> str:
        """Ask with the goal image of this very episode; see `ask`."""
        self.require("goal_image")
        return self.show_goal(self._own_goal(), of_episode=True)

    def _own_goal(self) -> Images:
        self._whole = self._whole or self.cast.made(self.env.task, whole=True)
        return prompting.goal_of(self._whole, self.seed)

    def show_expert_demonstration(self) -> str:
        """Ask with the expert in another scene; see `ask`."""
        self.require("demonstration")
        assert self.agent is not None
        shown = prompting.expert_demonstration(self.cast, self.env.task, self.seed, self.agent)
        return self.show_demonstration(shown, "the expert in another scene")

    def show_recorded_demonstration(self, index: int) -> str:
        """Ask with an episode of the dataset; see `ask`.

        Args:
            index: Its number.
        """
        self.require("demonstration")
        assert self.agent is not None
        robot = self.env.embodiment_spec
        shown = prompting.recorded_demonstration(self.cast, robot, index, self.agent)
        return self.show_demonstration(shown, f"episode {index}")

    # What happens.

    def step(self) -> bool:
        """Take one step, if the episode goes on and nobody is waited for.

        Returns:
            Whether a step was taken.

        Raises:
            UserError: The agent or the environment fails, or the episode fills the memory.
        """
        if self.ended:
            return False
        if self.trace.is_full:
            raise UserError("this episode fills the memory; save or leave it, and begin another")
        env, actor = self.env, self._next_actor()
        observation = env.observe() if self._is_observed(actor) else None
        self.state = None if observation is None else observation["state"]
        action = self._decided(actor, observation)
        self.waiting = action is None
        if action is None:
            return False
        where = f"step {self.steps} of seed {self.seed}"
        try:
            reward, self.terminated, truncated, self.success = advanced(env, action, where)
        except UserError:
            self.ended = "the simulator failed"
            raise
        self.action = env.embodiment_spec.action.executed(np.asarray(action))
        self.actor, self.reward, self.return_ = actor, reward, self.return_ + reward
        self.steps += 1
        if self.success and self.solved_at is None:
            self.solved_at = self.steps
        if observation is not None and self.cast.recorder is not None:
            self.trace.add(Moment(observation, self.action, actor, reward, self.success))
        if self.beside is not None:
            self.beside.step()
        self._end(truncated)
        return True

    def save(self, verdict: bool | None, *, only_hand: bool = False) -> str:
        """Save the episode so far, and return what was saved, in words.

        Args:
            verdict: Whether a person says that it succeeded; None: nobody says anything.
            only_hand: Whether to save only what a person did.
        """
        recorder, env = self.cast.recorder, self.env
        if recorder is None:
            raise UserError("nowhere to save to: begin with --output DATASET")
        if self.saved:
            raise UserError("this episode is saved already; begin another")
        parts = parts_to_save(
            env,
            self.trace,
            seed=self.seed,
            said=self.followed,
            terminated=self.terminated,
            success=verdict,
            only_hand=only_hand,
        )
        facts = {"prompt": self._followed_words}
        words = recorder.save(parts, env, self.cast.config_of(env.task), facts)
        self.saved = True
        return words

    def close(self) -> None:
        """Close the environments."""
        beside = None if self.beside is None else self.beside.env
        for env in (self.env, beside, self._whole):
            if env is not None:
                env.close()
        self.beside = self._whole = None

    # What it is like.

    @property
    def said(self) -> str:
        """The instruction."""
        own = self.env.episode_instruction()
        return self.asked.typed or own or instructions(self.env.task).instruction

    @property
    def prompt_words(self) -> str:
        """What is asked for, in words."""
        if self.agent is not None and not self.agent.prompted:
            return "no prompt"
        return self.asked.words(self.said)

    @property
    def has_unsaved_work(self) -> bool:
        """Whether a person's steps would be lost if the page were closed now."""
        return not self.saved and self.trace.by_hand()

    def require(self, kind: str) -> None:
        """Raise UserError if the agent takes no prompts of a kind."""
        if kind not in self.cast.prompts:
            what = kind.replace("_", " ")
            raise UserError(f"{self.cast.name} was not trained with a {what} in its prompt")

    # Parts of a step.

    def _next_actor(self) -> Actor:
        if self.control == "takeover":
            return "agent" if self.wish.is_idle else "hand"
        return self.control

    def _is_observed(self, actor: Actor) -> bool:
        """Whether somebody looks at this step: the agent, the hand's rest, or a dataset."""
        if self.cast.recorder is not None or actor == "hand":
            return True
        assert self.agent is not None
        return self.agent.needs_observation(self._agent_carry())

    def _agent_carry(self) -> Any:
        """The agent's memory; it begins again after steps that were not its own."""
        return None if self.actor == "hand" else self.carry

    def _decided(self, actor: Actor, observation: Observation | None) -> np.ndarray | None:
        """The action of a step; None to wait for a person."""
        if actor == "hand":
            state = None if observation is None else observation["state"]
            action = self.hand.action(self.wish, state, self.action)
            self.helped |= action is not None and self.cast.agent_of is not None
            self.wish = replace(self.wish, choice=None)
            return action
        assert self.agent is not None
        self.carry_before = self._agent_carry()
        action, self.carry = self.agent.act(
            self.carry_before, observation, self.prompt, explore=False
        )
        return action

    def _end(self, truncated: bool) -> None:
        """End the episode if it is over, and count it."""
        if self.terminated:
            self.ended = "it ended for good"
        elif truncated:
            self.ended = "its time is up"
        elif self.solved_at is not None and (
            self.steps - self.solved_at >= steps_after_success([self.env.task])
        ):
            self.ended = "solved"
        if not self.ended or self._counted:
            return
        self._counted = True
        counts = self.cast.counts
        if self.helped or not self.env.knows_success:
            counts.leave_out()
            return
        who = "hand" if self.actor == "hand" else self.cast.name
        counts.add(who, self.env.task, self._followed_words, self.solved_at is not None)

    def _changed_prompt(self) -> str:
        """Go on under another prompt, and return what that leaves out, in words."""
        if self.agent is not None and self.agent.prompted:
            self.carry = None  # an agent that is asked for something else begins its memory again
        self._set_prompt()
        if self.ended:
            return ""  # what was done stays what was asked for then
        before, unsaved = len(self.trace.moments), not self.saved
        if self.steps:
            self.helped = True  # an episode with two prompts counts for neither
            self.trace.ask_anew()
            self.saved = False
        self._follow_prompt()
        words = f"{counted(before, 'step')} under the prompt before will not be saved"
        return words if before and unsaved else ""

    def _follow_prompt(self) -> None:
        """Let the steps to come be of what is asked for now."""
        self.followed, self._followed_words = self.said, self.prompt_words

    def _set_prompt(self) -> None:
        """Make the prompt of what is asked for."""
        reads = self.agent is not None and self.agent.prompted
        self.prompt = self.asked.prompt(self.said) if reads else None

    def _begin_beside(self) -> None:
        made = partial(self.cast.made, self.env.task) if self.shows_expert else None
        self.beside = begun_beside(self.beside, made, self.seed, self.steps)
