"""What draws pictures without a display: which backend MuJoCo is to use, and whether it loads
here."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from functools import lru_cache
from pathlib import Path

from manyparts.core.errors import UserError

BACKENDS = ("egl", "osmesa")
APT = "sudo apt-get update && sudo apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri"
# MuJoCo's own words for a window and for no pictures at all.
_WINDOW = ("glfw", "glx", "enable", "enabled", "on", "true", "1")
_NOTHING = ("disable", "disabled", "off", "false", "0")


class NoRendererError(UserError):
    """Nothing can draw here. problem: why. mend: what to type."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(f"no renderer: {problem}; {mend}")
        self.problem, self.mend = problem, mend


def choose_backend() -> str:
    """Choose how MuJoCo draws without a display, before it is imported; returns the backend's name.

    On Linux sets MUJOCO_GL to egl or osmesa, whichever loads, unless it is set. LP_NUM_THREADS
    becomes 1 unless it is set: several processes draw faster than several threads of one. Elsewhere
    MuJoCo has one backend of its own.

    Raises:
        NoRendererError: neither loads, or MUJOCO_GL names what cannot draw here.
    """
    if sys.platform != "linux":
        return os.environ.get("MUJOCO_GL", "default")
    os.environ.setdefault("LP_NUM_THREADS", "1")
    _load_triton_first()
    asked = os.environ.get("MUJOCO_GL", "").strip().lower()
    platform = os.environ.get("PYOPENGL_PLATFORM", "").strip().lower()
    chosen = _backend(asked, platform, _display(), os.environ.get("MUJOCO_EGL_DEVICE_ID", ""))
    if os.environ.get("MUJOCO_GL") != chosen:
        os.environ["MUJOCO_GL"] = (
            chosen  # also where it was written otherwise, since dm_control reads it strictly
        )
    return chosen


def egl_loads(*others: str) -> bool:
    """Whether EGL draws here without a display, and these other libraries load."""
    _load_triton_first()
    return _loads("egl") and all(map(_found, others))


@lru_cache
def _backend(asked: str, platform: str, display: str, device: str) -> str:
    """The backend, given MUJOCO_GL, PYOPENGL_PLATFORM, a display and MUJOCO_EGL_DEVICE_ID ("":
    unset)."""
    if asked in _WINDOW and display and _window_opens():
        return "glfw"
    working = [name for name in BACKENDS if _loads(name)]
    mend = f"unset {{}} ({working[0]} works here)" if working else f"install one with: {APT}"
    if asked and asked not in working:
        raise NoRendererError(
            f"MUJOCO_GL is {asked!r}{_complaint(asked)}", mend.format("MUJOCO_GL")
        )
    if not working:
        raise NoRendererError("neither EGL nor OSMesa loads", mend)
    chosen = asked or next((name for name in working if name == platform), working[0])
    if platform and platform != chosen:
        raise NoRendererError(
            f"PYOPENGL_PLATFORM is {platform!r}", mend.format("PYOPENGL_PLATFORM")
        )
    if chosen == "egl" and device and not _loads("egl", device):
        problem = f"MUJOCO_EGL_DEVICE_ID is {device!r}, and EGL has no such device"
        raise NoRendererError(problem, mend.format("MUJOCO_EGL_DEVICE_ID"))
    return chosen


def _complaint(asked: str) -> str:
    """Why this value of MUJOCO_GL does not do."""
    if asked in _WINDOW:
        where = f"the display {_display()!r} opens none" if _display() else "there is no display"
        return f", which draws in a window, and {where}"
    if asked in _NOTHING:
        return ", which turns pictures off"
    if asked in BACKENDS:
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
    """Load Triton's library, where PyTorch for CUDA brought it, before Mesa's.

    Both hold an LLVM: a process that loads Triton's after Mesa's dies (seen with triton 3.x and
    Mesa 22).
    """
    found = importlib.util.find_spec("triton")
    for folder in (found and found.submodule_search_locations) or ():
        for library in Path(folder).glob("_C/libtriton*.so"):
            _found(str(library))


def _loads(backend: str, device: str = "") -> bool:
    """device: the number of EGL's device to use; "": any."""
    try:
        if backend == "osmesa":
            return bool(
                ctypes.CDLL("libOSMesa.so.8" if _found("libOSMesa.so.8") else "libOSMesa.so")
            )
        return _egl_has_device(ctypes.CDLL("libEGL.so.1"), device)
    except (OSError, AttributeError):
        return False


def _found(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _egl_has_device(egl: ctypes.CDLL, device: str) -> bool:
    """Whether EGL can open a display on some device without a window system, as MuJoCo asks of
    it."""
    address = egl.eglGetProcAddress
    address.restype, address.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    query, display_of = address(b"eglQueryDevicesEXT"), address(b"eglGetPlatformDisplayEXT")
    if not query or not display_of:
        return False
    devices, count = (ctypes.c_void_p * 16)(), ctypes.c_int32()
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)(query)
    display_of = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(
        display_of
    )
    if not query(16, devices, ctypes.byref(count)):
        return False
    there = devices[: count.value]
    if device:
        there = there[int(device) :][:1] if device.isdigit() else []
    egl.eglInitialize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    platform_device = 0x313F
    displays = (display_of(platform_device, each, None) for each in there)
    return any(display and egl.eglInitialize(display, None, None) for display in displays)
