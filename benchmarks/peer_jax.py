"""JAX's side of the training race: the step as one function, compiled by XLA.

Pictures are (N, H, W, C), which XLA convolves fastest on processors; weights keep Kiso's axes.
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

__all__ = ["Jax"]


class Algebra:
    """The layers in JAX's functions; statistics of batch norm are left in `statistics`."""

    def __init__(self, key: Any, masks: Any):
        import jax

        self.jax, self.np = jax, jax.numpy
        self.key, self.masks = key, masks
        self.stream = 0
        self.statistics: dict[str, Any] = {}

    def conv(self, x: Any, w: Any, b: Any | None, layer: nn.Conv2d) -> Any:
        pads = [(p, p) for p in pair(layer.padding)]
        y = self.jax.lax.conv_general_dilated(
            x, w, pair(layer.stride), pads, rhs_dilation=pair(layer.dilation),
            dimension_numbers=("NHWC", "OIHW", "NHWC"), feature_group_count=layer.groups)
        return y if b is None else y + b

    def linear(self, x: Any, w: Any, b: Any | None) -> Any:
        y = x @ w.T
        return y if b is None else y + b

    def batch_norm(self, x: Any, named: Mapping[str, Any], name: str,
                   layer: nn.BatchNorm2d) -> Any:
        mean, var, m = x.mean((0, 1, 2)), x.var((0, 1, 2)), layer.momentum
        n = x.size // x.shape[-1]
        for part, new in (("running_mean", mean), ("running_var", var * (n / (n - 1)))):
            self.statistics[f"{name}.{part}"] = (1 - m) * named[f"{name}.{part}"] + m * new
        scale = named[f"{name}.weight"] * self.jax.lax.rsqrt(var + layer.eps)
        return (x - mean) * scale + named[f"{name}.bias"]

    def max_pool(self, x: Any, layer: nn.MaxPool2d) -> Any:
        return self._window(x, layer, -np.inf, self.jax.lax.max)

    def avg_pool(self, x: Any, layer: nn.AvgPool2d) -> Any:
        if any(pair(layer.padding)):
            raise TypeError("a padded mean is not written for JAX")
        return self._window(x, layer, 0.0, self.jax.lax.add) / np.prod(pair(layer.kernel_size))

    def _window(self, x: Any, layer: nn.MaxPool2d | nn.AvgPool2d, start: float, f: Any) -> Any:
        if layer.ceil_mode:
            raise TypeError("windows that reach over the edge are not written for JAX")
        pads = [(0, 0), *((p, p) for p in pair(layer.padding)), (0, 0)]
        return self.jax.lax.reduce_window(x, start, f, (1, *pair(layer.kernel_size), 1),
                                          (1, *pair(layer.stride), 1), pads)

    def global_avg_pool(self, x: Any) -> Any:
        return x.mean((1, 2))

    def flatten(self, x: Any) -> Any:
        """In Kiso's order: channels first."""
        return (self.np.moveaxis(x, -1, 1) if x.ndim == 4 else x).reshape(len(x), -1)

    def relu(self, x: Any) -> Any:
        return self.np.where(x > 0, x, 0)  # gradient 0 at 0, as everywhere else

    def sigmoid(self, x: Any) -> Any:
        return self.jax.nn.sigmoid(x)

    def add(self, x: Any, y: Any) -> Any:
        return x + y

    def dropout(self, x: Any, p: float) -> Any:
        stream, self.stream = self.stream, self.stream + 1
        if self.masks is not None:
            return x * ops.dropout(np.ones(x.shape, np.float32), self.masks, p=p, stream=stream)
        kept = self.jax.random.bernoulli(self.jax.random.fold_in(self.key, stream), 1 - p, x.shape)
        return self.np.where(kept, x / (1 - p), 0)


class Jax:
    """A model in training, as `ours.Kiso`; `key` gives it Kiso's dropout masks."""

    def __init__(self, net: Net, model: nn.Module, threads: int, key: Any = None):
        os.environ["NPROC"] = str(threads)  # XLA's threads; read when JAX starts
        import jax

        def losses(params: Any, buffers: Any, x: Any, y: Any, key: Any) -> Any:
            f = Algebra(key, masks)
            logits = jax.nn.log_softmax(forward(f, model, x, {**params, **buffers}))
            return -logits[jax.numpy.arange(len(y)), y].mean(), f.statistics

        def step(params: Any, buffers: Any, velocity: Any, x: Any, y: Any, key: Any) -> Any:
            (loss, buffers), grads = jax.value_and_grad(losses, has_aux=True)(
                params, buffers, x, y, key)
            velocity = {n: MOMENTUM * velocity[n] + g + WEIGHT_DECAY * params[n]
                        for n, g in grads.items()}
            params = {n: w - LR * velocity[n] for n, w in params.items()}
            return params, buffers, velocity, loss

        masks = key
        x, y = samples(net)
        self.batch = (jax.numpy.asarray(np.moveaxis(x, 1, -1) if x.ndim == 4 else x),
                      jax.numpy.asarray(y.astype(np.int32)))
        # Copies: jnp.asarray may share the Kiso model's arrays, and the step overwrites its state.
        params = {n: jax.numpy.array(p.data) for n, p in model.named_parameters()}
        buffers = {n: jax.numpy.array(b.data) for n, b in model.named_buffers()}
        self.state = (params, buffers, {n: jax.numpy.zeros_like(w) for n, w in params.items()})
        self.keys = list(jax.random.split(jax.random.key(0), 64))
        self.run = jax.jit(step, donate_argnums=(0, 1, 2))
        self.count = 0

    def step(self) -> float:
        """One step; the mean loss before the update."""
        *state, loss = self.run(*self.state, *self.batch, self.keys[self.count % len(self.keys)])
        self.state, self.count = tuple(state), self.count + 1
        loss.block_until_ready()
        return float(loss)

    def weights(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Parameters, buffers and velocities by name."""
        params, buffers, velocity = ({n: np.asarray(v) for n, v in part.items()}
                                     for part in self.state)
        return params, buffers, velocity
