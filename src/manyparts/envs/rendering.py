"""One fast offscreen renderer for MuJoCo models: backend choice, no shadows, clustered meshes."""

from __future__ import annotations

import atexit
import copy
import ctypes
import importlib
import importlib.util
import os
import sys
import weakref
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from manyparts.types import UserError

BACKENDS = ("egl", "osmesa")
APT = "sudo apt-get update && sudo apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri"
CLUSTER_ABOVE_FACES = 2000
ROUNDNESS = (16, 8)  # faces of spheres and cylinders, around and along

_open: weakref.WeakSet[Renderer] = weakref.WeakSet()
_closing_at_exit = False


def choose_backend() -> str:
    """Choose how MuJoCo renders without a display, if possible before it is imported; returns the backend's name.

    On Linux sets MUJOCO_GL to egl or osmesa, whichever loads, unless it is set, and LP_NUM_THREADS to 1 unless it is
    set: several processes render faster than several threads of one. UserError, with the command that mends it, where
    neither loads. Elsewhere MuJoCo has one backend of its own.
    """
    if sys.platform != "linux":
        return os.environ.get("MUJOCO_GL", "default")
    os.environ.setdefault("LP_NUM_THREADS", "1")
    _load_triton_first()
    chosen = os.environ.get("MUJOCO_GL", "").strip().lower()
    if not chosen:
        platform = os.environ.get("PYOPENGL_PLATFORM", "").lower()
        working = [name for name in BACKENDS if platform in ("", name) and _loads(name)]
        if not working:
            raise UserError(f"no renderer: neither EGL nor OSMesa loads; install one with: {APT}")
        chosen = os.environ["MUJOCO_GL"] = working[0]
    return chosen


def load_mujoco() -> Any:
    """The mujoco module, after a backend was chosen. Typed Any since its compiled names have no declarations."""
    choose_backend()
    import mujoco

    return mujoco


def egl_loads(*others: str) -> bool:
    """Whether EGL renders here without a display, and these other libraries load."""
    _load_triton_first()
    return _loads("egl") and all(map(_found, others))


@lru_cache(maxsize=1)
def _load_triton_first() -> None:
    """Load Triton's library, where PyTorch for CUDA brought it, before Mesa's.

    Both hold an LLVM: a process that loads Triton's after Mesa's dies (seen with triton 3.x and Mesa 22).
    """
    found = importlib.util.find_spec("triton")
    for folder in (found and found.submodule_search_locations) or ():
        for library in Path(folder).glob("_C/libtriton*.so"):
            _found(str(library))


def _loads(backend: str) -> bool:
    try:
        if backend == "osmesa":
            return bool(ctypes.CDLL("libOSMesa.so.8" if _found("libOSMesa.so.8") else "libOSMesa.so"))
        egl = ctypes.CDLL("libEGL.so.1")
        return _egl_has_device(egl)
    except (OSError, AttributeError):
        return False


def _found(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _egl_has_device(egl: ctypes.CDLL) -> bool:
    """Whether EGL can open a display on some device without a window system, as MuJoCo asks of it."""
    address = egl.eglGetProcAddress
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    query, display_of = address(b"eglQueryDevicesEXT"), address(b"eglGetPlatformDisplayEXT")
    if not query or not display_of:
        return False
    devices, count = (ctypes.c_void_p * 16)(), ctypes.c_int32()
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)(query)
    display_of = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(display_of)
    if not query(16, devices, ctypes.byref(count)):
        return False
    egl.eglInitialize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    platform_device = 0x313F
    displays = (display_of(platform_device, device, None) for device in devices[: count.value])
    return any(display and egl.eglInitialize(display, None, None) for display in displays)


class Renderer:
    """Pictures of a MuJoCo model, right side up. A context for each renderer; closed before the interpreter ends.

    model: read for its assets on creation and for its poses at every picture; never changed but for the field of
    view of free cameras. size: pixels a side of the pictures to expect; a larger one makes the buffer grow.
    faithful: shadows, reflections, anti-aliasing and every triangle, as the simulator would draw it.
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
        self._gl = _gl_context(size)
        self._gl.make_current()
        self._context: Any = mujoco.MjrContext(assets, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        _close_at_exit(self)

    def picture(self, data: Any, camera: Any, size: int, *, fovy: float | None = None) -> np.ndarray:
        """What a camera sees: uint8 (size, size, 3). fovy: degrees, for free cameras."""
        mujoco = load_mujoco()
        if self._context is None:
            raise RuntimeError("this renderer is closed")
        if fovy is not None:
            self._model.vis.global_.fovy = fovy
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        rectangle = mujoco.MjrRect(0, 0, size, size)
        pixels = np.empty((size, size, 3), np.uint8)
        self._gl.make_current()
        if size > self._size:
            mujoco.mjr_resizeOffscreen(size, size, self._context)
            self._size = size
        mujoco.mjr_render(rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(pixels, None, rectangle, self._context)
        # OpenGL's first row is the lowest. A camera mounted head down is turned by half a circle, never mirrored.
        upside_down = self._scene.camera[0].up[2] < 0
        return np.ascontiguousarray(pixels[:, ::-1] if upside_down else pixels[::-1])

    def close(self) -> None:
        """Free what the driver holds. A closed renderer can be closed again."""
        if self._context is None:
            return
        self._gl.make_current()
        self._context.free()
        self._context = None
        self._gl.free()


def cluster_metres(size: int) -> float:
    """The cell in which vertices are merged for pictures of `size` pixels a side: about what a pixel shows."""
    return min(max(1.28 / size, 0.01), 0.02)


def cluster_meshes(model: Any, cell: float) -> None:
    """Merge the vertices of a model's large meshes that share a cell of `cell` metres, for drawing only.

    Triangles that collapse are dropped and each mesh keeps its place in the arrays. Normals are those of the
    vertex that stands for its cell, so that shading stays smooth. Small meshes (under 2000 triangles) keep all.
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
        # By name, since a mujoco imported before the choice was made holds the context of a window system.
        home = importlib.import_module(f"mujoco.{backend}") if backend in BACKENDS else mujoco
        return home.GLContext(size, size)
    except Exception as error:  # drivers raise their own kinds
        raise UserError(f"no renderer ({type(error).__name__}: {error}); install one with: {APT}") from error


def _close_at_exit(renderer: Renderer) -> None:
    """Exit handlers run last come first, so this one, registered after the driver's own, runs before it."""
    global _closing_at_exit
    _open.add(renderer)
    if not _closing_at_exit:
        _closing_at_exit = True
        atexit.register(lambda: [each.close() for each in list(_open)])
