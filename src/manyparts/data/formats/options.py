"""What a user says about a dataset that its files do not: options behind its location."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from manyparts.core.errors import UserError

JpegColours = Literal["bgr", "rgb"]
_OPTION = re.compile(r"(?P<location>.+)@jpeg=(?P<colours>[^/@]*)")


@dataclass(frozen=True)
class ReadOptions:
    """Options of readers; None: what the format's reader takes without it."""

    jpeg: JpegColours | None = None
    """The order of the colours that a decoder of JPEG gives. bgr: the encoder was given red, green,
    blue where it wanted blue, green, red, so that red and blue are exchanged."""

    def __str__(self) -> str:
        """The options as they stand behind a location; "" for none."""
        return "" if self.jpeg is None else f"@jpeg={self.jpeg}"


def split_options(location: str) -> tuple[str, ReadOptions]:
    """Split a location such as "data/aloha@jpeg=rgb" into the location itself and options.

    Raises:
        UserError: for a value that an option does not have.
    """
    match = _OPTION.fullmatch(location)
    if match is None:
        return location, ReadOptions()
    for colours in get_args(JpegColours):
        if match["colours"] == colours:
            return match["location"], ReadOptions(colours)
    raise UserError(
        f"{location}: jpeg is {match['colours']!r}; choices: {', '.join(get_args(JpegColours))}"
    )
