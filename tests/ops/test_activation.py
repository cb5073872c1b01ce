"""Activation functions: known points, symmetries, far ends, both float types, PyTorch."""

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kiso import ops
from kiso.autograd import Tensor, grad, gradcheck

ALL = {
    "step": ops.step, "sigmoid": ops.sigmoid, "tanh": ops.tanh, "relu": ops.relu,
    "leaky_relu": ops.leaky_relu, "elu": ops.elu, "gelu": ops.gelu,
    "gelu tanh": lambda x: ops.gelu(x, approximate=True), "silu": ops.silu,
    "softplus": ops.softplus, "relu6": ops.relu6, "hardtanh": ops.hardtanh,
    "hardsigmoid": ops.hardsigmoid, "hardswish": ops.hardswish, "identity": ops.identity,
    "erf": ops.erf,
}
KINKS = [0.0, 1.0, -1.0, 3.0, -3.0, 6.0]
FUNCTION = pytest.mark.parametrize("name", ALL)
floats = st.floats(-50, 50, allow_subnormal=False)
inputs = arrays(np.float64, array_shapes(min_dims=0, max_dims=3, max_side=4), elements=floats)


def slope(f, x):
    """f' at the elements of x."""
    x = Tensor(np.asarray(x, np.float64), requires_grad=True)
    return grad(f(x).sum(), [x])[0].data


@FUNCTION
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_shape_and_type_are_kept(name, dtype, shape):
    x = np.linspace(-4, 4, int(np.prod(shape)), dtype=dtype).reshape(shape)
    x = Tensor(x, requires_grad=True)
    y = ALL[name](x)
    assert (y.shape, y.dtype) == (shape, np.dtype(dtype))
    (g,) = grad(y.sum(), [x])
    assert (g.shape, g.dtype) == (shape, np.dtype(dtype))


@FUNCTION
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_ends_without_warning(name, dtype):
    x = Tensor(np.array([-1e4, -800, -100, 100, 800, 1e4], dtype), requires_grad=True)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        y = ALL[name](x)
        g = grad(y.sum(), [x])[0].data if y.requires_grad else x.data * 0
    assert np.isfinite(y.data).all()
    assert np.isfinite(g).all()


@FUNCTION
def test_not_a_number_stays_visible(name):
    y = ALL[name](np.array([np.nan, 1.0]))
    assert np.isnan(y[0]) or name == "step"
    assert np.isfinite(y[1])


def test_slope_of_sigmoid_peaks_at_zero():
    x = np.linspace(-8, 8, 1601)
    s = slope(ops.sigmoid, x)
    assert s.max() == 0.25
    assert x[s.argmax()] == 0
    assert ops.sigmoid(np.zeros(1)) == 0.5


def test_known_points():
    def at(f, x):
        return float(f(np.array(float(x))))

    assert at(ops.step, 0) == 0
    assert at(ops.step, 1e-9) == 1
    assert at(ops.tanh, 0) == 0
    assert at(ops.relu, -3) == 0
    assert at(ops.leaky_relu, -3) == pytest.approx(-0.03)
    assert at(ops.elu, -1) == pytest.approx(np.exp(-1) - 1)
    assert at(ops.softplus, 0) == pytest.approx(np.log(2))
    assert at(ops.relu6, 7) == 6
    assert at(ops.hardsigmoid, 0) == 0.5
    assert at(ops.hardswish, 3) == 3
    assert at(lambda x: ops.hardtanh(x, -2, 0.5), 2) == 0.5


@given(inputs)
def test_symmetries(x):
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(ops.sigmoid(-x), 1 - ops.sigmoid(x), **close)
    np.testing.assert_allclose(ops.softplus(x) - ops.softplus(-x), x, **close)
    np.testing.assert_allclose(ops.tanh(x), 2 * ops.sigmoid(2 * x) - 1, **close)
    np.testing.assert_allclose(ops.silu(x) - ops.silu(-x), x, **close)
    np.testing.assert_allclose(ops.gelu(x) - ops.gelu(-x), x, **close)
    np.testing.assert_array_equal(ops.erf(-x), -ops.erf(x))
    np.testing.assert_array_equal(ops.relu(x) - ops.relu(-x), x)


@given(inputs)
def test_tanh_form_of_gelu_is_near(x):
    np.testing.assert_allclose(ops.gelu(x, approximate=True), ops.gelu(x), atol=5e-4, rtol=0)


def test_erf_to_the_last_places():
    x = np.concatenate([np.linspace(-7, 7, 200001), [0.46875, 4.0, np.nextafter(4, 5), 30, 1e300]])
    np.testing.assert_allclose(ops.erf(x), scipy.special.erf(x), rtol=1e-15, atol=0)
    np.testing.assert_array_equal(ops.erf(np.array([np.inf, -np.inf])), [1, -1])
    np.testing.assert_allclose(ops.erf(x.clip(-30, 30).astype("f")),
                               scipy.special.erf(x), rtol=5e-7, atol=0)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "elu", "gelu", "gelu tanh", "silu", "softplus",
                                  "hardswish", "erf"])
def test_second_derivative(name):
    f = ALL[name]

    def first(x):
        x = x if x.requires_grad else Tensor(x.data, requires_grad=True)
        return grad(f(x).sum(), [x], create_graph=True)[0]

    gradcheck(first, np.linspace(-4.03, 4.1, 24), tolerance=1e-7)


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("step", "identity")])
def test_pytorch(name):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    theirs = {"gelu tanh": lambda x: F.gelu(x, approximate="tanh"), "erf": torch.erf,
              "sigmoid": torch.sigmoid, "tanh": torch.tanh}.get(name) or getattr(F, name)
    x = np.concatenate([np.linspace(-10, 10, 77), KINKS])
    t = torch.tensor(x, requires_grad=True)
    y = theirs(t)
    np.testing.assert_allclose(ALL[name](x), y.detach().numpy(), rtol=1e-8, atol=1e-12)
    y.sum().backward()
    # PyTorch keeps the 1/6 of the hard sigmoid in float32.
    np.testing.assert_allclose(slope(ALL[name], x), t.grad.numpy(), rtol=1e-7, atol=1e-9)
