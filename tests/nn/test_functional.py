"""functional_call: a pure function of parameters, buffers, input and key, which can be traced."""

from __future__ import annotations

import numpy as np
import pytest

from kiso import nn, ops
from kiso.autograd import Tensor, value_and_grad
from kiso.compiler import trace
from kiso.errors import ConfigError, ShapeError

TEXT = "conv4k3p1 bn relu pool2 res(conv4k3p1 bn | conv4k1) relu flatten dropout0.3 linear5"


def net() -> nn.Sequential:
    nn.manual_seed(3)
    return nn.from_text(TEXT, (2, 6, 6))


def batch(n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, 2, 6, 6)).astype(np.float32), np.arange(n) % 5


def state(model: nn.Module) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return ({n: p.data for n, p in model.named_parameters()},
            {n: b.data for n, b in model.named_buffers()})


def everything(model: nn.Module) -> dict[str, object]:
    """All attributes of all modules, by identity."""
    return {f"{name}:{key}": str(value) if key in ("training", "_kinds") else id(value)
            for name, module in model.named_modules() for key, value in vars(module).items()}


def test_it_equals_the_module_itself() -> None:
    model, (x, _) = net(), batch()
    params, buffers = state(model)
    key = ops.make_key(1, 2)
    y, new = nn.functional_call(model, params, buffers, x, key=key, training=True)
    with nn.random_key(key):
        assert np.array_equal(y.data, model(x).data)
    assert {n: v.tolist() for n, v in new.items()} == {
        n: b.data.tolist() for n, b in model.named_buffers()}
    assert all(type(v) is np.ndarray for v in new.values())


def test_nothing_changes_outside() -> None:
    model, (x, _) = net(), batch()
    model[0].training = False  # an uneven mode has to survive too
    model.load_state_dict(model.state_dict())
    before, arrays = everything(model), model.state_dict()
    params, buffers = state(model)
    doubled = {n: p * 2 for n, p in params.items()}
    y, new = nn.functional_call(model, doubled, buffers, x, key=ops.make_key(0, 0), training=True)
    assert everything(model) == before
    assert all(np.array_equal(arrays[n], v) for n, v in model.state_dict().items())
    assert not np.array_equal(new["1.running_mean"], buffers["1.running_mean"])
    plain, _ = nn.functional_call(model, params, buffers, x)
    assert not np.array_equal(plain.data, y.data)


def test_an_error_leaves_everything_as_it_was() -> None:
    model = net()
    before = everything(model)
    params, buffers = state(model)
    with pytest.raises(ShapeError, match="in layer 0 Conv2d"):
        nn.functional_call(model, params, buffers, np.zeros((1, 3, 6, 6)), training=True)
    with pytest.raises(ConfigError, match="pass key="):
        nn.functional_call(model, params, buffers, batch()[0], training=True)
    assert everything(model) == before


def test_attributes_set_in_forward_do_not_leak() -> None:
    class Keeps(nn.Module):
        def forward(self, x):
            self.last = x
            return x

    model = Keeps()
    nn.functional_call(model, {}, {}, np.ones(2))
    assert not hasattr(model, "last")


def test_unknown_names_are_refused() -> None:
    model = net()
    with pytest.raises(ConfigError, match=r"'0\.wieght'.*did you mean '0\.weight'"):
        nn.functional_call(model, {"0.wieght": np.zeros(1)}, {}, batch()[0])
    with pytest.raises(ConfigError, match="among its buffers"):
        nn.functional_call(model, {}, {"0.weight": np.zeros(1)}, batch()[0])


def test_names_left_out_keep_their_values() -> None:
    model, (x, _) = net(), batch()
    y, _ = nn.functional_call(model, {}, {}, x)
    assert np.array_equal(y.data, model.eval()(x).data)


def test_gradients_flow_to_given_tensors() -> None:
    layer = nn.Linear(3, 2)
    w = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    y, _ = nn.functional_call(layer, {"weight": w}, {}, np.ones((4, 3), np.float32))
    y.sum().backward()
    assert w.grad is not None
    assert np.all(w.grad.data == 4)
    assert layer.weight.grad is None


def test_the_traced_training_step_gives_the_same_bits() -> None:
    model, (x, t) = net(), batch()
    params, buffers = state(model)

    def step(params, buffers, x, t, key):
        def loss(p):
            y, new = nn.functional_call(model, p, buffers, x, key=key, training=True)
            return ops.cross_entropy(y, t), new

        value, gradients, new = value_and_grad(loss, params)
        return value, gradients, new

    args = (params, buffers, x, t, ops.make_key(5, 6))
    eager, traced = step(*args), trace(step, *args)
    again = traced(*args)
    assert eager[0].tobytes() == again[0].tobytes()
    for part in (1, 2):
        assert eager[part].keys() == again[part].keys()
        for name, value in eager[part].items():
            assert value.tobytes() == again[part][name].tobytes(), name
    other = (*args[:4], ops.make_key(5, 7))
    assert traced(*other)[0].tobytes() == step(*other)[0].tobytes() != eager[0].tobytes()
    assert not any(value.size > 64 for value in traced.graph.constants.values())  # all went in


def test_streams_are_counted_by_call() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Identity())
    x, key = np.ones((64, 64), np.float32), ops.make_key(0, 0)
    with nn.random_key(key):
        first, second = model(x), model(x)
    with nn.random_key(key):
        again = model(x)
    assert np.array_equal(first.data, again.data)
    assert not np.array_equal(first.data, second.data)
    assert np.array_equal(first.data, ops.dropout(x, key, p=0.5, stream=0))
    assert np.array_equal(second.data, ops.dropout(x, key, p=0.5, stream=1))


def test_the_default_generator_counts_steps_and_starts_again() -> None:
    layer, x = nn.Dropout(0.5), np.ones((8, 8), np.float32)
    nn.manual_seed(9)
    a, b = layer(x).data, layer(x).data
    nn.manual_seed(9)
    assert np.array_equal(layer(x).data, a)
    nn.manual_seed(10)
    assert not np.array_equal(layer(x).data, a)
    assert not np.array_equal(a, b)
    assert layer.eval()(x).data.sum() == 64


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "3", True])
def test_seeds_are_whole_numbers(seed: object) -> None:
    with pytest.raises(ConfigError, match=r"seed is .*whole number"):
        nn.manual_seed(seed)  # type: ignore[arg-type]
