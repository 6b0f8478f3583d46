"""What the shared cache is measured against predicts the same, and computes nothing that nobody
needs."""

from __future__ import annotations

import pytest
import torch

from benchmarks import plan_shared_cache
from benchmarks.plan_shared_cache import (
    HORIZON,
    imagine,
    imagine_plainly,
    make_model,
    random_context,
)


def test_the_baseline_predicts_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan_shared_cache, "CANDIDATES", 3)
    model, asked = make_model("parallel"), []
    context = random_context(model)
    for head in (model.changes.expected, model.reward.expected):
        head.register_forward_hook(
            lambda _, inputs, output: asked.append(output.numel() // output.shape[-1])
        )
    plain = imagine_plainly(model, context)
    assert asked == [3, 3] * HORIZON
    torch.testing.assert_close(plain, imagine(model, context), atol=1e-4, rtol=0)
