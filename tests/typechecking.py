"""The type checker of the import hook: an int passes for a float, as static checkers have it."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
