"""TensorFlow's side of the training race: the step as one `tf.function`.

Pictures are (N, H, W, C), the only order that its convolutions take on processors, and weights of
convolutions (H, W, I, O).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.functional import forward, pair
from benchmarks.nets import Net, samples
from benchmarks.ours import LR, MOMENTUM, WEIGHT_DECAY
from kiso import nn, ops

__all__ = ["TensorFlow"]


class Algebra:
    """The layers in TensorFlow's functions; batch norm leaves its new statistics in `statistics`.
    """

    def __init__(self, masks: Any):
        import tensorflow

        self.tf: Any = tensorflow
        self.masks = masks
        self.stream = 0
        self.statistics: dict[str, Any] = {}

    def _padded(self, x: Any, layer: Any, value: float) -> Any:
        pads = pair(layer.padding)
        if getattr(layer, "ceil_mode", False):
            raise TypeError("windows that reach over the edge are not written for TensorFlow")
        if not any(pads):
            return x
        return self.tf.pad(x, [(0, 0), *((p, p) for p in pads), (0, 0)], constant_values=value)

    def conv(self, x: Any, w: Any, b: Any | None, layer: nn.Conv2d) -> Any:
        y = self.tf.nn.conv2d(self._padded(x, layer, 0.0), w, list(pair(layer.stride)), "VALID",
                              dilations=list(pair(layer.dilation)))
        return y if b is None else self.tf.nn.bias_add(y, b)

    def linear(self, x: Any, w: Any, b: Any | None) -> Any:
        y = self.tf.matmul(x, w, transpose_b=True)
        return y if b is None else self.tf.nn.bias_add(y, b)

    def batch_norm(self, x: Any, named: Mapping[str, Any], name: str,
                   layer: nn.BatchNorm2d) -> Any:
        # The fused operation's running variance is unbiased, as Kiso's.
        y, mean, var = self.tf.compat.v1.nn.fused_batch_norm(
            x, named[f"{name}.weight"], named[f"{name}.bias"], epsilon=layer.eps)
        for part, new in (("running_mean", mean), ("running_var", var)):
            old = named[f"{name}.{part}"]
            self.statistics[f"{name}.{part}"] = old + layer.momentum * (new - old)
        return y

    def max_pool(self, x: Any, layer: nn.MaxPool2d) -> Any:
        return self.tf.nn.max_pool2d(self._padded(x, layer, -np.inf), pair(layer.kernel_size),
                                     pair(layer.stride), "VALID")

    def avg_pool(self, x: Any, layer: nn.AvgPool2d) -> Any:
        if any(pair(layer.padding)) and not layer.count_include_pad:
            raise TypeError("a mean without the padding is not written for TensorFlow")
        return self.tf.nn.avg_pool2d(self._padded(x, layer, 0.0), pair(layer.kernel_size),
                                     pair(layer.stride), "VALID")

    def global_avg_pool(self, x: Any) -> Any:
        return self.tf.reduce_mean(x, (1, 2))

    def flatten(self, x: Any) -> Any:
        """In Kiso's order: channels first."""
        x = self.tf.transpose(x, (0, 3, 1, 2)) if len(x.shape) == 4 else x
        return self.tf.reshape(x, (x.shape[0], -1))

    def relu(self, x: Any) -> Any:
        return self.tf.nn.relu(x)

    def sigmoid(self, x: Any) -> Any:
        return self.tf.nn.sigmoid(x)

    def add(self, x: Any, y: Any) -> Any:
        return x + y

    def dropout(self, x: Any, p: float) -> Any:
        stream, self.stream = self.stream, self.stream + 1
        if self.masks is None:
            return self.tf.nn.dropout(x, p)
        return x * ops.dropout(np.ones(x.shape, np.float32), self.masks, p=p, stream=stream)


class TensorFlow:
    """A model in training, as `ours.Kiso`; `key` gives it Kiso's dropout masks."""

    def __init__(self, net: Net, model: nn.Module, threads: int, key: Any = None):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        if tf.config.threading.get_intra_op_parallelism_threads() != threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        x, y = samples(net)
        batch = (tf.constant(np.moveaxis(x, 1, -1) if x.ndim == 4 else x), tf.constant(y))
        self.params = {n: tf.Variable(_theirs(p.data)) for n, p in model.named_parameters()}
        self.buffers = {n: tf.Variable(b.data) for n, b in model.named_buffers()}
        self.velocity = {n: tf.Variable(tf.zeros_like(w)) for n, w in self.params.items()}

        def step(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                f = Algebra(key)
                logits = forward(f, model, x, {**self.params, **self.buffers})
                loss = tf.reduce_mean(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
            for n, g in tape.gradient(loss, self.params).items():
                v = self.velocity[n]
                v.assign(MOMENTUM * v + g + WEIGHT_DECAY * self.params[n])
                self.params[n].assign_sub(LR * v)
            for n, b in f.statistics.items():
                self.buffers[n].assign(b)
            return loss

        run = tf.function(step, autograph=False)
        self.run = lambda: run(*batch)

    def step(self) -> float:
        """One step; the mean loss before the update."""
        return float(self.run())

    def weights(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Parameters, buffers and velocities by name, with Kiso's axes."""
        params, buffers, velocity = ({n: _ours(v.numpy()) for n, v in part.items()}
                                     for part in (self.params, self.buffers, self.velocity))
        return params, buffers, velocity


def _theirs(w: np.ndarray) -> np.ndarray:
    """(O, I, H, W) -> (H, W, I, O); the others as they are."""
    return w.transpose(2, 3, 1, 0) if w.ndim == 4 else w


def _ours(w: np.ndarray) -> np.ndarray:
    return w.transpose(3, 2, 0, 1) if w.ndim == 4 else w
