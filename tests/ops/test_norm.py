"""Batch normalisation: what it does to a batch, running statistics, agreement with PyTorch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiso.autograd import Tensor, grad, gradcheck
from kiso.errors import ShapeError
from kiso.ops.norm import BatchNorm, batch_norm


def inputs(shape, seed, dtype="float64"):
    """x with another mean and spread in every channel, gamma, beta, running mean and variance."""
    rng = np.random.default_rng(seed)
    column = (shape[1], *(1,) * (len(shape) - 2))
    spread, centre = rng.uniform(0.5, 4, column), rng.normal(size=column) * 5
    x = rng.normal(size=shape) * spread + centre
    rest = (rng.normal(size=shape[1]) for _ in range(3))
    return [a.astype(dtype) for a in (x, *rest, rng.uniform(0.5, 2, shape[1]))]


shapes = st.sampled_from([(8, 3), (2, 1), (4, 2, 5), (2, 3, 4, 5), (1, 2, 3, 3), (2, 2, 2, 3, 2)])


@given(shapes, st.integers(0, 99))
def test_output_has_mean_beta_and_standard_deviation_gamma(shape, seed):
    x, gamma, beta, *running = inputs(shape, seed)
    y, _, _ = batch_norm(x, gamma, beta, *running, training=True, eps=0.0)
    axes = (0, *range(2, len(shape)))
    np.testing.assert_allclose(y.mean(axes), beta, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(y.std(axes), np.abs(gamma), rtol=1e-9, atol=1e-9)


@given(shapes, st.integers(0, 99))
def test_scale_and_offset_of_the_input_do_not_matter(shape, seed):
    x, gamma, beta, *running = inputs(shape, seed)
    a, _, _ = batch_norm(x, gamma, beta, *running, training=True, eps=0.0)
    b, _, _ = batch_norm(3 * x - 7, gamma, beta, *running, training=True, eps=0.0)
    np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7)


def test_inference_treats_every_sample_alone_and_returns_the_statistics():
    x, gamma, beta, mean, var = inputs((4, 3, 2, 2), 0)
    y, new_mean, new_var = batch_norm(x, gamma, beta, mean, var, training=False)
    assert new_mean is mean and new_var is var
    for n in range(4):
        alone, _, _ = batch_norm(x[n:n + 1], gamma, beta, mean, var, training=False)
        np.testing.assert_array_equal(alone[0], y[n])


def test_statistics_are_returned_without_history_and_inputs_stay():
    arrays = inputs((4, 3, 2, 2), 0)
    before = [a.copy() for a in arrays]
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y, mean, var = batch_norm(*tensors, training=True)
    assert y.requires_grad
    for statistic in (mean, var):
        assert not statistic.requires_grad and statistic.node is None
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("used", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("shape", [(4, 2), (2, 3, 4)])
def test_gradients_through_each_output(used, shape):
    x, gamma, beta, *_ = inputs(shape, 0)
    op = BatchNorm(eps=1e-3)
    gradcheck(lambda *xs: [op(*xs)[i] for i in used], x, gamma, beta)
    tensors = [Tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    total = sum(op(*tensors)[i].sum() for i in used)
    for g, t in zip(grad(total, tensors), tensors, strict=True):
        assert g.shape == t.shape


def test_float32_stays_float32():
    arrays = inputs((4, 3, 2, 2), 0, "float32")
    for training in (True, False):
        tensors = [Tensor(a, requires_grad=True) for a in arrays]
        outputs = batch_norm(*tensors, training=training)
        assert [v.dtype for v in outputs] == [np.float32] * 3
        gs = grad(outputs[0].sum(), tensors[:3])
        assert [g.dtype for g in gs] == [np.float32] * 3


def test_large_offsets_cost_no_accuracy():
    """Centring comes before squaring: mean 1000, deviation 0.1 in float32."""
    x = (np.random.default_rng(0).normal(size=(512, 1)) * 0.1 + 1000).astype("float32")
    _, _, var = BatchNorm(eps=1e-5)(x, np.ones(1, "float32"), np.zeros(1, "float32"))
    np.testing.assert_allclose(var, x.astype("float64").var(), rtol=1e-3)


def test_errors_say_what_does_not_fit():
    x, three, four = np.ones((1, 3)), np.ones(3), np.ones(4)
    with pytest.raises(ShapeError, match="1 element for each channel, but a variance needs 2"):
        batch_norm(x, three, three, three, three, training=True)
    for training in (True, False):
        with pytest.raises(ShapeError, match=r"must be \(3,\), one number for each channel"):
            batch_norm(np.ones((2, 3)), three, three, three, four, training=training)
    with pytest.raises(ShapeError, match=r"x \(3,\) must be \(N, C, \*S\)"):
        batch_norm(three, three, three, three, three, training=True)


@given(shapes, st.integers(0, 99), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.booleans())
def test_values_gradients_and_running_statistics_agree_with_pytorch(shape, seed, momentum,
                                                                    training):
    torch = pytest.importorskip("torch")
    arrays = inputs(shape, seed)
    ours = [Tensor(a, requires_grad=True) for a in arrays[:3]]
    mean, var = arrays[3:]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays[:3]]
    t_mean, t_var = torch.tensor(mean), torch.tensor(var)
    for _ in range(3):  # running statistics over some steps
        y, mean, var = batch_norm(*ours, mean, var, training=training, momentum=momentum)
        expected = torch.nn.functional.batch_norm(
            theirs[0], t_mean, t_var, theirs[1], theirs[2], training, momentum)
    for a, b in ((y.data, expected.detach()), (mean, t_mean), (var, t_var)):
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-9, atol=1e-9)
    gs = grad((y * y * y).sum(), ours)
    for g, e in zip(gs, torch.autograd.grad((expected**3).sum(), theirs), strict=True):
        np.testing.assert_allclose(g.data, e, rtol=1e-7, atol=1e-7)
