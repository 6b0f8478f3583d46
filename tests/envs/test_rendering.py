"""Pictures: right side up, near the simulator's own, the same from any number of renderers."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from manyparts.envs import registry
from manyparts.envs.base import EnvConfig
from manyparts.envs.cameras import CameraImages, FreeCamera
from manyparts.envs.rendering import cluster_meshes, cluster_metres, load_mujoco
from manyparts.envs.suites.metaworld import CAMERAS, FREE_CAMERAS, MODEL_CAMERAS


def test_every_camera_has_own_image() -> None:
    env = registry.make("metaworld/reach", EnvConfig(cameras=CAMERAS, image_size=48))
    images = env.reset(seed=0)[0]["images"]
    assert list(images) == list(CAMERAS)
    assert all(image.std() > 5 for image in images.values())
    assert len({image.tobytes() for image in images.values()}) == len(CAMERAS)
    env.close()


def centre_of_change(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(np.abs(before.astype(int) - after).sum(axis=-1) > 60)
    return rows.mean(), columns.mean()


def test_images_are_not_flipped() -> None:
    """Move the goal marker: up in the world is up in the picture, and east is on the camera's own
    east side."""
    cameras = (*FREE_CAMERAS, "topview", "corner", "corner2", "corner3", "corner4")
    env = registry.make("metaworld/reach", EnvConfig(cameras=cameras, image_size=128))
    env.begin(0)
    simulator = env._simulator
    simulator.model.site("goal").size[:] = 0.03
    positions = {
        "away": (5, 5, -5),
        "here": (0, 0.7, 0.15),
        "higher": (0, 0.7, 0.3),
        "east": (0.15, 0.7, 0.15),
        "north": (0, 0.85, 0.15),
    }
    images = {}
    for name, position in positions.items():
        simulator.data.site("goal").xpos[:] = position
        images[name] = env.observe()["images"]
    for camera in cameras:
        away = images["away"][camera]
        seen = {
            name: centre_of_change(away, of_cameras[camera])
            for name, of_cameras in images.items()
            if name != "away"
        }
        row, column = seen["here"]
        assert seen["north" if camera == "topview" else "higher"][0] < row - 3, camera
        east = seen["east"][1] - column
        assert east < -3 if camera in ("workspace", "workspace_front") else east > 3, camera
    env.close()


def test_images_leave_the_model_and_follow_its_terrain() -> None:
    """A free camera has its own field of view, and a reset may draw other hills."""
    mujoco = load_mujoco()
    model = mujoco.MjModel.from_xml_string("""<mujoco><asset>
        <hfield name="hills" nrow="8" ncol="8" size="1 1 .5 .1"/></asset>
        <worldbody><light pos="0 0 3"/><geom type="hfield" hfield="hills" rgba="1 0 0 1"/>
        <camera name="side" pos="0 -3 .3" xyaxes="1 0 0 0 0 1"/></worldbody></mujoco>""")
    data, own = mujoco.MjData(model), model.vis.global_.fovy
    wide = FreeCamera(position=(0, -3, 1), look_at=(0, 0, 0), fovy=80)
    cameras = CameraImages(model, EnvConfig(image_size=64), {"wide": wide})
    mujoco.mj_forward(model, data)
    flat = cameras.image(data, "side", 64)
    cameras.image(data, "wide", 64)
    assert model.vis.global_.fovy == own
    model.hfield_data[:] = np.random.default_rng(0).uniform(size=64)
    hilly = cameras.image(data, "side", 64)
    assert (flat != hilly).any(axis=-1).mean() > 0.05
    again = CameraImages(model, EnvConfig(image_size=64), {})
    assert np.array_equal(again.image(data, "side", 64), hilly)
    for each in (cameras, again):
        each.close()


def test_only_cameras_that_stand_are_turned() -> None:
    """A wrist that looks down, to either side of straight down, sees the block where it is; a
    camera that stands on its head is turned."""
    mujoco = load_mujoco()
    model = mujoco.MjModel.from_xml_string("""<mujoco><worldbody><light pos="0 0 3"/>
        <geom type="box" size=".1 .1 .1" pos="0 .3 0" rgba="1 0 0 1"/>
        <camera name="head" pos="0 -2 0" xyaxes="-1 0 0 0 0 -1"/>
        <body pos="0 0 2"><joint name="tilt" axis="1 0 0"/>
          <geom size=".01" mass="1"/><camera name="wrist"/></body>
        <geom type="box" size=".1 .1 .1" pos="0 .3 .3" rgba="0 0 1 1"/>
        </worldbody></mujoco>""")
    data, cameras = mujoco.MjData(model), CameraImages(model, EnvConfig(image_size=64), {})
    for degrees in (-1, 1):
        data.qpos[:] = np.radians(degrees)
        mujoco.mj_forward(model, data)
        blue = cameras.image(data, "wrist", 64).astype(int)[..., 2]
        assert np.nonzero(blue > 60)[0].mean() < 28, degrees
        _, across, up = cameras.body_at(data, "wrist", (0.5, 0.5))
        assert across[0] > 0.9 and up[1] > 0.9, degrees
    head = cameras.image(data, "head", 64).astype(int)
    blue, red = (np.nonzero(head[..., channel] > 60)[0].mean() for channel in (2, 0))
    assert blue < red
    cameras.close()


@pytest.mark.slow
def test_faithful_image_is_the_simulators() -> None:
    import mujoco

    env = registry.make(
        "metaworld/drawer-open", EnvConfig(faithful_rendering=True, cameras=("topview",))
    )
    image = env.reset(seed=0)[0]["images"]["topview"]
    with mujoco.Renderer(env._simulator.model, 64, 64) as renderer:
        renderer.update_scene(env._simulator.data, "topview")
        assert np.array_equal(image, renderer.render())
    env.close()


def test_fast_image_shows_equal_scene() -> None:
    fast, faithful = (
        registry.make("metaworld/drawer-open", EnvConfig(faithful_rendering=flag))
        for flag in (False, True)
    )
    a, b = (env.reset(seed=0)[0]["images"]["workspace"].astype(float) for env in (fast, faithful))
    assert 0 < np.abs(a - b).mean() < 20, (
        "shadows, reflections and anti-aliasing are all that differs"
    )
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9
    fast.close()
    faithful.close()


def test_clustering_simplifies_large_meshes_only() -> None:
    env = registry.make("metaworld/coffee-pull")
    model = env._simulator.model
    small = copy.copy(model)
    cluster_meshes(small, cluster_metres(64))
    assert small.mesh_facenum.sum() < 0.4 * model.mesh_facenum.sum()
    assert np.abs(small.mesh_vert - model.mesh_vert).max() <= cluster_metres(64)
    kept = small.mesh_facenum == model.mesh_facenum
    assert kept.sum() >= 5
    for mesh in range(model.nmesh):
        rows = slice(small.mesh_faceadr[mesh], small.mesh_faceadr[mesh] + small.mesh_facenum[mesh])
        assert small.mesh_face[rows].max() < model.mesh_vertnum[mesh]
        if kept[mesh]:
            assert np.array_equal(small.mesh_face[rows], model.mesh_face[rows])
    assert np.array_equal(model.mesh_face, copy.copy(model).mesh_face)
    env.close()


def test_closed_environment_works_after_reset() -> None:
    env = registry.make("metaworld/reach")
    first = env.reset(seed=0)[0]["images"]["workspace"]
    env.close()
    env.close()
    assert np.array_equal(env.reset(seed=0)[0]["images"]["workspace"], first)
    env.close()


def test_missing_renderer_names_the_packages() -> None:
    code = (
        "import ctypes\n"
        "real = ctypes.CDLL.__init__\n"
        "def absent(self, name, *rest, **more):\n"
        "    if name and ('EGL' in str(name) or 'OSMesa' in str(name)): raise OSError(name)\n"
        "    real(self, name, *rest, **more)\n"
        "ctypes.CDLL.__init__ = absent\n"
        "from manyparts.envs import registry\n"
        "from manyparts.core.errors import UserError\n"
        "try: registry.make('metaworld/reach')\n"
        "except UserError as error: print(error)\n"
    )
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")
    }
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert "sudo apt-get update && sudo apt-get install -y libegl1" in result.stdout


def test_model_cameras_come_from_model() -> None:
    env = registry.make("metaworld/reach")
    model = env._simulator.model
    assert {model.camera(index).name for index in range(model.ncam)} == set(MODEL_CAMERAS)
    env.close()


def test_viewer_image_keeps_agent_images() -> None:
    env = registry.make("metaworld/reach")
    first = env.reset(seed=0)[0]["images"]["workspace"]
    assert env.render().shape == (256, 256, 3)
    assert np.array_equal(env.observe()["images"]["workspace"], first)
    env.close()


@pytest.mark.skipif(
    find_spec("triton") is None, reason="PyTorch for CUDA, which brings triton, is not installed"
)
def test_triton_loads_after_drawing() -> None:
    """Both hold an LLVM; in the other order the process died."""
    script = (
        "from manyparts.envs.registry import make\n"
        "make('metaworld/reach').reset(seed=0)\n"
        "import triton\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
