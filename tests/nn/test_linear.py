"""The linear layer equals PyTorch's, also where its gradient takes another way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyparts.nn import linear as module
from manyparts.nn.linear import Linear, linear


def outputs_and_gradients(layer: nn.Linear, precision: torch.dtype) -> list[Tensor]:
    x = torch.randn(
        3, 5, layer.in_features, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        y = layer(x)
    y.float().square().sum().backward()
    return [y, *(tensor.grad for tensor in (x, *layer.parameters()) if tensor.grad is not None)]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(8, 32), (32, 8)])
def test_outputs_and_gradients_equal_pytorch(sizes, bias, precision):
    layer, reference = Linear(*sizes, bias=bias), nn.Linear(*sizes, bias=bias)
    reference.load_state_dict(layer.state_dict())
    results, expected = (
        outputs_and_gradients(layer, precision),
        outputs_and_gradients(reference, precision),
    )
    assert len(results) == 3 + bias
    for one, other in zip(results, expected, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1e-2 if precision == torch.bfloat16 else 0, atol=0
        )


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let oneDNN compute all products, as it does large ones on some processors."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("PyTorch has no oneDNN here")
    monkeypatch.setattr(module, "prefers_onednn", lambda: True)
    monkeypatch.setattr(module, "_LARGE", 0)


def calls(function: Callable[[], object]) -> int:
    """How many products oneDNN computes in a call."""
    with torch.profiler.profile() as profile:
        function()
    return sum(event.name == "mkldnn::_linear_pointwise" for event in profile.events() or ())


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(8, 32), (32, 8), (7, 1)])
def test_onednn_equals_pytorch(sizes: tuple[int, int], bias: bool) -> None:
    layer, reference = Linear(*sizes, bias=bias), nn.Linear(*sizes, bias=bias)
    reference.load_state_dict(layer.state_dict())
    found = outputs_and_gradients(layer, torch.float32)
    expected = outputs_and_gradients(reference, torch.float32)
    assert len(found) == 3 + bias
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert calls(lambda: outputs_and_gradients(layer, torch.float32)) == 3
    x = torch.randn(4, sizes[0])
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), reference(x))


@pytest.mark.usefixtures("onednn")
def test_onednn_reads_parts_of_matrices() -> None:
    """Weights of one part of the inputs, and inputs that lie elsewhere in memory."""
    weight = torch.randn(6, 10).requires_grad_()
    x = torch.randn(4, 5, 3).transpose(1, 2).requires_grad_()
    part = weight[:, 2:7]
    for each in (x, x[0, 0], x[:, :1].expand(4, 3, 5)):
        torch.testing.assert_close(linear(each, part, None), F.linear(each, part))
    found = torch.autograd.grad(linear(x, part, None).square().sum(), (x, weight))
    expected = torch.autograd.grad(F.linear(x, part).square().sum(), (x, weight))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.usefixtures("onednn")
def test_outputs_and_inputs_may_be_changed_in_place() -> None:
    layer, x = Linear(8, 8), torch.randn(2, 3, 8).requires_grad_()
    y = layer(x).relu_()
    y.sum().backward()
    held = Linear(8, 8).requires_grad_(False)
    z = torch.randn(2, 8).requires_grad_() * 1
    out = held(z)
    z.mul_(2)
    out.sum().backward()


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("bias", [torch.randn(16)[::2], torch.randn(1).expand(8), torch.randn(1)])
def test_any_bias_is_added(bias: torch.Tensor) -> None:
    x, weight = torch.randn(4, 8), torch.randn(8, 8)
    torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias))


@pytest.mark.usefixtures("onednn")
def test_held_weights_cost_no_gradient() -> None:
    layer = Linear(8, 8).requires_grad_(False)
    x = torch.randn(4, 8).requires_grad_()
    assert calls(lambda: layer(x).sum().backward()) == 2


@pytest.mark.usefixtures("onednn")
def test_other_precisions_and_exports_stay_pytorchs() -> None:
    layer, x = Linear(8, 8), torch.randn(4, 8)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert calls(lambda: layer(x)) == 0
    assert calls(lambda: layer.double()(x.double())) == 0
    program = torch.export.export(layer.float(), (x,))
    assert "linear_pointwise" not in str(program.graph)
    traced = torch.jit.trace(layer, x, check_trace=False)
    assert "linear_pointwise" not in str(traced.graph)


@pytest.mark.usefixtures("onednn")
def test_gradients_of_gradients_are_refused() -> None:
    layer, x = Linear(8, 8), torch.randn(4, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
