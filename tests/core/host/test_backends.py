"""Which backend draws, for every value that MUJOCO_GL and its kin may have; and how processes
end."""

from __future__ import annotations

import os
import sys

import pytest

from manyparts.core.host import renderer
from manyparts.core.host.processes import alive, ending, started
from manyparts.core.host.renderer import NoRendererError, choose_backend

VARIABLES = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "MUJOCO_EGL_DEVICE_ID", "DISPLAY", "WAYLAND_DISPLAY")
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere MuJoCo has one backend of its own"
)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch):
    """The backend under some variables, where these backends load and EGL has one device."""

    def choose(variables: dict[str, str], loads: tuple[str, ...] = ("egl",)) -> str:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(
            renderer, "_loads", lambda name, device="": name in loads and device in ("", "0")
        )
        renderer._backend.cache_clear()
        try:
            return choose_backend()
        finally:
            renderer._backend.cache_clear()

    return choose


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "egl"),
        ({"MUJOCO_GL": ""}, "egl"),
        ({"MUJOCO_GL": "egl"}, "egl"),
        ({"MUJOCO_GL": " EGL "}, "egl"),
        ({"PYOPENGL_PLATFORM": "egl"}, "egl"),
        ({"MUJOCO_EGL_DEVICE_ID": "0"}, "egl"),
    ],
)
def test_a_working_backend_is_chosen(chosen, variables: dict[str, str], expected: str) -> None:
    assert chosen(variables) == expected == os.environ["MUJOCO_GL"]


@pytest.mark.parametrize(
    ("variables", "problem", "mend"),
    [
        (
            {"MUJOCO_GL": "glfw", "DISPLAY": ":99"},
            "the display ':99' opens none",
            "unset MUJOCO_GL (egl works here)",
        ),
        (
            {"MUJOCO_GL": "on", "WAYLAND_DISPLAY": "w-9"},
            "the display 'w-9' opens none",
            "unset MUJOCO_GL",
        ),
        (
            {"MUJOCO_GL": "glfw"},
            "'glfw', which draws in a window",
            "unset MUJOCO_GL (egl works here)",
        ),
        (
            {"MUJOCO_GL": "glx"},
            "'glx', which draws in a window",
            "unset MUJOCO_GL (egl works here)",
        ),
        (
            {"MUJOCO_GL": "disabled"},
            "'disabled', which turns images off",
            "unset MUJOCO_GL (egl works here)",
        ),
        ({"MUJOCO_GL": "0"}, "'0', which turns images off", "unset MUJOCO_GL (egl works here)"),
        (
            {"MUJOCO_GL": "nonsense"},
            "'nonsense'; choices: egl, osmesa",
            "unset MUJOCO_GL (egl works here)",
        ),
        (
            {"MUJOCO_GL": "osmesa"},
            "'osmesa', which does not load",
            "unset MUJOCO_GL (egl works here)",
        ),
        (
            {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "glx"},
            "PYOPENGL_PLATFORM is 'glx'",
            "unset PYOPENGL_PLATFORM",
        ),
        (
            {"PYOPENGL_PLATFORM": "glx"},
            "PYOPENGL_PLATFORM is 'glx'",
            "unset PYOPENGL_PLATFORM (egl works here)",
        ),
        (
            {"MUJOCO_EGL_DEVICE_ID": "7"},
            "MUJOCO_EGL_DEVICE_ID is '7'",
            "unset MUJOCO_EGL_DEVICE_ID",
        ),
        (
            {"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "x"},
            "DEVICE_ID is 'x'",
            "unset MUJOCO_EGL_DEVICE_ID",
        ),
    ],
)
def test_wrong_values_are_named(chosen, variables: dict[str, str], problem: str, mend: str) -> None:
    with pytest.raises(NoRendererError) as caught:
        chosen(variables)
    assert problem in caught.value.problem and mend in caught.value.mend


@pytest.mark.parametrize("variables", [{}, {"MUJOCO_GL": "glfw"}])
def test_missing_libraries_name_their_packages(chosen, variables: dict[str, str]) -> None:
    with pytest.raises(
        NoRendererError, match=r"sudo apt-get update && sudo apt-get install -y libegl1"
    ):
        chosen(variables, loads=())


def test_ends_of_processes_in_words() -> None:
    assert ending(3) == "exit code 3"
    assert ending(-9) == "signal SIGKILL, which is what the system sends when memory runs out"
    assert ending(-11) == "signal SIGSEGV" and ending(-60) == "signal 60"


def test_processes_are_known_by_their_start() -> None:
    assert alive(os.getpid()) and started(os.getpid()) == started(os.getpid()) != ""
    assert not alive(2**22 + 1) and started(2**22 + 1) == ""
