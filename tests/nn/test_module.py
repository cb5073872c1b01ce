"""Module: what is found by attribute, names, state, modes, errors that say where."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest

from kiso import nn, ops
from kiso.autograd import Tensor
from kiso.errors import CheckpointError, ConfigError, ShapeError


class Net(nn.Module):
    """Every way in which a module may hold others."""

    size: int

    def __init__(self, size: int = 4) -> None:
        self.size = size
        self.first = nn.Linear(3, size)
        self.norm = nn.BatchNorm1d(size)
        self.more = [nn.Linear(size, size), nn.Linear(size, size)]
        self.heads = {"a": nn.Linear(size, 2)}
        self.scale = nn.Parameter(np.ones(2))

    def forward(self, x):
        y = self.norm(self.first(x))
        for layer in self.more:
            y = ops.relu(layer(y))
        return self.heads["a"](y) * self.scale


NAMES = ["scale", "first.weight", "first.bias", "norm.weight", "norm.bias", "more.0.weight",
         "more.0.bias", "more.1.weight", "more.1.bias", "heads.a.weight", "heads.a.bias"]


def x(n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)


def test_parameters_are_found_in_attributes_lists_and_dicts() -> None:
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_buffers()] == ["norm.running_mean", "norm.running_var"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "norm", "more.0", "more.1",
                                                   "heads.a"]
    assert net.parameter_count() == sum(p.size for p in net.parameters()) == 16 + 8 + 40 + 10 + 2


def test_parameters_are_float32_unless_asked() -> None:
    assert nn.Parameter(np.ones(3)).dtype == np.float32
    assert nn.Parameter([1, 2]).dtype == np.float32
    assert nn.Parameter(np.ones(3), dtype="float64").dtype == np.float64
    assert all(p.dtype == np.float64 for p in Net().astype("float64").parameters())


def test_gradients_reach_every_parameter_and_are_forgotten() -> None:
    net = Net()
    (net(x()) * np.float32([1, 2])).sum().backward()
    assert all(p.grad is not None and np.any(p.grad.data) for n, p in net.named_parameters()
               if not n.endswith("first.bias"))  # batch norm takes a bias before it out again
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_buffers_are_replaced_by_assignment() -> None:
    net = Net()
    before = net.norm.running_mean
    net(x())
    assert isinstance(net.norm.running_mean, nn.Buffer)
    assert net.norm.running_mean is not before
    assert not np.any(before.data)
    net.norm.running_mean = np.zeros(4, np.float32)
    assert isinstance(net.norm.running_mean, nn.Buffer)
    assert dict(net.named_buffers())["norm.running_mean"] is net.norm.running_mean
    net.eval()
    kept = net.norm.running_mean
    net(x())
    assert net.norm.running_mean is kept


def test_buffers_keep_their_type() -> None:
    net = nn.BatchNorm1d(3)
    assert net(x().astype(np.float64)).dtype == np.float64
    assert net.running_mean.dtype == net.running_var.dtype == np.float32


def test_a_parameter_is_not_replaced_by_accident() -> None:
    layer = nn.Linear(2, 3)
    with pytest.raises(ConfigError, match=r"nn\.Parameter\(value\).*weight\.data"):
        layer.weight = np.zeros((3, 2))  # type: ignore[assignment]
    layer.weight = nn.Parameter(np.zeros((3, 2)))
    layer.bias = None
    assert [n for n, _ in layer.named_parameters()] == ["weight"]
    assert layer(x()[:, :2]).shape == (5, 3)


def test_parameters_in_a_list_are_refused() -> None:
    net = nn.Module()
    with pytest.raises(ConfigError, match="list would not be found"):
        net.weights = [nn.Parameter([1.0])]


def test_deleted_attributes_are_gone() -> None:
    net = Net()
    del net.scale
    assert "scale" not in dict(net.named_parameters())


def test_state_is_copied_out_and_taken_in() -> None:
    nn.manual_seed(0)
    a = Net()
    b = Net()
    a(x())
    state = a.state_dict()
    assert list(state) == [s.name for s in a.slots()]
    assert all(type(v) is np.ndarray for v in state.values())
    assert b.load_state_dict(state) == ((), ())
    assert np.array_equal(a.eval()(x()).data, b.eval()(x()).data)
    state["scale"][:] = 7
    assert np.all(a.scale.data == 1)
    assert np.all(b.scale.data == 1)


def test_a_state_that_does_not_fit_is_told_whole_and_changes_nothing() -> None:
    net = Net()
    before = net.state_dict()
    state = {**before, "scale": np.zeros(3), "first.weight": np.zeros((9, 9)),
             "extra": np.zeros((1, 2)), "more.0.bias": np.zeros(4, complex)}
    del state["norm.bias"], state["heads.a.weight"]
    with pytest.raises(CheckpointError) as caught:
        net.load_state_dict(state)
    for part in ["missing: norm.bias (4,)", "missing: heads.a.weight (2, 4)",
                 "unexpected: extra (1, 2)", "scale: the model has (2,), the file (3,)",
                 "first.weight: the model has (4, 3), the file (9, 9)",
                 "more.0.bias: the model has float32, the file complex128"]:
        assert part in str(caught.value)
    assert all(np.array_equal(before[n], v) for n, v in net.state_dict().items())


def test_loading_in_part() -> None:
    net = Net()
    mismatch = net.load_state_dict({"scale": np.full(2, 3.0), "other": np.zeros(1)}, strict=False)
    assert mismatch.unexpected == ("other",)
    assert set(mismatch.missing) == {s.name for s in net.slots()} - {"scale"}
    assert net.scale.dtype == np.float32
    assert np.all(net.scale.data == 3)
    with pytest.raises(CheckpointError, match="wrong shape"):
        net.load_state_dict({"scale": np.zeros(3)}, strict=False)


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        self.a = nn.Linear(3, 3)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


def test_shared_parameters_count_once_and_keep_being_shared() -> None:
    net = Tied()
    assert [n for n, _ in net.named_parameters()] == ["a.weight", "a.bias"]
    assert list(net.state_dict()) == ["a.weight", "a.bias", "b.weight"]
    copied = copy.deepcopy(net)
    assert copied.a.weight is copied.b.weight
    params = {n: p.data + 1 for n, p in net.named_parameters()}
    y, _ = nn.functional_call(net, params, {}, x())
    net.load_state_dict(params)  # the second name may be left out
    assert np.array_equal(net(x()).data, y.data)


def test_modes_reach_all_modules() -> None:
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    assert all(m.training for m in net.train().modules())


def test_dataclasses_are_modules_too() -> None:
    @dataclass(eq=False, repr=False)
    class Scale(nn.Module):
        layer: nn.Linear
        by: float = 2.0

        def forward(self, x):
            return self.layer(x) * self.by

    net = Scale(nn.Linear(3, 2))
    assert [n for n, _ in net.named_parameters()] == ["layer.weight", "layer.bias"]
    assert repr(net) == "Scale(by=2.0\n  (layer): Linear(in_features=3, out_features=2)\n)"


def test_a_module_in_itself_is_refused() -> None:
    net = Net()
    net.first.parent = net
    with pytest.raises(ConfigError, match=r"first\.parent.*contains itself"):
        net.state_dict()


def test_shape_errors_name_the_layer_and_both_shapes() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Residual(nn.Linear(4, 4), nn.Linear(5, 4)))
    with pytest.raises(ShapeError) as caught:
        net(x())
    text = str(caught.value)
    assert "in layer 2.body.1 Linear(in_features=5, out_features=4), input (5, 4)" in text
    assert "(4, 5)" in text
    assert "use Linear(4, 4)" in text
    with pytest.raises(ShapeError, match=r"put Flatten\(\) before it"):
        nn.Linear(12, 2)(np.zeros((5, 3, 2, 2), np.float32))
    with pytest.raises(ShapeError, match=r"in layer 1 Conv2d\(3, 4, kernel_size=3\).*channels"):
        nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3))(np.zeros((1, 2, 8, 8), np.float32))


def test_forward_must_be_written() -> None:
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty has no forward"):
        Empty()(x())


def test_repr_is_a_tree() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.Residual(nn.ReLU()))
    assert repr(net) == (
        "Sequential(\n  (0): Conv2d(1, 2, kernel_size=3, padding=1, bias=False)\n"
        "  (1): Residual(\n    (body): Sequential(\n      (0): ReLU()\n    )\n  )\n)")


def test_html_is_a_tree_and_escapes() -> None:
    class Odd(nn.Module):
        word: str

        def __init__(self) -> None:
            self.word = "<b>&"

    page = nn.Sequential(nn.Linear(2, 3), Odd())._repr_html_()
    assert "<details" in page
    assert "9 parameters" in page
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page


def test_watching_sees_every_call_in_order() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU()))
    seen: list[tuple[str, str]] = []
    with nn.watch(before=lambda m, xs: seen.append(("in", type(m).__name__)),
                  after=lambda m, xs, y: seen.append(("out", str(y.shape)))):
        net(x())
    net(x())
    assert seen == [("in", "Sequential"), ("in", "Linear"), ("out", "(5, 4)"), ("in", "Sequential"),
                    ("in", "ReLU"), ("out", "(5, 4)"), ("out", "(5, 4)"), ("out", "(5, 4)")]


def test_inputs_may_be_arrays_or_tensors() -> None:
    net = Net().eval()
    assert isinstance(nn.ReLU()(x()), Tensor)
    assert np.array_equal(net(x()).data, net(Tensor(x())).data)
