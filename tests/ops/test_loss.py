"""Losses at the edges: wrong class numbers, scores that rule a class out."""

import numpy as np
import pytest

from kiso import ops
from kiso.autograd import Tensor
from kiso.errors import DataError, DTypeError

SCORES = np.array([[0.5, -1.0, 2.0], [0.1, 0.2, 0.3]], "f")


@pytest.mark.parametrize("labels", [[1, 3], [0, -1]])
@pytest.mark.parametrize("loss", [ops.cross_entropy, ops.nll_loss])
def test_class_numbers_outside_are_refused(loss, labels):
    """Counted from 1, or "unknown" as -1: never a loss of 0, never another class in silence."""
    with pytest.raises(DataError, match="from 0 to 2"):
        loss(SCORES, np.array(labels))
    with pytest.raises(DTypeError, match="integers"):
        ops.one_hot(np.array(labels, "f"), 3)


@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 2.0]])
def test_a_score_of_minus_infinity_rules_a_class_out(weight):
    torch = pytest.importorskip("torch")
    x = np.where([[0, 0, 0], [1, 0, 0]], -np.inf, SCORES).astype("f")
    t = np.array([2, 1])
    mine, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    w = None if weight is None else np.array(weight, "f")
    y = ops.cross_entropy(mine, t, weight=w)
    expected = torch.nn.functional.cross_entropy(
        theirs, torch.tensor(t), weight=None if w is None else torch.tensor(w))
    y.backward()
    expected.backward()
    np.testing.assert_allclose(y.data, expected.item(), rtol=1e-6)
    np.testing.assert_allclose(mine.grad.data, theirs.grad, rtol=1e-6, atol=1e-7)
    assert ops.cross_entropy(x, np.array([2, 0])) == np.inf
