"""`manyparts doctor`: what works on this machine, what is missing, and the command that repairs
it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from manyparts.cli.checks import Check
from manyparts.cli.parsing import parse
from manyparts.cli.plugin_checks import check_plugins
from manyparts.cli.suite_checks import SIMULATORS, check_suite
from manyparts.core.errors import UserError
from manyparts.core.extras import PackageError, install_command, load_package
from manyparts.core.host.cores import allowed_cores, cores, cpu_quota
from manyparts.core.host.launchers import UNSET, launched_with_others
from manyparts.core.host.processes import ending
from manyparts.core.host.renderer import APT, NoRendererError
from manyparts.core.printing import say
from manyparts.core.storage.caches import ADVICE, cache_root, can_write
from manyparts.core.storage.links import knows_links
from manyparts.core.storage.locks import knows_locks

if TYPE_CHECKING:
    from manyparts.training.online.estimate import Estimate

_LEARNS_WITH = "dreamer/laptop"
_NO_RENDERER = 3  # exit code of `render_frame` if nothing can draw
_NO_SIMULATOR = 4  # exit code of `measure_simulator` if a simulator is missing


@dataclass(frozen=True)
class Options:
    """Check python, torch, the device, the renderer, simulators, encoders and plug-ins, and print
    the command that repairs what is missing. Then measure for some seconds how fast this machine
    can learn by acting.

    Exit code 0 if the main job can run (Meta-World, both phases, evaluation with videos), else 1.
    With --suite, 0 if all is as declared.
    """

    suite: str | None = None
    """Check instead the tasks of a suite, or one task: do its seeds reproduce, do its spaces hold
    what it shows, does it say when it is solved. gym:[MODULE:]ID checks any Gymnasium
    environment."""

    pace: bool = True
    """Measure how fast this machine simulates, acts and learns."""

    json: bool = False
    """Print the checks as JSON."""


def main(arguments: Sequence[str]) -> int:
    """Run `manyparts doctor`, and return its exit code."""
    options = parse(Options, arguments, command="doctor")
    if options.suite is not None:
        return check_suite(options.suite, as_json=options.json)
    checks = run_checks(pace=options.pace)
    if options.json:
        print(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        _print(checks)
    return 0 if all(check.works for check in checks if check.required) else 1


def run_checks(*, pace: bool) -> list[Check]:
    """Every check, in the order in which a machine is set up. A check that raises has failed.

    Args:
        pace: whether to measure how fast the machine learns by acting, too.
    """
    chosen = {**_CHECKS, **_PACE} if pace else _CHECKS
    return [_guarded(name, check) for name, check in chosen.items()] + check_plugins()


def render_frame() -> None:
    """Render one Meta-World frame the way collection does, and print what rendered it.

    This runs in a process of its own, since a broken driver may end the process.
    """
    from manyparts.envs import registry

    try:
        with contextlib.closing(registry.make("metaworld/reach")) as env:
            frame = next(iter(env.reset(seed=0)[0]["images"].values()))
    except NoRendererError as error:
        print(json.dumps([error.problem, error.mend]))
        sys.exit(_NO_RENDERER)
    if frame.std() < 1:
        sys.exit(f"the frame of shape {frame.shape} is blank")
    height, width, _ = frame.shape
    print(f"{os.environ.get('MUJOCO_GL', 'default')}: a frame of {width}x{height} pixels")


def measure_simulator(task: str) -> None:
    """Print how fast a task is simulated: steps of an episode, steps per second from states and
    with images.

    This runs in a process of its own, as `render_frame` does.

    Args:
        task: "suite/task".
    """
    from manyparts.envs.pace import simulator_pace

    try:
        pace = simulator_pace(task)
    except UserError as error:
        mend = error.mend if isinstance(error, NoRendererError) else ""
        print(json.dumps([str(error), mend]))
        sys.exit(_NO_SIMULATOR)
    print(json.dumps([pace.episode_steps, pace.steps_per_second, pace.images_per_second]))


def _python() -> Check:
    version = f"{platform.python_version()} at {sys.executable}"
    works = sys.version_info >= (3, 11)
    return Check("python", works, version, mend="install Python 3.11 or newer")


def _torch() -> Check:
    import torch

    product = torch.ones(8, 8) @ torch.ones(8, 8)
    detail = f"{torch.__version__}, {torch.get_num_threads()} threads"
    return Check("torch", bool((product == 8).all()), detail)


def _device() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("device", True, f"cuda: {torch.cuda.get_device_name()}", required=False)
    if torch.backends.mps.is_available():
        return Check("device", True, "mps", required=False)
    return Check("device", True, "cpu (no CUDA device; the laptop presets need none)", False)


def _cores() -> Check:
    quota = cpu_quota()
    limit = "" if quota is None else f", a quota of {quota:g}"
    allowed = f"this process may use {allowed_cores()}{limit}"
    return Check("cores", True, f"{cores()} (this machine has {os.cpu_count()}, {allowed})")


def _caches() -> Check:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        root = cache_root()
    if caught:
        return Check("caches", False, str(caught[-1].message), False, ADVICE)
    if not can_write(root):
        return Check("caches", False, f"{root} cannot be written", mend=ADVICE)
    return Check("caches", True, str(root))


def _folder() -> Check:
    here = Path.cwd()
    if not can_write(here):
        return Check(
            "this folder", False, f"{here} cannot be written", mend="work in another folder"
        )
    supported = {"locks": knows_locks(here), "links": knows_links(here)}
    missing = [name for name, works in supported.items() if not works]
    remark = ""
    if missing:
        remark = f" (its file system has no {' and no '.join(missing)}; files replace them)"
    return Check("this folder", True, f"{here} can be written{remark}")


def _processes() -> Check:
    try:
        launched = launched_with_others()
    except UserError as error:
        return Check("processes", False, str(error), mend=UNSET)
    if launched is None:
        return Check("processes", True, "one, as no launcher says otherwise")
    detail = f"{launched.waiting()}, {launched.patience_seconds:.0f} s at most"
    return Check("processes", False, detail, False, UNSET)


def _renderer() -> Check:
    code = "from manyparts.cli.doctor import render_frame; render_frame()"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    lines = result.stdout.strip().splitlines()
    if result.returncode == 0:
        return Check("renderer", True, lines[-1])
    if result.returncode == _NO_RENDERER:
        problem, mend = json.loads(lines[-1])
        return Check("renderer", False, problem, mend=mend)
    reason = (result.stderr.strip().splitlines() or [ending(result.returncode)])[-1]
    install = install_command("metaworld")
    return Check("renderer", False, reason, mend=install if install in reason else APT)


def _simulator(package: str, extra: str, *, required: bool) -> Callable[[], Check]:
    """Checks whether a package is installed, without importing it."""

    def check() -> Check:
        if importlib.util.find_spec(package) is None:
            return Check(package, False, "not installed", required, install_command(extra))
        return Check(package, True, importlib.metadata.version(package), required)

    return check


def _loaded(package: str, extra: str) -> Callable[[], Check]:
    """Checks a package by importing it, since an installed one may be broken."""
    is_installed = _simulator(package, extra, required=False)

    def check() -> Check:
        installed = is_installed()
        if installed.works:
            try:
                load_package(package, "the extra", install_command(extra))
            except PackageError as error:
                return Check(package, False, str(error), False, install_command(extra))
        return installed

    return check


def _encoder() -> Check:
    import av

    codec = av.Codec("libx264", "w")
    return Check("video encoder", True, f"PyAV {av.__version__}, {codec.name}")


def _compiler() -> Check:
    path = shutil.which("g++")
    if path is None:
        mend = "sudo apt-get install -y g++"
        return Check("compiler", False, "no g++: --compile will not work", False, mend)
    return Check("compiler", True, path, False)


def _browser() -> Check:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return Check("browser", True, path, False)
    mend = "sudo apt-get install -y chromium"
    return Check("browser", False, "none: the report's own test is skipped", False, mend)


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    mend = "" if free > 2 else "free some space, or work in another folder"
    detail = f"{free:.1f} GB free in {Path.cwd()} (the quickstart takes about 1 GB)"
    return Check("disk", free > 2, detail, True, mend)


@cache
def _learner() -> Estimate:
    from manyparts.methods import preset
    from manyparts.training.online.estimate import estimate

    return estimate(preset(_LEARNS_WITH))


def _acting() -> Check:
    from manyparts.cli.console import significant

    learner = _learner()
    detail = (
        f"{_LEARNS_WITH} from states, on the CPU: "
        f"{significant(learner.updates_per_second, 3)} updates/s, it acts "
        f"{significant(learner.decisions_per_second, 3)} times/s"
    )
    return Check("learning by acting", True, detail, required=False)


def _acting_in(task: str, extra: str) -> Callable[[], Check]:
    """Measures a task's simulator, and how long a run takes in it."""
    name = f"acting in {task}"

    def check() -> Check:
        from manyparts.cli.console import significant
        from manyparts.training.online.pace import duration

        code = f"from manyparts.cli.doctor import measure_simulator; measure_simulator({task!r})"
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
        )
        if result.returncode == _NO_SIMULATOR:
            detail, mend = json.loads(result.stdout.strip().splitlines()[-1])
            return Check(name, False, detail, False, mend or install_command(extra))
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or [ending(result.returncode)])[-1]
            return Check(name, False, reason, False, install_command(extra))
        episode, steps, images = json.loads(result.stdout.strip().splitlines()[-1])
        learner = _learner()
        online = learner.config.online
        assert online is not None
        drawn = "nothing draws images here"
        if images is not None:
            drawn = f"{significant(images, 3)}/s with images of 64 pixels"
        detail = (
            f"{significant(steps, 3)} steps/s from states, {drawn}; "
            f"{online.environment_steps} steps of {_LEARNS_WITH} take about "
            f"{duration(learner.seconds(steps, episode))}"
        )
        return Check(name, True, detail, required=False)

    return check


_CHECKS: dict[str, Callable[[], Check]] = {
    "python": _python,
    "torch": _torch,
    "device": _device,
    "cores": _cores,
    "metaworld": _simulator("metaworld", "metaworld", required=True),
    "renderer": _renderer,
    "video encoder": _encoder,
    "disk": _disk,
    "this folder": _folder,
    "caches": _caches,
    "processes": _processes,
    **{name: _simulator(name, extra, required=False) for name, extra in SIMULATORS.items()},
    "transformers": _loaded("transformers", "pretrained"),
    "tensorboard": _loaded("tensorboard", "track"),
    "wandb": _loaded("wandb", "wandb"),
    "mlflow": _loaded("mlflow", "mlflow"),
    "compiler": _compiler,
    "browser": _browser,
}
_PACE: dict[str, Callable[[], Check]] = {
    "learning by acting": _acting,
    "acting in pointmass/reach": _acting_in("pointmass/reach", "metaworld"),
    "acting in metaworld/door-open": _acting_in("metaworld/door-open", "metaworld"),
    "acting in dmc/walker-walk": _acting_in("dmc/walker-walk", "dmc"),
}


# What the main job does without.
_OPTIONAL = {"transformers", "tensorboard", "wandb", "mlflow", "compiler", "browser"}
_OPTIONAL |= {*SIMULATORS, *_PACE}


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    required = name not in _OPTIONAL
    try:
        return check()
    except subprocess.TimeoutExpired as error:
        return Check(name, False, f"it took more than {error.timeout:.0f} s", required)
    except Exception as error:  # whatever is broken is the result of the check
        detail = f"{type(error).__name__}: {error}"
        return Check(name, False, detail, required, "install the package that it names again")


def _print(checks: Sequence[Check]) -> None:
    from rich.text import Text

    from manyparts.cli.console import print_table

    rows = []
    for check in checks:
        missing = Text("missing", "red") if check.required else Text("optional", "yellow")
        rows.append((Text("ok", "green") if check.works else missing, check.name, check.detail))
    print_table(("", "", ""), rows, names=2)
    broken = [check.name for check in checks if check.required and not check.works]
    if broken:
        say(f"The main job cannot run: {', '.join(broken)}.")
    else:
        say("The main job can run here.")
    for check in checks:
        if not check.works:
            say(f"{check.name}: {check.mend}")
