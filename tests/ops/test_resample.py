"""Resampling: exact where nothing is mixed, SciPy and PyTorch elsewhere, its gradient."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiso import ops
from kiso.autograd import Tensor, grad, gradcheck
from kiso.errors import ShapeError
from tests.ops import ref_resample

sides = st.integers(1, 7)
fills = st.sampled_from([None, 0.0, -1.25])
seeds = st.integers(0, 10**6)


def pictures(seed, *shape, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def matrices(N, A=((1, 0), (0, 1)), t=(0, 0), dtype="float32"):
    return np.repeat(np.column_stack([A, t])[None], N, axis=0).astype(dtype)


@given(seeds, sides, sides, fills)
def test_identity_gives_the_same_bits(seed, H, W, fill):
    x = pictures(seed, 2, 3, H, W)
    y = ops.affine_sample(x, matrices(2), fill=fill)
    assert y.dtype == np.float32
    assert y.tobytes() == x.tobytes()


@given(seeds, sides, sides, st.integers(-8, 8), st.integers(-8, 8), fills)
def test_whole_shifts_move_pixels_unchanged(seed, H, W, di, dj, fill):
    x = pictures(seed, 2, 2, H, W)
    border = ((0, 0), (0, 0), (8, 8), (8, 8))
    wide = np.pad(x, border, "edge") if fill is None else np.pad(x, border, constant_values=fill)
    y = ops.affine_sample(x, matrices(2, t=(di, dj)), fill=fill)
    np.testing.assert_array_equal(y, wide[:, :, 8 + di:8 + di + H, 8 + dj:8 + dj + W])


@given(seeds, sides, sides, fills)
def test_mirror_and_quarter_turn_are_exact(seed, H, W, fill):
    x = pictures(seed, 1, 2, H, W)
    flipped = ops.affine_sample(x, matrices(1, A=((1, 0), (0, -1))), fill=fill)
    np.testing.assert_array_equal(flipped, x[..., ::-1])
    square = pictures(seed, 1, 2, H, H)
    turned = ops.affine_sample(square, matrices(1, A=((0, 1), (-1, 0))), fill=fill)
    np.testing.assert_array_equal(turned, np.rot90(square, 1, axes=(2, 3)))


@given(seeds, sides, sides, fills)
def test_scipy(seed, H, W, fill):
    x = pictures(seed, 2, 2, H, W, dtype="float64")
    theta = pictures(seed + 1, 2, 2, 3, dtype="float64") * [1, 1, 2]
    np.testing.assert_allclose(ops.affine_sample(x, theta, fill=fill),
                               ref_resample.affine(x, theta, fill), atol=1e-12)


@pytest.mark.parametrize("fill", [0.0, None])
def test_pytorch(fill):
    torch = pytest.importorskip("torch")
    H, W = 6, 9
    x, theta = pictures(0, 3, 2, H, W, dtype="float64"), pictures(1, 3, 2, 3, dtype="float64")
    # PyTorch: columns first, and the corner pixels' centres lie at -1 and 1.
    half = np.array([(W - 1) / 2, (H - 1) / 2])
    theirs = theta[:, ::-1][:, :, [1, 0, 2]].copy()
    theirs[:, :, :2] *= half[None, None, :]
    theirs /= half[None, :, None]
    t = torch.tensor(x, requires_grad=True)
    grid = torch.nn.functional.affine_grid(torch.tensor(theirs), list(x.shape), align_corners=True)
    y = torch.nn.functional.grid_sample(t, grid, align_corners=True,
                                        padding_mode="zeros" if fill == 0 else "border")
    own = Tensor(x, requires_grad=True)
    z = ops.affine_sample(own, theta, fill=fill)
    np.testing.assert_allclose(z.data, y.detach().numpy(), atol=1e-12)
    gy = pictures(2, *x.shape, dtype="float64")
    y.backward(torch.tensor(gy))
    np.testing.assert_allclose(grad(z, [own], gy)[0].data, t.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("fill", [0.0, None, 2.0])
def test_gradient_and_its_gradient(fill):
    theta = pictures(5, 2, 2, 3, dtype="float64")
    x = pictures(6, 2, 1, 4, 5, dtype="float64")
    gradcheck(lambda v: ops.affine_sample(v, theta, fill=fill), x)

    def slope(v):
        v = v if v.requires_grad else Tensor(v.data, requires_grad=True)
        y = ops.affine_sample(v, theta, fill=fill)
        return grad((y * y).sum(), [v], create_graph=True)[0]

    gradcheck(slope, x)


def test_matrices_get_no_gradient():
    x, theta = pictures(0, 2, 1, 3, 3), Tensor(matrices(2), requires_grad=True)
    (g,) = grad(ops.affine_sample(x, theta).sum(), [theta])
    assert not g.data.any()


@given(seeds, fills)
def test_far_away_is_the_fill(seed, fill):
    x = pictures(seed, 1, 1, 3, 4)
    y = ops.affine_sample(x, matrices(1, t=(1e9, -1e9)), fill=fill)
    np.testing.assert_array_equal(y, 0 * x + (x[..., -1:, :1] if fill is None else fill))


def test_axes_in_any_memory_order():
    x = pictures(0, 2, 5, 4, 3).transpose(0, 3, 1, 2)
    theta = matrices(2, A=((0.8, 0.3), (-0.3, 0.9)), t=(0.4, 1))
    for op in (ops.AffineSample(fill=1.0), ops.AffineSampleGrad(edge=True)):
        np.testing.assert_array_equal(op(x, theta), op(np.ascontiguousarray(x), theta))


def test_wrong_shapes():
    with pytest.raises(ShapeError, match=r"\(N, 2, 3\).*\(2, 3, 4\) and \(2, 2, 3\)"):
        ops.affine_sample(np.zeros((2, 3, 4)), matrices(2))
    with pytest.raises(ShapeError, match="one for each"):
        ops.affine_sample(np.zeros((2, 3, 4, 4)), matrices(3))
