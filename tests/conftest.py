"""What every test shares: shapes checked at run time, and a cache folder that is not the user's,
and no deadlines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # sums to the bit need as many threads here as in the tests' children

# The hook wraps modules as they are imported, so it must stand before the first import of
# manyparts.
from jaxtyping import install_import_hook

# Of the packages that pass tensors around. Elsewhere there are no shapes to check, and checking
# types alone would double the time of those tests.
CHECKED = ("nn", "models", "objectives", "planners", "agents", "embodiment", "training")
CHECKED += ("data.sampling", "evaluation.prediction")
install_import_hook([f"manyparts.{name}" for name in CHECKED], "typechecking.check")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("manyparts", deadline=None)  # tests hold no timing
settings.load_profile("manyparts")


# Files that take longest come first: a worker that begins one of them last works on alone.
LONG = (
    "training/online/test_debug_preset.py",
    "sharing/test_push.py",
    "cli/test_refusals.py",
    "envs/test_environments.py",
    "data/formats/test_fuzz.py",
    "rollout/test_collect.py",
    "training/online/test_train_online.py",
    "studies/engine/test_runner.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONG))  # keeps all other order


@pytest.fixture(scope="session", autouse=True)
def manyparts_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MANYPARTS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += [
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A real Chromium, in which pages are looked at."""
    executable = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if executable is None:
        pytest.skip("no Chromium: sudo apt-get install -y chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield opened
        opened.close()
