"""Attention along an episode: kept whole, drawn in its place, and measured as its words say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories import make_agent, make_observations

from manyparts.core.errors import UserError
from manyparts.evaluation.attention import Attention, movement, overlay, spread


def one_hot(*places: tuple[int, int]) -> np.ndarray:
    """(n, 1, 4, 4): all weight at one place in each of n frames."""
    weights = np.zeros((len(places), 1, 4, 4))
    for index, place in enumerate(places):
        weights[index, 0, *place] = 1
    return weights


def test_spread_and_movement_are_what_their_words_say() -> None:
    even = np.full((3, 1, 4, 4), 1 / 16)
    np.testing.assert_allclose(spread(even), 1)
    np.testing.assert_allclose(spread(one_hot((0, 0), (3, 2))), 1 / 16)
    assert movement(even) == 0
    assert movement(one_hot((0, 0), (0, 0), (1, 1))) == pytest.approx(0.5)
    assert movement(one_hot((0, 0), (0, 1), (0, 0))) == pytest.approx(1)
    assert movement(one_hot((2, 2))).tolist() == [0]


def test_the_colour_lies_where_the_weight_is() -> None:
    frame = np.full((32, 64, 3), 128, np.uint8)
    drawn = overlay(frame, one_hot((3, 0))[0, 0], size=32)
    assert drawn.shape == (16, 32, 3) and drawn.dtype == np.uint8
    colour = drawn[..., 0].astype(int) - drawn[..., 2]
    assert np.unravel_index(colour.argmax(), colour.shape) >= (13, 0)
    assert colour[12:, :8].min() > 10 and colour[:8].max() == colour[:, 16:].max() == 0
    even = overlay(frame, np.full((4, 4), 0.1), size=32)
    assert (even == even[0, 0]).all() and even[0, 0, 0] > even[0, 0, 2] + 100


def test_what_was_seen_is_kept_whole(tmp_path: Path) -> None:
    agent = make_agent()
    seen = [(2 * index, observation) for index, observation in enumerate(make_observations(11))]
    found = Attention.of(agent, seen)
    assert found.steps.tolist() == [0, 4, 8, 12, 16, 20]
    np.testing.assert_array_equal(found.frames["front"][1], seen[2][1]["images"]["front"])
    np.testing.assert_array_equal(found.maps["front"], agent.attention(found.frames)["front"])
    found.save(tmp_path / "new" / "episode.npz")
    again = Attention.load(tmp_path / "new" / "episode.npz")
    for ours, theirs in ((found.frames, again.frames), (found.maps, again.maps)):
        assert ours.keys() == theirs.keys()
        np.testing.assert_array_equal(ours["front"], theirs["front"])
    assert again.steps.tolist() == found.steps.tolist()


def test_an_episode_of_few_observations_shows_each_once() -> None:
    seen = [(4 * index, observation) for index, observation in enumerate(make_observations(2))]
    assert Attention.of(make_agent(), seen).steps.tolist() == [0, 4]


@pytest.mark.parametrize("content", [b"", b"PK torn", None])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "failure-3.npz"
    if content is None:
        np.savez(path.open("wb"), other=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*failure-3\.npz"):
        Attention.load(path)
