"""A fast offscreen renderer for MuJoCo models: no shadows, simplified meshes, usable from any
thread."""

from __future__ import annotations

import atexit
import contextlib
import copy
import gc
import importlib
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line
from manyparts.core.host.renderer import BACKENDS, NoRendererError, choose_backend

CLUSTER_ABOVE_FACES = 2000
ROUNDNESS = (16, 8)  # faces of spheres and cylinders, around and along
_TILTED = 0.1  # how far `up` points down where a camera stands on its head

_open: weakref.WeakSet[Renderer] = weakref.WeakSet()
_one_at_a_time = threading.RLock()
# Whether this process has drawn.
_drew = False
# Whether a parent drew before it forked this process. What drivers hold does not survive a fork.
_parent_drew = False
# Contexts of a parent process, kept so that their destructors never run in this one.
_abandoned: list[Any] = []


@lru_cache(maxsize=1)
def load_mujoco() -> Any:
    """Import mujoco after choosing a rendering backend.

    The type is Any because its compiled names have no declarations.

    Raises:
        NoRendererError: the backend does not load.
    """
    backend = choose_backend()
    try:
        import mujoco
    except Exception as error:  # its loader of drivers raises their own kinds
        remedy = "see `manyparts doctor`, or install mujoco again"
        raise NoRendererError(f"{backend}: {in_a_line(error)}", remedy) from error
    return mujoco


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Hold the right to draw while the block runs; one thread has it at a time.

    Raises:
        UserError: this process was forked after its parent had drawn.
    """
    global _drew
    # A fork copies no threads. A child of a parent that drew would wait for the driver's threads
    # forever, so it fails instead.
    if _parent_drew:
        raise UserError(
            "this process was forked after its parent had drawn images, and no renderer survives "
            'that. Start the process with spawn, such as AsyncVectorEnv(..., context="spawn") or '
            'multiprocessing.get_context("spawn"), or draw nothing before the fork'
        )
    _drew = True
    with _one_at_a_time:
        yield


class Renderer:
    """Images of a MuJoCo model, right side up.

    Each renderer has a context, which is closed before the interpreter ends. Any thread may draw:
    after each image the context is free for the next thread.
    """

    def __init__(self, model: Any, *, size: int, faithful: bool = False) -> None:
        """Load the model's assets into a new context.

        Args:
            model: assets are read now, poses at every image. Only the field of view of free cameras
                is changed, while one is drawn.
            size: side of the expected images in pixels; the buffer grows for a larger one.
            faithful: draw shadows, reflections, anti-aliasing and every triangle, as the simulator
                itself does.
        """
        mujoco = load_mujoco()
        self._model = model
        self._size = size
        # A copy, because meshes are simplified in it and physics must keep the original's.
        assets = copy.copy(model)
        assets.vis.global_.offwidth = assets.vis.global_.offheight = size
        if not faithful:
            assets.vis.quality.offsamples = 0
            assets.vis.quality.numslices, assets.vis.quality.numstacks = ROUNDNESS
            cluster_meshes(assets, cluster_metres(size))
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        if not faithful:
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
            self._scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = 0
        self._option = mujoco.MjvOption()
        self._context: Any = None
        self._terrain = np.array(model.hfield_data)
        with drawing():
            self._gl = _gl_context(size)
            with self._current():
                self._context = mujoco.MjrContext(assets, mujoco.mjtFontScale.mjFONTSCALE_100)
                mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        _open.add(self)
        _close_at_exit()

    def image(self, data: Any, camera: Any, size: int, *, fovy: float | None = None) -> np.ndarray:
        """Draw what a camera sees.

        Args:
            data: a `mujoco.MjData` with the poses to draw.
            camera: a `mujoco.MjvCamera`.
            size: side of the image in pixels.
            fovy: vertical field of view in degrees, for free cameras.

        Returns:
            uint8 (size, size, 3).
        """
        mujoco = load_mujoco()
        rectangle = mujoco.MjrRect(0, 0, size, size)
        pixels = np.empty((size, size, 3), np.uint8)
        with drawing():
            if self._context is None:
                raise RuntimeError("this renderer is closed")
            self._update(data, camera, fovy)
            with self._current():
                self._upload_terrain()
                if size > self._size:
                    mujoco.mjr_resizeOffscreen(size, size, self._context)
                    self._size = size
                mujoco.mjr_render(rectangle, self._scene, self._context)
                mujoco.mjr_readPixels(pixels, None, rectangle, self._context)
            upside_down = self._is_upside_down(camera)
        # OpenGL's first row is the lowest. An image is rotated by half a turn, not mirrored.
        return np.ascontiguousarray(pixels[:, ::-1] if upside_down else pixels[::-1])

    def body_at(
        self,
        data: Any,
        camera: Any,
        at: tuple[float, float],
        *,
        fovy: float | None = None,
    ) -> tuple[int, np.ndarray, np.ndarray]:
        """Find what a camera sees at a point of its image.

        Args:
            data: see `image`.
            camera: see `image`.
            at: the point, from the left and from the top, each from 0 to 1.
            fovy: see `image`.

        Returns:
            The body's number, -1 if there is nothing; and the directions to the right and up in the
            image, (3,) each in the world frame.
        """
        mujoco = load_mujoco()
        with drawing():
            self._update(data, camera, fovy)
            seen = self._scene.camera[0]
            up, forward = np.array(seen.up), np.array(seen.forward)
            across, above = at[0], 1 - at[1]
            if self._is_upside_down(camera):
                across, above, up = 1 - across, 1 - above, -up
            found = [np.full((1, 1), -1, np.int32) for _ in range(3)]  # geom, flex, skin
            point = np.zeros(3)
            body = mujoco.mjv_select(
                self._model, data, self._option, 1.0, across, above, self._scene, point, *found
            )
        return int(body), np.cross(forward, up), up

    def _update(self, data: Any, camera: Any, fovy: float | None) -> None:
        """Let the scene be what a camera sees. A free camera's field of view stands in the model,
        where the simulator's own free camera has its, too."""
        mujoco, view = load_mujoco(), self._model.vis.global_
        own = view.fovy
        view.fovy = own if fovy is None else fovy
        try:
            everything = mujoco.mjtCatBit.mjCAT_ALL.value
            mujoco.mjv_updateScene(
                self._model, data, self._option, None, camera, everything, self._scene
            )
        finally:
            view.fovy = own

    def _upload_terrain(self) -> None:
        """Give the driver height fields that the simulator has changed, as at a reset."""
        model = self._model
        if not model.nhfield or np.array_equal(model.hfield_data, self._terrain):
            return
        for number in range(model.nhfield):
            load_mujoco().mjr_uploadHField(model, self._context, number)
        self._terrain = model.hfield_data.copy()

    def _is_upside_down(self, camera: Any) -> bool:
        """Whether a camera stands on its head, so that its images are shown turned. Only one that
        nothing moves: `up` of a wrist that looks down changes its sign from frame to frame."""
        mujoco = load_mujoco()
        if camera.type != mujoco.mjtCamera.mjCAMERA_FIXED.value:
            return False
        model, number = self._model, camera.fixedcamid
        body = model.cam_bodyid[number]
        follows = model.cam_mode[number] != mujoco.mjtCamLight.mjCAMLIGHT_FIXED.value
        moves = model.body_weldid[body] or model.body_mocapid[model.body_rootid[body]] >= 0
        return bool(not follows and not moves and self._scene.camera[0].up[2] < -_TILTED)

    def close(self) -> None:
        """Free what the driver holds; closing twice does no harm."""
        if self._context is None:
            return
        with drawing():
            with self._current():
                self._context.free()
            self._context = None
            self._gl.free()

    def abandon(self) -> None:
        """Forget, in a forked child, what the driver holds for the parent.

        The driver is not called.
        """
        _abandoned.extend([self._gl, self._context])
        self._gl._context = self._context = None

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Make the context current for this thread while the block runs, then release it."""
        self._gl.make_current()
        try:
            yield
        finally:
            _release()


def cluster_metres(size: int) -> float:
    """Size of the cells in which vertices are merged, for images of `size` pixels per side.

    A cell is about as large as what one pixel shows.
    """
    return min(max(1.28 / size, 0.01), 0.02)


def cluster_meshes(model: Any, cell: float) -> None:
    """Merge the vertices of large meshes that share a cell, for drawing only.

    Meshes with fewer than 2000 triangles are kept as they are.

    Args:
        model: a `mujoco.MjModel`; its mesh arrays are changed.
        cell: side of a cell in metres.
    """
    for mesh in range(model.nmesh):
        if model.mesh_facenum[mesh] < CLUSTER_ABOVE_FACES:
            continue
        # Every vertex moves to the mean of its cell. Indices and normals stay, so shading stays
        # smooth.
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        vertices = model.mesh_vert[first : first + count]
        cells = np.floor(vertices / cell).astype(np.int64)
        _, cluster = np.unique(cells, axis=0, return_inverse=True)
        cluster = cluster.reshape(-1)
        sums = np.stack([np.bincount(cluster, vertices[:, axis]) for axis in range(3)], axis=-1)
        vertices[:] = (sums / np.bincount(cluster)[:, None])[cluster]

        # Triangles with two corners in one cell have no area any more, and several triangles over
        # the same three cells are one. What remains moves to the front of the mesh's rows, so that
        # the rows of other meshes stay where they are.
        start, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        rows = slice(start, start + faces)
        corners = np.sort(cluster[model.mesh_face[rows]], axis=1)
        whole = (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2])
        _, kept = np.unique(np.where(whole[:, None], corners, -1), axis=0, return_index=True)
        kept = np.sort(kept[whole[kept]])
        for array in (model.mesh_face, model.mesh_facenormal, model.mesh_facetexcoord):
            array[start : start + len(kept)] = array[rows][kept]
        model.mesh_facenum[mesh] = len(kept)


def _gl_context(size: int) -> Any:
    """A new OpenGL context of the chosen backend."""
    mujoco, backend = load_mujoco(), choose_backend()
    try:
        # By name, because a mujoco that was imported before the choice holds the context class of a
        # window system.
        home = importlib.import_module(f"mujoco.{backend}") if backend in BACKENDS else mujoco
        return home.GLContext(size, size)
    except Exception as error:  # drivers raise their own kinds
        raise NoRendererError(
            f"{backend}: {in_a_line(error)}", "unset MUJOCO_GL, or see `manyparts doctor`"
        ) from error


def _release() -> None:
    """Release this thread's current context; OSMesa's need no release."""
    backend = choose_backend()
    if backend == "egl":
        egl = importlib.import_module("mujoco.egl")
        driver = egl.EGL
        driver.eglMakeCurrent(
            egl.EGL_DISPLAY, driver.EGL_NO_SURFACE, driver.EGL_NO_SURFACE, driver.EGL_NO_CONTEXT
        )
    elif backend == "glfw":
        importlib.import_module("glfw").make_context_current(None)


@lru_cache(maxsize=1)
def _close_at_exit() -> None:
    """Close all open renderers when the interpreter ends, and the EGL contexts of others."""
    # Handlers run in reverse order: this one is registered after the driver's and runs before it.
    atexit.register(_close_all)


def _close_all() -> None:
    for renderer in list(_open):
        renderer.close()
    # A `mujoco.Renderer` that nobody closed would free its context after the driver has ended, and
    # print a traceback.
    egl = sys.modules.get("mujoco.egl")
    if egl is not None:
        for context in gc.get_objects():
            if type(context) is egl.GLContext:
                context.free()


def _after_fork() -> None:
    """Keep destructors and exit handlers of a forked child from calling the driver."""
    global _drew, _parent_drew
    egl, gl = sys.modules.get("mujoco.egl"), sys.modules.get("pyglet.gl")
    # Contexts that other code made with the same drivers do not survive the fork, either.
    drawn_by_others = (
        getattr(egl, "EGL_DISPLAY", None) is not None
        or getattr(gl, "current_context", None) is not None
    )
    _drew, _parent_drew = False, _parent_drew or _drew or drawn_by_others
    for renderer in list(_open):
        renderer.abandon()
    _open.clear()
    if egl is not None and hasattr(egl, "EGL"):
        atexit.unregister(egl.EGL.eglTerminate)


os.register_at_fork(after_in_child=_after_fork)
