"""Attention along an episode: saved, drawn where it is, and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories import make_agent, make_observations

from manyparts.core.errors import UserError
from manyparts.evaluation.attention import Attention, movement, overlay, spread


def one_hot(*cells: tuple[int, int]) -> np.ndarray:
    """(n, 1, 4, 4): all weight at one cell in each of n frames."""
    weights = np.zeros((len(cells), 1, 4, 4))
    for index, cell in enumerate(cells):
        weights[index, 0, *cell] = 1
    return weights


def test_spread_and_movement_of_weights() -> None:
    even = np.full((3, 1, 4, 4), 1 / 16)
    np.testing.assert_allclose(spread(even), 1)
    np.testing.assert_allclose(spread(one_hot((0, 0), (3, 2))), 1 / 16)
    assert movement(even) == 0
    assert movement(one_hot((0, 0), (0, 0), (1, 1))) == pytest.approx(0.5)
    assert movement(one_hot((0, 0), (0, 1), (0, 0))) == pytest.approx(1)
    assert movement(one_hot((2, 2))).tolist() == [0]


def test_colour_is_where_weight_is() -> None:
    frame = np.full((32, 64, 3), 128, np.uint8)
    drawn = overlay(frame, one_hot((3, 0))[0, 0], size=32)
    assert drawn.shape == (16, 32, 3) and drawn.dtype == np.uint8
    colour = drawn[..., 0].astype(int) - drawn[..., 2]
    row, _ = np.unravel_index(colour.argmax(), colour.shape)
    assert row >= 13
    assert colour[12:, :8].min() > 10 and colour[:8].max() == colour[:, 16:].max() == 0
    even = overlay(frame, np.full((4, 4), 0.1), size=32)
    assert (even == even[0, 0]).all() and even[0, 0, 0] > even[0, 0, 2] + 100


def test_attention_is_saved_and_loaded(tmp_path: Path) -> None:
    agent = make_agent()
    seen = [(2 * index, observation) for index, observation in enumerate(make_observations(11))]
    recorded = Attention.of(agent, seen)
    assert recorded.steps.tolist() == [0, 4, 8, 12, 16, 20]
    np.testing.assert_array_equal(recorded.frames["front"][1], seen[2][1]["images"]["front"])
    np.testing.assert_array_equal(recorded.maps["front"], agent.attention(recorded.frames)["front"])
    recorded.save(tmp_path / "new" / "episode.npz")
    again = Attention.load(tmp_path / "new" / "episode.npz")
    for saved, loaded in ((recorded.frames, again.frames), (recorded.maps, again.maps)):
        assert saved.keys() == loaded.keys()
        np.testing.assert_array_equal(saved["front"], loaded["front"])
    assert again.steps.tolist() == recorded.steps.tolist()


def test_few_observations_are_shown_once() -> None:
    seen = [(4 * index, observation) for index, observation in enumerate(make_observations(2))]
    assert Attention.of(make_agent(), seen).steps.tolist() == [0, 4]


@pytest.mark.parametrize("content", [b"", b"PK torn", None])
def test_unreadable_attention_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "failure-3.npz"
    if content is None:
        np.savez(path.open("wb"), other=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*failure-3\.npz"):
        Attention.load(path)
