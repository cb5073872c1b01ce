"""Expected values of the elementwise, reducing and moving ops, written without Kiso.

Where NumPy's own function is what the op calls, plain Python (math) or another identity stands
here instead, so that the comparison means something.
"""

import math

import numpy as np
import scipy.special


def each(f, *arrays):
    """Apply a scalar Python function to every element, with broadcasting."""
    out = np.empty(np.broadcast_shapes(*(a.shape for a in arrays)), object)
    for i, values in zip(np.ndindex(out.shape), zip(*(b.flat for b in np.broadcast_arrays(*arrays)),
                                                    strict=True), strict=True):
        out[i] = f(*(v.item() for v in values))
    return out


def number(f):
    return lambda op, arrays: each(f, *arrays).astype(np.float64)


def boolean(f):
    return lambda op, arrays: each(f, *arrays).astype(bool)


def moved(x, axes):
    """Chosen axes (None: all) last and flattened, for loops over groups."""
    axes = range(x.ndim) if axes is None else [a % x.ndim for a in axes]
    rest = [a for a in range(x.ndim) if a not in axes]
    return x.transpose([*rest, *sorted(axes)]).reshape([x.shape[a] for a in rest] + [-1])


def reduction(f):
    def reference(op, arrays):
        (x,) = arrays
        groups = moved(x, op.axis)
        y = np.array([f(list(map(float, groups[i])), op) for i in np.ndindex(groups.shape[:-1])])
        return y.reshape(op.shape(x.shape))
    return reference


def variance(values, op):
    m = math.fsum(values) / len(values)
    return math.fsum((v - m) ** 2 for v in values) / (len(values) - op.correction)


def position(choose):
    def reference(op, arrays):
        (x,) = arrays
        groups = moved(x, (op.axis,))
        y = [list(groups[i]).index(choose(groups[i])) for i in np.ndindex(groups.shape[:-1])]
        return np.array(y, np.int64).reshape(op.shape(x.shape))
    return reference


def sum_to(op, arrays):
    (x,) = arrays
    y = np.zeros(op.to)
    lead = x.ndim - len(op.to)
    for i in np.ndindex(x.shape):
        y[tuple(0 if n == 1 else k for n, k in zip(op.to, i[lead:], strict=True))] += x[i]
    return y


def slice_grad(op, arrays):
    y = np.zeros(op.to)
    ranges = [range(*span) for span in op.spans]
    for i in np.ndindex(arrays[0].shape):
        y[tuple(r[k] for r, k in zip(ranges, i, strict=True))] = arrays[0][i]
    return y


def padded(op, arrays):
    (x,) = arrays
    y = np.full(op.shape(x.shape), op.value)
    y[tuple(slice(b, b + n) for (b, _), n in zip(op.widths, x.shape, strict=True))] = x
    return y


def take(op, arrays):
    x, index = arrays
    rows = [np.moveaxis(x, op.axis, 0)[i] for i in index.flat]
    y = np.array(rows).reshape((*index.shape, *x.shape[:op.axis], *x.shape[op.axis + 1:]))
    return np.moveaxis(y, range(index.ndim), range(op.axis, op.axis + index.ndim))


def take_grad(op, arrays):
    gy, index = arrays
    g = np.moveaxis(gy, range(op.axis, op.axis + index.ndim), range(index.ndim))
    y = np.zeros((op.size, *g.shape[index.ndim:]))
    for i in np.ndindex(index.shape):
        y[index[i]] += g[i]
    return np.moveaxis(y, 0, op.axis)


def take_along(op, arrays):
    x, index = arrays
    y = np.empty(index.shape)
    for i in np.ndindex(index.shape):
        y[i] = x[(i[0], index[i], *i[1:])]
    return y


def take_along_grad(op, arrays):
    gy, index = arrays
    y = np.zeros((index.shape[0], op.size, *index.shape[1:]))
    for i in np.ndindex(index.shape):
        y[(i[0], index[i], *i[1:])] = gy[i]
    return y


def matmul(op, arrays):
    return np.einsum("...ij,...jk->...ik", *arrays)


def cross_entropy(op, arrays):
    x, t = arrays
    return -(t * (x - scipy.special.logsumexp(x, axis=1, keepdims=True))).sum(1)


def binary_cross_entropy(op, arrays):
    x, t = arrays
    return -(t * scipy.special.log_expit(x) + (1 - t) * scipy.special.log_expit(-x))


REFERENCES = {
    "Abs": number(lambda x: x if x >= 0 else -x),
    "Add": number(lambda a, b: a + b),
    "ArgMax": position(max),
    "ArgMin": position(min),
    "BinaryCrossEntropy": binary_cross_entropy,
    "BroadcastTo": lambda op, arrays: arrays[0] * np.ones(op.to),
    "Cast": lambda op, arrays: np.array(arrays[0].tolist(), op.to),
    "Clip": lambda op, arrays: each(lambda x: min(max(x, op.low), op.high), *arrays).astype(float),
    "Concat": lambda op, arrays: np.array(
        [row for a in arrays for row in np.swapaxes(a, 0, op.axis)]).swapaxes(0, op.axis),
    "Cos": number(math.cos),
    "Div": number(lambda a, b: a / b),
    "Equal": boolean(lambda a, b: a == b),
    "Exp": number(math.exp),
    "Expm1": number(math.expm1),
    "Flip": lambda op, arrays: arrays[0][tuple(
        slice(None, None, -1 if a in op.axes else 1) for a in range(arrays[0].ndim))],
    "Floor": number(math.floor),
    "Greater": boolean(lambda a, b: a > b),
    "GreaterEqual": boolean(lambda a, b: a >= b),
    "Less": boolean(lambda a, b: a < b),
    "LessEqual": boolean(lambda a, b: a <= b),
    "Log": number(math.log),
    "Log1p": number(math.log1p),
    "LogSoftmax": lambda op, arrays: scipy.special.log_softmax(arrays[0], op.axis),
    "LogSumExp": reduction(lambda v, op: max(v) + math.log(math.fsum(
        math.exp(x - max(v)) for x in v))),
    "MatMul": matmul,
    "Max": reduction(lambda v, op: max(v)),
    "Maximum": number(max),
    "Mean": reduction(lambda v, op: math.fsum(v) / len(v)),
    "Min": reduction(lambda v, op: min(v)),
    "Minimum": number(min),
    "Mul": number(lambda a, b: a * b),
    "Neg": number(lambda x: -x),
    "NotEqual": boolean(lambda a, b: a != b),
    "Pad": padded,
    "Pow": number(math.pow),
    "Power": lambda op, arrays: each(lambda x: math.pow(x, op.exponent), *arrays).astype(float),
    "Reshape": lambda op, arrays: np.array(list(arrays[0].flat)).reshape(op.to),
    "Sign": number(lambda x: (x > 0) - (x < 0)),
    "Sin": number(math.sin),
    "Slice": lambda op, arrays: arrays[0][np.ix_(*(list(range(*s)) for s in op.spans))],
    "SliceGrad": slice_grad,
    "Softmax": lambda op, arrays: scipy.special.softmax(arrays[0], op.axis),
    "SoftmaxCrossEntropy": cross_entropy,
    "Sqrt": number(math.sqrt),
    "Sub": number(lambda a, b: a - b),
    "Sum": reduction(lambda v, op: math.fsum(v)),
    "OneHot": lambda op, arrays: np.eye(op.classes)[arrays[0]],
    "SumTo": sum_to,
    "Take": take,
    "TakeAlong": take_along,
    "TakeAlongGrad": take_along_grad,
    "TakeGrad": take_grad,
    "Transpose": lambda op, arrays: np.einsum(
        arrays[0], list(range(arrays[0].ndim)), list(op.axes)),
    "Var": reduction(variance),
    "Where": lambda op, arrays: each(lambda c, a, b: a if c else b, *arrays).astype(float),
}
