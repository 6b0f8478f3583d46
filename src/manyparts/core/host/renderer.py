"""Rendering without a display: which backend MuJoCo is to use, and whether it loads here."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from functools import lru_cache
from pathlib import Path

from manyparts.core.errors import UserError

BACKENDS = ("egl", "osmesa")  # in the order of preference
APT = "sudo apt-get update && sudo apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri"
# Values of MUJOCO_GL that mean a window, and no rendering at all.
_WINDOW = ("glfw", "glx", "enable", "enabled", "on", "true", "1")
_NO_RENDERING = ("disable", "disabled", "off", "false", "0")
_PLATFORM_DEVICE = 0x313F  # EGL_PLATFORM_DEVICE_EXT
_MAX_EGL_DEVICES = 16


class NoRendererError(UserError):
    """Nothing can render here.

    Attributes:
        problem: Why not.
        mend: What to do, such as a command.
    """

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(f"no renderer: {problem}; {mend}")
        self.problem, self.mend = problem, mend


def choose_backend() -> str:
    """Choose how MuJoCo renders without a display. Call it before MuJoCo is imported.

    On Linux it sets MUJOCO_GL to egl or osmesa, whichever loads, and LP_NUM_THREADS to 1, since
    several processes render faster than several threads of one. Variables that are set already
    stay. On other systems MuJoCo has one backend of its own.

    Returns:
        The backend's name.

    Raises:
        NoRendererError: No backend loads, or MUJOCO_GL names one that cannot render here.
    """
    if sys.platform != "linux":
        return os.environ.get("MUJOCO_GL", "default")
    os.environ.setdefault("LP_NUM_THREADS", "1")
    _load_triton_first()
    requested = os.environ.get("MUJOCO_GL", "").strip().lower()
    platform = os.environ.get("PYOPENGL_PLATFORM", "").strip().lower()
    chosen = _backend(requested, platform, _display(), os.environ.get("MUJOCO_EGL_DEVICE_ID", ""))
    # Also replaces " EGL" and the like by "egl": dm_control reads the variable strictly.
    if os.environ.get("MUJOCO_GL") != chosen:
        os.environ["MUJOCO_GL"] = chosen
    return chosen


def egl_loads(*others: str) -> bool:
    """Return whether EGL renders here without a display, and the other libraries load."""
    _load_triton_first()
    return _loads("egl") and all(map(_library_loads, others))


@lru_cache
def _backend(requested: str, platform: str, display: str, device: str) -> str:
    """Return the backend to use; an argument is "" where its variable is unset.

    Args:
        requested: MUJOCO_GL.
        platform: PYOPENGL_PLATFORM, which must name the same backend.
        display: DISPLAY or WAYLAND_DISPLAY.
        device: MUJOCO_EGL_DEVICE_ID.
    """
    if requested in _WINDOW and display and _window_opens():
        return "glfw"
    working = [name for name in BACKENDS if _loads(name)]

    def unset(variable: str) -> str:
        if working:
            return f"unset {variable} ({working[0]} works here)"
        return f"install one with: {APT}"

    if requested and requested not in working:
        problem = f"MUJOCO_GL is {requested!r}{_why_not(requested)}"
        raise NoRendererError(problem, unset("MUJOCO_GL"))
    if not working:
        raise NoRendererError("neither EGL nor OSMesa loads", f"install one with: {APT}")
    preferred = platform if platform in working else working[0]
    chosen = requested or preferred
    if platform and platform != chosen:
        problem = f"PYOPENGL_PLATFORM is {platform!r}"
        raise NoRendererError(problem, unset("PYOPENGL_PLATFORM"))
    if chosen == "egl" and device and not _loads("egl", device):
        problem = f"MUJOCO_EGL_DEVICE_ID is {device!r}, and EGL has no such device"
        raise NoRendererError(problem, unset("MUJOCO_EGL_DEVICE_ID"))
    return chosen


def _why_not(requested: str) -> str:
    """Say why a value of MUJOCO_GL cannot be used."""
    if requested in _WINDOW:
        reason = f"the display {_display()!r} opens none" if _display() else "there is no display"
        return f", which draws in a window, and {reason}"
    if requested in _NO_RENDERING:
        return ", which turns images off"
    if requested in BACKENDS:
        return ", which does not load"
    return f"; choices: {', '.join(BACKENDS)}, and with a display glfw"


def _window_opens() -> bool:
    try:
        import glfw

        return bool(glfw.init())
    except (ImportError, OSError):
        return False


def _display() -> str:
    return os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or ""


@lru_cache(maxsize=1)
def _load_triton_first() -> None:
    """Load Triton's library before Mesa's, where PyTorch for CUDA has installed it.

    Both hold an LLVM: a process that loads Triton's after Mesa's dies (seen with triton 3.x and
    Mesa 22).
    """
    package = importlib.util.find_spec("triton")
    if package is None:
        return
    for folder in package.submodule_search_locations or ():
        for library in Path(folder).glob("_C/libtriton*.so"):
            _library_loads(str(library))


def _loads(backend: str, device: str = "") -> bool:
    """Return whether a backend can render; `device` is the number of EGL's device, "" for any."""
    try:
        if backend == "osmesa":
            return _library_loads("libOSMesa.so.8") or _library_loads("libOSMesa.so")
        return _egl_has_device(ctypes.CDLL("libEGL.so.1"), device)
    except (OSError, AttributeError):
        return False


def _library_loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _egl_has_device(egl: ctypes.CDLL, device: str) -> bool:
    """Return whether EGL can open a display on a device without a window system, as MuJoCo does.

    The functions are extensions of EGL, which are called by address.
    """
    address = egl.eglGetProcAddress
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    query, display_of = address(b"eglQueryDevicesEXT"), address(b"eglGetPlatformDisplayEXT")
    if not query or not display_of:
        return False
    devices, count = (ctypes.c_void_p * _MAX_EGL_DEVICES)(), ctypes.c_int32()
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)(query)
    display_of = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(
        display_of
    )
    if not query(_MAX_EGL_DEVICES, devices, ctypes.byref(count)):
        return False
    candidates = devices[: count.value]
    if device:
        candidates = candidates[int(device) :][:1] if device.isdigit() else []
    egl.eglInitialize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    displays = (display_of(_PLATFORM_DEVICE, candidate, None) for candidate in candidates)
    return any(display and egl.eglInitialize(display, None, None) for display in displays)
