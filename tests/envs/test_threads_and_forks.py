"""Pictures from any thread; in a process that was forked too late a line, never a wait."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from manyparts.core.host.renderer import egl_loads

SCRIPT = """
import os, sys, threading, warnings
# From Python 3.12 on, a fork of a process with threads is warned of.
warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)
import numpy as np
from manyparts.envs import rendering
from manyparts.envs.registry import make
from manyparts.core.errors import UserError

def image(env, seed):
    return np.stack(list(env.reset(seed=seed)[0]["images"].values()))

def elsewhere(work):
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start(); thread.join()
    return results[0]

task = sys.argv[1]
env = make(task)
assert not rendering._drew, "to be made is not to draw: a fork is still possible"
before = [image(env, seed) for seed in range(2)]
moved = elsewhere(lambda: image(env, 1))
assert np.array_equal(moved, before[1]), "an environment moves to another thread"
other = elsewhere(lambda: make(task))
moved = elsewhere(lambda: image(other, 0))
assert np.array_equal(moved, before[0]), "one that was made in another thread"
assert np.array_equal(image(other, 1), before[1]), "and back"
assert np.array_equal(image(env, 0), before[0]), "and back"
sys.stdout.flush()
child = os.fork()
if child == 0:
    for work in (lambda: image(env, 0), lambda: image(make(task), 0)):
        try:
            work()
        except UserError as error:
            print(error)
    env.close()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(image(env, 1), before[1]), "the parent goes on"
"""


@pytest.mark.parametrize("task", ["metaworld/reach", "dmc/pendulum-swingup", "navigation/hallway"])
def test_threads_draw_and_late_forks_fail(task: str) -> None:
    package = {"metaworld": "metaworld", "dmc": "dm_control", "navigation": "miniworld"}[
        task.partition("/")[0]
    ]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, task], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('AsyncVectorEnv(..., context="spawn")') == 2
    assert result.stderr == ""


OTHERS = """
import os, sys
import mujoco
from manyparts.envs.registry import make
from manyparts.core.errors import UserError

env = make("metaworld/reach")
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
with mujoco.Renderer(model, 8, 8) as renderer:
    renderer.render()
child = os.fork()
if child == 0:
    try:
        env.reset(seed=0)
    except UserError as error:
        print(error)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_fork_after_images_of_others_fails() -> None:
    if find_spec("metaworld") is None or not egl_loads():
        pytest.skip("metaworld or EGL is not installed")
    environment = os.environ | {"MUJOCO_GL": "egl"}
    command = [sys.executable, "-c", OTHERS]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    assert "no renderer survives that" in result.stdout


RENDERER_LEFT_OPEN = """
import mujoco
from manyparts.envs.registry import make

kept = [make(task) for task in ("navigation/hallway", "metaworld/reach")]
for env in kept:
    env.reset(seed=0)
    env.observe()
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
kept.append(mujoco.Renderer(model, 8, 8))
kept[-1].render()
"""


@pytest.mark.slow
def test_open_renderers_end_in_silence() -> None:
    """Miniworld, our renderer and MuJoCo's own, none of which is closed."""
    missing = [name for name in ("metaworld", "miniworld") if find_spec(name) is None]
    if missing or not egl_loads("libGL.so.1", "libGLU.so.1"):
        pytest.skip(f"{missing or 'EGL'} is not installed")
    environment = os.environ | {"MUJOCO_GL": "egl"}
    command = [sys.executable, "-c", RENDERER_LEFT_OPEN]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
