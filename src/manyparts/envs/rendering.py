"""One fast offscreen renderer for MuJoCo models: no shadows, clustered meshes, any thread, one
process."""

from __future__ import annotations

import atexit
import contextlib
import copy
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

_open: weakref.WeakSet[Renderer] = weakref.WeakSet()
_one_at_a_time = threading.RLock()
_drew = False  # whether this process has
_parent_drew = False  # before it forked this process; what drivers hold does not survive that
_abandoned: list[
    Any
] = []  # contexts of a parent process, kept so that their destructors never run here


@lru_cache(maxsize=1)
def load_mujoco() -> Any:
    """The mujoco module, after a backend was chosen. Typed Any since its compiled names have no
    declarations."""
    backend = choose_backend()
    try:
        import mujoco
    except Exception as error:  # its loader of drivers raises their own kinds
        mend = "see `manyparts doctor`, or install mujoco again"
        raise NoRendererError(f"{backend}: {in_a_line(error)}", mend) from error
    return mujoco


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Draw while the block runs: one thread at a time, all in one process.

    A child that was forked after its parent drew finds the driver's threads gone, and would wait
    for them for ever.

    Raises:
        UserError: this is such a child.
    """
    global _drew
    if _parent_drew:
        raise UserError(
            "this process was forked after its parent had drawn pictures, and no renderer survives that. Start the "
            'process with spawn, such as AsyncVectorEnv(..., context="spawn") or multiprocessing.get_context("spawn"), '
            "or draw nothing before the fork"
        )
    _drew = True
    with _one_at_a_time:
        yield


class Renderer:
    """Pictures of a MuJoCo model, right side up. A context for each renderer; closed before the
    interpreter ends.

    Any thread may draw: after each picture the context is free for the next thread.

    model: read for its assets on creation and for its poses at every picture; never changed but for
    the field of view of free cameras. size: pixels a side of the pictures to expect; a larger one
    makes the buffer grow. faithful: shadows, reflections, anti-aliasing and every triangle, as the
    simulator would draw it.
    """

    def __init__(self, model: Any, *, size: int, faithful: bool = False) -> None:
        mujoco = load_mujoco()
        self._model = model
        self._size = size
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
        with drawing():
            self._gl = _gl_context(size)
            with self._current():
                self._context = mujoco.MjrContext(assets, mujoco.mjtFontScale.mjFONTSCALE_100)
                mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        _open.add(self)
        _close_at_exit()

    def image(self, data: Any, camera: Any, size: int, *, fovy: float | None = None) -> np.ndarray:
        """What a camera sees: uint8 (size, size, 3). fovy: degrees, for free cameras."""
        mujoco = load_mujoco()
        rectangle = mujoco.MjrRect(0, 0, size, size)
        pixels = np.empty((size, size, 3), np.uint8)
        with drawing():
            if self._context is None:
                raise RuntimeError("this renderer is closed")
            if fovy is not None:
                self._model.vis.global_.fovy = fovy
            mujoco.mjv_updateScene(
                self._model,
                data,
                self._option,
                None,
                camera,
                mujoco.mjtCatBit.mjCAT_ALL.value,
                self._scene,
            )
            with self._current():
                if size > self._size:
                    mujoco.mjr_resizeOffscreen(size, size, self._context)
                    self._size = size
                mujoco.mjr_render(rectangle, self._scene, self._context)
                mujoco.mjr_readPixels(pixels, None, rectangle, self._context)
            # OpenGL's first row is the lowest. A camera mounted head down is turned by half a
            # circle, never mirrored.
            upside_down = self._scene.camera[0].up[2] < 0
        return np.ascontiguousarray(pixels[:, ::-1] if upside_down else pixels[::-1])

    def close(self) -> None:
        """Free what the driver holds. A closed renderer can be closed again."""
        if self._context is None:
            return
        with drawing():
            with self._current():
                self._context.free()
            self._context = None
            self._gl.free()

    def abandon(self) -> None:
        """Forget, in a forked child, what the driver holds for the parent, without a call to the
        driver."""
        _abandoned.extend([self._gl, self._context])
        self._gl._context = self._context = None

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """The context is this thread's while the block runs, then no thread's: only one thread can
        have it."""
        self._gl.make_current()
        try:
            yield
        finally:
            _release()


def cluster_metres(size: int) -> float:
    """The cell in which vertices are merged for pictures of `size` pixels a side: about what a
    pixel shows."""
    return min(max(1.28 / size, 0.01), 0.02)


def cluster_meshes(model: Any, cell: float) -> None:
    """Merge the vertices of a model's large meshes that share a cell of `cell` metres, for drawing
    only.

    Triangles that collapse are dropped and each mesh keeps its place in the arrays. Normals are
    those of the vertex that stands for its cell, so that shading stays smooth. Small meshes (under
    2000 triangles) keep all.
    """
    for mesh in range(model.nmesh):
        if model.mesh_facenum[mesh] < CLUSTER_ABOVE_FACES:
            continue
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        vertices = model.mesh_vert[first : first + count]
        cells = np.floor(vertices / cell).astype(np.int64)
        _, cluster = np.unique(cells, axis=0, return_inverse=True)
        cluster = cluster.reshape(-1)
        sums = np.stack([np.bincount(cluster, vertices[:, axis]) for axis in range(3)], axis=-1)
        vertices[:] = (sums / np.bincount(cluster)[:, None])[cluster]

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
    mujoco, backend = load_mujoco(), choose_backend()
    try:
        # By name, since a mujoco imported before the choice was made holds the context of a window
        # system.
        home = importlib.import_module(f"mujoco.{backend}") if backend in BACKENDS else mujoco
        return home.GLContext(size, size)
    except Exception as error:  # drivers raise their own kinds
        raise NoRendererError(
            f"{backend}: {in_a_line(error)}", "unset MUJOCO_GL, or see `manyparts doctor`"
        ) from error


def _release() -> None:
    """No context is this thread's any more. OSMesa's need no release."""
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
    """Handlers run last come first, so this one, registered after the driver's own, runs before
    it."""
    atexit.register(lambda: [renderer.close() for renderer in list(_open)])


def _after_fork() -> None:
    """In a child that was just forked: neither destructors nor handlers at its end may call the
    driver."""
    global _drew, _parent_drew
    egl, gl = sys.modules.get("mujoco.egl"), sys.modules.get("pyglet.gl")
    others = (
        getattr(egl, "EGL_DISPLAY", None) is not None
        or getattr(gl, "current_context", None) is not None
    )
    _drew, _parent_drew = False, _parent_drew or _drew or others
    for renderer in list(_open):
        renderer.abandon()
    _open.clear()
    if egl is not None and hasattr(egl, "EGL"):
        atexit.unregister(egl.EGL.eglTerminate)


os.register_at_fork(after_in_child=_after_fork)
