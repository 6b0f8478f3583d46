"""What every test shares: shapes checked at run time, and a cache folder that is not the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")  # sums to the bit need as many threads here as in the tests' children

# The hook wraps modules as they are imported, so it must stand before the first import of understudy.
from jaxtyping import install_import_hook

install_import_hook("understudy", "typechecking.check")

import pytest  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def understudy_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
