"""One suite for every op of the textbook, driven by the samples that each op carries."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import kiso.ops
from kiso.autograd import Tensor, grad, gradcheck
from kiso.compiler import trace
from kiso.errors import DTypeError
from kiso.ops.op import REGISTRY

REFERENCES = {}
for module in pkgutil.iter_modules(__import__("tests.ops", fromlist=["ops"]).__path__):
    if module.name.startswith("ref_"):
        REFERENCES |= importlib.import_module(f"tests.ops.{module.name}").REFERENCES

CASES = [pytest.param(cls, i, id=f"{name}-{sample!r}")
         for name, cls in sorted(REGISTRY.items()) for i, sample in enumerate(cls.samples)]


def case(cls, i):
    sample = cls.samples[i]
    return cls(**sample.attributes), sample


def parts(y):
    return y if isinstance(y, tuple) else (y,)


def learned(cls, arrays):
    """Positions of the inputs that have gradients."""
    return [k for k, a in enumerate(arrays) if a.dtype.kind == "f" and k not in cls.fixed]


def with_fixed(op, arrays):
    """The op as a function of its learned inputs alone, and these."""
    wanted = learned(type(op), arrays)

    def f(*xs):
        every = list(arrays)
        for k, x in zip(wanted, xs, strict=True):
            every[k] = x
        return op(*every)
    return f, [arrays[k] for k in wanted]


def has_gradient(op, arrays):
    ys = parts(op(*arrays))
    return bool(learned(type(op), arrays)) and any(y.dtype.kind == "f" for y in ys)


def test_every_op_module_is_part_of_the_package():
    for module in pkgutil.iter_modules(kiso.ops.__path__):
        importlib.import_module(f"kiso.ops.{module.name}")
    assert set(REGISTRY) <= set(kiso.ops.__all__)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_op_has_samples_reference_and_words(name):
    cls = REGISTRY[name]
    assert len(cls.samples) > 0, f"{name} has no samples"
    assert name in REFERENCES, f"{name} has no reference value in tests/ops/ref_*.py"
    assert inspect.getdoc(cls) != inspect.getdoc(kiso.ops.Op), f"{name} has no docstring"


def test_no_reference_without_op():
    assert set(REFERENCES) == set(REGISTRY)


@pytest.mark.parametrize("cls, i", CASES)
def test_value(cls, i):
    op, sample = case(cls, i)
    arrays = sample.arrays()
    for y, expected in zip(parts(op(*arrays)), parts(REFERENCES[cls.__name__](op, arrays)),
                           strict=True):
        tolerance = 1e-6 if y.dtype == np.float32 else 1e-10
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("float_type", ["float32", "float64"])
@pytest.mark.parametrize("cls, i", CASES)
def test_shape_and_type_rules(cls, i, float_type):
    op, sample = case(cls, i)
    arrays = sample.arrays(float_type=float_type)
    ys = parts(op(*arrays))
    shapes = op.shape(*(a.shape for a in arrays))
    dtypes = op.dtype(*(a.dtype for a in arrays))
    if op.outputs == 1:
        shapes, dtypes = (shapes,), (dtypes,)
    assert [y.shape for y in ys] == [tuple(s) for s in shapes]
    assert [y.dtype for y in ys] == [np.dtype(d) for d in dtypes]


# Bools that NumPy makes 8-bit integers of.
BOOLS_OF_THEIR_OWN = {"Pow", "Power"}


@pytest.mark.parametrize("kind", ["int64", "uint8", "bool"])
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_integers_and_bools_get_the_type_that_the_graph_says(name, kind):
    """And functions of real numbers give float32: NumPy's float64 would spread through a net."""
    cls = REGISTRY[name]
    op, sample = case(cls, 0)
    arrays = [(1 + np.abs(a)).astype(kind) if a.dtype.kind == "f" else a
              for a in sample.arrays()]
    if kind == "bool" and name in BOOLS_OF_THEIR_OWN:
        pytest.skip("arithmetic of bools")
    try:
        ys = parts(op(*arrays))
    except (DTypeError, TypeError, ValueError):  # no such operation on these
        assert not cls.floats
        return
    graph = trace(op, *arrays).graph
    assert [y.dtype for y in ys] == [graph.specs[n].dtype for n in graph.outputs]
    if cls.floats:
        assert {y.dtype for y in ys} == {np.dtype(np.float32)}


@pytest.mark.parametrize("cls, i", CASES)
def test_inputs_stay_untouched(cls, i):
    op, sample = case(cls, i)
    arrays = sample.arrays()
    for a in arrays:
        a.flags.writeable = False
    first = [y.copy() for y in parts(op(*arrays))]
    for a, b in zip(first, parts(op(*arrays)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cls, i", CASES)
def test_gradient(cls, i):
    op, sample = case(cls, i)
    arrays = sample.arrays()
    if not has_gradient(op, arrays):
        xs = tuple(Tensor(a, requires_grad=k in learned(cls, arrays))
                   for k, a in enumerate(arrays))
        assert not any(p.requires_grad for p in parts(op(*xs)))
        return
    f, xs = with_fixed(op, arrays)
    assert len(gradcheck(f, *xs)) == len(xs)


@pytest.mark.parametrize("cls, i", CASES)
def test_gradient_of_gradient(cls, i):
    """The backward rule is itself made of ops with right gradients."""
    op, sample = case(cls, i)
    arrays = sample.arrays()
    if not has_gradient(op, arrays):
        pytest.skip("no gradient")
    f, xs = with_fixed(op, arrays)
    scale = max([1.0, *(float(np.abs(y).max()) for y in parts(op(*arrays)) if y.size)])

    def slope(*inputs):
        inputs = [x if x.requires_grad else Tensor(x.data, requires_grad=True) for x in inputs]
        total = 0
        for y in parts(f(*inputs)):
            if y.dtype.kind == "f":
                weights = np.linspace(0.5, 1.5, y.size).reshape(y.shape) / scale
                total = total + (y * y * weights).sum()
        return [g for g in grad(total, inputs, create_graph=True) if g.requires_grad]

    if not slope(*(Tensor(x, requires_grad=True) for x in xs)):
        pytest.skip("piecewise constant gradient")
    gradcheck(slope, *xs, tolerance=1e-5)


@pytest.mark.parametrize("cls, i", CASES)
def test_traced_equals_eager_with_gradients(cls, i):
    op, sample = case(cls, i)
    arrays = sample.arrays(float_type="float32")
    wanted = learned(cls, arrays)

    def f(*xs):
        xs = [Tensor(x, requires_grad=k in wanted) for k, x in enumerate(xs)]
        ys = parts(op(*xs))
        smooth = [y for y in ys if y.dtype.kind == "f" and y.requires_grad]
        gs = grad(sum((y * y).sum() for y in smooth), [xs[k] for k in wanted]) if smooth else []
        return [v.data for v in (*ys, *gs)]

    traced = trace(f, *arrays)
    assert str(traced).startswith("graph(")
    for a, b in zip(traced(*arrays), f(*arrays), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
