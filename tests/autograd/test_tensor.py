"""Tensor: operators, the backward pass, gradients of gradients, messages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kiso import ops
from kiso.autograd import Tensor, grad, gradcheck, no_grad, numeric_gradient, value_and_grad
from kiso.errors import DTypeError, GradientError, ShapeError

NUMBERS = st.floats(-3, 3, allow_nan=False, width=32)


def leaf(x):
    return Tensor(np.asarray(x, np.float64), requires_grad=True)


def test_chain_rule_of_the_curriculum():
    x, y = leaf(3.0), leaf(-1.0)
    t = x + y
    z = t**2
    z.backward()
    assert x.grad.item() == y.grad.item() == 2 * (3 - 1)


def test_add_passes_on_and_multiply_swaps():
    a, b = leaf(2.0), leaf(5.0)
    (a + b).backward()
    assert (a.grad.item(), b.grad.item()) == (1, 1)
    a.grad = b.grad = None
    (a * b).backward()
    assert (a.grad.item(), b.grad.item()) == (5, 2)


def test_shopping_example():
    """Two apples at 100 and three oranges at 150 with 10 % tax: 715."""
    apple, apples, orange, oranges, tax = map(leaf, (100.0, 2.0, 150.0, 3.0, 1.1))
    price = (apple * apples + orange * oranges) * tax
    price.backward()
    assert price.item() == pytest.approx(715)
    found = [t.grad.item() for t in (apple, apples, orange, oranges, tax)]
    assert found == pytest.approx([2.2, 110, 3.3, 165, 650])


def test_gradients_of_several_uses_add_up_and_accumulate():
    x = leaf([1.0, 2.0])
    (x * x + x).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [3, 5])
    (x * 10).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [13, 15])


def test_a_deep_chain_needs_no_recursion():
    x = leaf(1.0)
    y = x
    for _ in range(5000):
        y = y + 0.001
    y.backward()
    assert x.grad.item() == 1


def test_third_derivative():
    x = leaf(0.7)
    y = ops.sin(x)
    for expected in (np.cos(0.7), -np.sin(0.7), -np.cos(0.7)):
        (y,) = grad(y, [x], create_graph=True)
        assert y.item() == pytest.approx(expected, abs=1e-12)


def test_backward_with_create_graph_keeps_history():
    x = leaf(2.0)
    (x**3).backward(create_graph=True)
    (second,) = grad(x.grad, [x])
    assert second.item() == pytest.approx(12)


def test_no_grad_records_nothing():
    x = leaf([1.0])
    with no_grad():
        y = x * 2
    assert not y.requires_grad and y.node is None
    assert (x * 2).requires_grad


def test_grad_of_what_y_does_not_depend_on_is_zero():
    x, other = leaf([1.0, 2.0]), leaf([[3.0]])
    gx, go = grad(x.sum(), [x, other])
    assert gx.shape == (2,) and go.shape == (1, 1) and go.item() == 0


def test_types():
    assert Tensor([1.0]).dtype == np.float32
    assert Tensor(np.ones(2)).dtype == np.float64
    assert Tensor([1, 2]).dtype == np.int64
    assert (Tensor([1.0]) * 2.5).dtype == np.float32
    assert (2 ** Tensor([1.0, 3.0])).dtype == np.float32
    assert (np.ones(1, np.float32) - Tensor([1.0])).dtype == np.float32
    assert isinstance(np.ones(1, np.float32) * Tensor([1.0]), Tensor)
    with pytest.raises(DTypeError, match="floating-point"):
        Tensor([1, 2], requires_grad=True)


def test_backward_errors_say_what_to_do():
    with pytest.raises(GradientError, match="requires_grad"):
        Tensor([1.0]).backward()
    with pytest.raises(GradientError, match=r"shape is \(2,\)"):
        leaf([1.0, 2.0]).backward()
    with pytest.raises(ShapeError, match="must be equal"):
        leaf([1.0, 2.0]).backward(np.ones(3))
    with pytest.raises(ShapeError, match="item"):
        leaf([1.0, 2.0]).item()


def test_shape_mismatch_names_both_shapes():
    with pytest.raises(ShapeError, match=r"\(2, 3\) @ \(4, 5\)"):
        Tensor(np.ones((2, 3))) @ Tensor(np.ones((4, 5)))
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(4,\)"):
        Tensor(np.ones((2, 3))) + np.ones(4)


def test_repr():
    x = Tensor([1.0, 2.5], requires_grad=True)
    assert repr(x) == "Tensor([1. , 2.5], float32, requires_grad=True)"
    assert "from=Mul" in repr(x * 2)
    assert "shape=(100, 100)" in repr(Tensor(np.zeros((100, 100))))


SMALL = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=4), elements=NUMBERS)


@given(SMALL, st.data())
def test_indexing_equals_numpy_with_gradient(x, data):
    index = data.draw(hnp.basic_indices(x.shape, allow_newaxis=True))
    y = leaf(x)[index]
    np.testing.assert_array_equal(y.data, x[index])
    if y.size:
        t = leaf(x)
        t[index].sum().backward()
        expected = np.zeros_like(x)
        np.add.at(expected, index, 1)
        np.testing.assert_array_equal(t.grad.data, expected)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), st.integers(0, 9))
def test_broadcast_arithmetic_gradients(shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.uniform(0.5, 2, s) for s in shapes.input_shapes)
    for f in (lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b,
              lambda a, b: a**b, ops.maximum, ops.minimum):
        gradcheck(f, a, b)


def test_gradcheck_finds_a_wrong_rule():
    class Wrong(ops.Op):
        def shape(self, x):
            return x

        def forward(self, x):
            return x * x

        def backward(self, gy, y, x):
            return gy * x  # the factor 2 is missing

    with pytest.raises(GradientError, match="backward gives"):
        gradcheck(Wrong(), np.array([0.3, 1.5]))


def test_gradcheck_finds_a_wrong_shape():
    class Squeezed(ops.Op):
        def shape(self, x):
            return x

        def forward(self, x):
            return x + 0

        def backward(self, gy, y, x):
            return gy[:1]

    with pytest.raises(GradientError, match=r"shape \(1,\)"):
        gradcheck(Squeezed(), np.array([0.3, 1.5]))


def test_numeric_gradient_of_a_quadratic():
    x = np.array([[1.0, -2.0]])
    np.testing.assert_allclose(numeric_gradient(lambda: float((x**2).sum()), x), 2 * x, rtol=1e-9)


def test_value_and_grad_is_plain_in_and_out():
    params = {"w": np.array([2.0, 3.0])}
    value, grads, other = value_and_grad(lambda p: ((p["w"] ** 2).sum(), "seen"), params)
    assert value == 13 and other == "seen" and isinstance(grads["w"], np.ndarray)
    np.testing.assert_array_equal(grads["w"], [4, 6])


def test_a_layer_of_ones_own_gets_gradients():
    class Cube(ops.Op):
        def shape(self, x):
            return x

        def forward(self, x):
            return x * x * x

        def backward(self, gy, y, x):
            return gy * 3 * x * x

    gradcheck(Cube(), np.array([0.5, -1.5]))
    assert "Cube" not in ops.REGISTRY


def test_a_tensor_is_unpacked_and_formatted_like_an_array():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    a, b = x
    (a * b).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [[3, 4], [1, 2]])
    assert f"{x.sum():.2f}" == "10.00" and int(x.sum()) == 10 and f"{x}" == repr(x)
    with pytest.raises(TypeError, match="without axes"):
        list(x.sum())


@pytest.mark.parametrize("number", [np.sqrt(2), np.mean([1.0, 2.0]), np.float64(0.5)])
def test_a_number_of_numpy_does_not_make_a_net_float64(number):
    x = Tensor([1.0, 2.0])
    for y in (x * number, number * x, x / number, ops.leaky_relu(x, number),
              ops.where(x > 1, x, number), ops.clip(x, -number, number), x**number):
        assert y.dtype == np.float32
    assert (Tensor(np.ones(2)) * number).dtype == np.float64
    assert (x * np.ones(2)).dtype == np.float64  # arrays keep their type
    assert ops.sqrt(number) == np.sqrt(number)


def test_a_power_of_zero_has_no_gradient_even_at_zero():
    x = leaf([0.0, 2.0])
    np.testing.assert_array_equal((x**0).data, [1, 1])
    np.testing.assert_array_equal(grad((x**0).sum() + x.sum(), [x])[0].data, [1, 1])


def test_a_variance_of_too_few_numbers_is_refused():
    with pytest.raises(ShapeError, match=r"n - correction = 1 - 1 = 0.*at least 2"):
        ops.var(np.ones((1, 3)), 0, correction=1)


def test_an_array_on_the_left_of_an_operator():
    x, a = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    for y, expected in ((a + x, [4, 6]), (a - x, [2, 2]), (a * x, [3, 8]), (a / x, [3, 2]),
                        (a ** x, [3, 16]), (a @ x, 11), (np.float64(2) * x, [2, 4]),
                        (a < x, [False, False]), (a >= x, [True, True]), (a == x, [False, False])):
        assert isinstance(y, Tensor)
        np.testing.assert_allclose(y.data, expected)
    np.testing.assert_array_equal(grad((a * x).sum(), [x])[0].data, a)
    total = a
    total += x  # a new value: the array itself stays
    assert isinstance(total, Tensor) and a.tolist() == [3, 4]


@pytest.mark.parametrize("function", [np.exp, np.tanh, lambda x: np.maximum(x, 0),
                                      lambda x: np.add(x, np.ones(2)), np.add.reduce,
                                      lambda x: np.add(np.ones(2), x, out=np.ones(2))])
def test_numpy_functions_say_which_ones_to_use(function):
    with pytest.raises(TypeError, match=r"np\.\w+ works on arrays, not on a Tensor.*kiso\.ops"):
        function(leaf([1.0, 2.0]))
