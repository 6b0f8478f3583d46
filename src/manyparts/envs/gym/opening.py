"""Gymnasium environments by id: their module is imported, and they are made without a display."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator

from manyparts.core.errors import UserError, closest
from manyparts.core.extras import EXTRA_OF, in_a_line, install_command
from manyparts.core.host.renderer import NoRendererError, choose_backend
from manyparts.core.printing import short
from manyparts.envs.gym.task import GymTask

PREFIX = "gym:"
# Packages that register their environments when they are imported. They are tried in this order for
# an id that names none.
TRIED = ("gymnasium_robotics", "minigrid", "panda_gym", "ogbench")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_VALUES_OF_STEP = 5
_STDOUT, _STDERR = 1, 2  # descriptors


def resolve(name: str) -> tuple[str, str]:
    """Find the environment that a task's name means.

    Args:
        name: "gym:ID" or "gym:MODULE:ID", such as "gym:minigrid:BabyAI-GoToLocal-v0". MODULE is
            imported, since that registers the id, as in `gymnasium.make("MODULE:ID")`. Without one,
            the id's namespace and `TRIED` are.

    Returns:
        The module ("" if none was needed) and the id.

    Raises:
        UserError: There is no such environment, or its module does not load.
    """
    module, colon, id_ = name.removeprefix(PREFIX).rpartition(":")
    if not id_ or (colon and not _MODULE.fullmatch(module)):
        raise UserError(f"{name} names no environment; expected gym:ID or gym:MODULE:ID")
    if module:
        _import(module, name)
    else:
        module = _module_of(id_, name)
    if id_ not in gymnasium.registry:
        raise UserError(f"{name}: no environment is called {id_!r}; {_near(id_)}")
    return module, id_


def open_environment(task: GymTask) -> gymnasium.Env:
    """Make the environment of a task, drawing without a display.

    Args:
        task: The task.

    Raises:
        UserError: Its module is missing or does not load, or it cannot be made.
    """
    with _headless(), _quiet(_STDOUT, _STDERR):
        if task.package:
            _import(task.package, task.id)
        if ":" not in task.id and task.id not in gymnasium.registry:
            raise UserError(f"no environment is called {task.id!r}; {_near(task.id)}")
        try:
            env = _drawing(task, _arguments(task))
            return env if task.wrap is None else task.wrap(env)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # whatever a simulator raises
            raise UserError(f"{task.id} cannot be made ({in_a_line(error)})") from error


def spaces(env: gymnasium.Env) -> tuple[gymnasium.Space, gymnasium.Space]:
    """Return the observation and the action space of an environment.

    Some environments make them when they are asked, which is slow and warns: ask once.
    """
    with _quiet(_STDOUT):
        return env.observation_space, env.action_space


def sampled(space: gymnasium.Space) -> Any:
    """Draw an action from a space; a choice is an int, as agents' are."""
    action = space.sample()
    return int(action) if isinstance(action, np.integer) else action


def reset(env: gymnasium.Env, seed: int | None) -> tuple[Any, Mapping[str, Any]]:
    """Reset an environment. It may print and warn, which is not shown.

    Args:
        env: The environment.
        seed: What it is reset with; None for `reset()`.

    Returns:
        The observation and the info.

    Raises:
        UserError: It raises, or returns something else.
    """
    with _quiet(_STDOUT):
        returned = env.reset() if seed is None else env.reset(seed=seed)
    if not isinstance(returned, tuple) or len(returned) != 2 or not _is_info(returned[1]):
        raise UserError(f"reset returned {short(returned)}; expected an observation and an info")
    return returned[0], returned[1]


def step(env: gymnasium.Env, action: Any) -> tuple[Any, Any, bool, bool, Mapping[str, Any]]:
    """Step an environment.

    Args:
        env: The environment.
        action: In its action space.

    Returns:
        Observation, reward as it is, terminated, truncated and info.

    Raises:
        UserError: It returns something else.
    """
    returned = env.step(action)
    if not isinstance(returned, tuple) or len(returned) != _VALUES_OF_STEP:
        raise UserError(
            f"step returned {short(returned)}; expected observation, reward, terminated, truncated "
            "and info"
        )
    observation, reward, terminated, truncated, info = returned
    if not _is_info(info):
        raise UserError(f"step's info is {short(info)}; expected a mapping")
    return observation, reward, bool(terminated), bool(truncated), info


def _is_info(value: Any) -> bool:
    return isinstance(value, Mapping)


def _module_of(id_: str, name: str) -> str:
    """The module that registers an id; "" if the id is registered already."""
    if id_ in gymnasium.registry:
        return _home(id_)
    namespace = id_.rpartition("/")[0]
    modules = [namespace] if _MODULE.fullmatch(namespace) else []
    missing = []
    for module in [*modules, *TRIED]:
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            if module in EXTRA_OF and module == namespace:
                raise _missing(module, name)
            missing.append(module)
            continue
        _import(module, name)
        if id_ in gymnasium.registry:
            return module
    tried = f" (not installed: {', '.join(missing)})" if missing else ""
    raise UserError(
        f"{name}: no environment is called {id_!r}{tried}; {_near(id_)}; or name the module that "
        "registers it: gym:MODULE:ID"
    )


def _home(id_: str) -> str:
    """The package of an environment that is registered; "" for Gymnasium's own."""
    entry = gymnasium.registry[id_].entry_point
    module = entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")
    package = module.partition(".")[0]
    return "" if package == "gymnasium" else package


def _import(module: str, name: str) -> None:
    """Import a module that registers environments."""
    try:
        with _headless(), _quiet(_STDOUT, _STDERR):
            importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever a module does when it is imported
        if isinstance(error, ModuleNotFoundError) and module.startswith(str(error.name)):
            raise _missing(str(error.name), name) from error
        raise UserError(f"{name}: {module} does not load ({in_a_line(error)})") from error


@contextlib.contextmanager
def callers_generator_kept() -> Iterator[None]:
    """Give numpy's own generator its state back, which environments may draw from in the block."""
    usual = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(usual)  # noqa: NPY002


def _missing(module: str, name: str) -> UserError:
    """The error for a module that is not installed."""
    advice = (
        "which is not installed; install its package, or for a file of yours add its folder: "
        "PYTHONPATH=FOLDER"
    )
    if module in EXTRA_OF:
        extra = EXTRA_OF[module]
        advice = f"of the extra {extra}: {install_command(extra)}"
    return UserError(f"{name} needs the module {module}, {advice}")


def _near(id_: str) -> str:
    """The ids that are most like one that does not exist."""
    return closest(id_, sorted(gymnasium.registry))


def _arguments(task: GymTask) -> dict[str, Any]:
    """What an environment is made with: it draws into arrays, if it can."""
    arguments = dict(task.kwargs)
    spec = gymnasium.registry.get(task.id)
    if spec is None or "render_mode" in {**spec.kwargs, **arguments}:
        return arguments
    creator = spec.entry_point
    if isinstance(creator, str):
        creator = load_env_creator(creator)
    if "rgb_array" in getattr(creator, "metadata", {}).get("render_modes", ()):
        arguments["render_mode"] = "rgb_array"
    return arguments


def _drawing(task: GymTask, arguments: Mapping[str, Any]) -> gymnasium.Env:
    """The environment, which draws into arrays if it can.

    What a function makes shows only once it is made what it can draw.
    """
    # Its checker prints what `manyparts doctor --suite` says in a line.
    env = gymnasium.make(task.id, disable_env_checker=True, **arguments)
    if "render_mode" in arguments or env.render_mode is not None:
        return env
    if "rgb_array" not in env.metadata.get("render_modes", ()):
        return env
    try:
        changed = {**arguments, "render_mode": "rgb_array"}
        drawing = gymnasium.make(task.id, disable_env_checker=True, **changed)
    except (Exception, SystemExit):  # the function does not take it
        return env
    env.close()
    return drawing


@contextlib.contextmanager
def _headless() -> Iterator[None]:
    """Choose drivers that need no display, for what is imported and made in the block."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    # Where nothing renders, states still work.
    with contextlib.suppress(NoRendererError):
        choose_backend()
    yield


@contextlib.contextmanager
def _quiet(*descriptors: int) -> Iterator[None]:
    """Hide what simulators print and warn in the block, from Python or from C.

    Their lines would stand among a command's answer.

    Args:
        descriptors: What is hidden: 1 is stdout, 2 is stderr.
    """
    _flush()
    saved = {number: os.dup(number) for number in descriptors}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in descriptors:
            os.dup2(nowhere, number)
        with warnings.catch_warnings(), contextlib.ExitStack() as hidden:
            warnings.simplefilter("ignore")
            # Python's own streams may lead elsewhere, such as into a notebook.
            if _STDOUT in descriptors:
                hidden.enter_context(contextlib.redirect_stdout(io.StringIO()))
            if _STDERR in descriptors:
                hidden.enter_context(contextlib.redirect_stderr(io.StringIO()))
            yield
    finally:
        _flush()
        for number, usual in saved.items():
            os.dup2(usual, number)
            os.close(usual)
        os.close(nowhere)


def _flush() -> None:
    """Write out what Python and C hold back."""
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
