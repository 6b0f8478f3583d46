"""What every test shares: shapes checked at run time, and a cache folder that is not the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator

# The hook wraps modules as they are imported, so it must stand before the first import of understudy.
from jaxtyping import install_import_hook

install_import_hook("understudy", "typechecking.check")

import pytest  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def understudy_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
        yield
