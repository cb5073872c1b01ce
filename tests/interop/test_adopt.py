"""What of a file fits a model: by name and by order, all or nothing, every name told."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from kiso import models, nn
from kiso.errors import CheckpointError
from kiso.interop import Weights, load_weights

RNG = np.random.default_rng(0)


def net(outputs: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, outputs))


def given(arrays: dict[str, Any], by_order: bool = False) -> Weights:
    return Weights(Path("w"), arrays, by_order=by_order)


def refused(model: nn.Module, weights: Weights, *matches: str, **options: Any) -> None:
    """With all that is to be said, and the model as before."""
    before = model.state_dict()
    with pytest.raises(CheckpointError) as error:
        load_weights(model, weights, **options)
    for match in matches:
        assert match in str(error.value)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_every_name_that_does_not_match_is_told() -> None:
    state = net().state_dict()
    del state["1.running_var"]
    refused(net(), given({**state, "other": np.ones(3), "0.bias": np.ones(5)}),
            "6 of its 8 arrays match", "match: 0.weight", "missing in the file: 1.running_var",
            "unknown to the model: other", "0.bias ((5,) in the file, (4,) in the model)",
            "--allow-unmatched")
    refused(net(), given({"other": np.ones(3)}), "0 of its 8", allow_unmatched=True)


def test_what_matches_alone_where_that_is_allowed() -> None:
    model = net()
    bias = model.state_dict()["0.bias"]
    values = {"0.weight": RNG.normal(size=(4, 3)), "0.bias": np.ones(5), "other": np.ones(3)}
    found = load_weights(model, given(values), allow_unmatched=True)
    assert (found.loaded, found.misshapen, found.unexpected) == (
        ("0.weight",), ("0.bias",), ("other",))
    assert len(found.missing) == 6
    np.testing.assert_array_equal(model.state_dict()["0.weight"],
                                  values["0.weight"].astype(np.float32))
    np.testing.assert_array_equal(model.state_dict()["0.bias"], bias)


def test_a_head_for_other_classes_begins_anew_as_a_whole() -> None:
    model, state = net(3), net(2).state_dict()
    before = model.state_dict()
    head = ["3.weight", "3.bias"]
    refused(model, given(state), "of another shape: 3.weight")
    found = load_weights(model, given(state), head=head)
    assert list(found.replaced) == head and len(found.loaded) == 6
    np.testing.assert_array_equal(model.state_dict()["3.weight"], before["3.weight"])
    np.testing.assert_array_equal(model.state_dict()["0.weight"], state["0.weight"])
    again = load_weights(net(2), given(state), head=head)
    assert again.replaced == () and len(again.loaded) == 8


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_weights_that_are_no_numbers(value: float) -> None:
    state: dict[str, Any] = net().state_dict()
    state["3.weight"] = np.full((2, 4), value)
    refused(net(), given(state), "3.weight in w holds 8 values that are NaN or infinite")


def test_other_types_and_doubled_names() -> None:
    state: dict[str, Any] = net().state_dict()
    refused(net(), given({**state, "3.weight": np.ones((2, 4), complex)}), "complex128")
    doubled = {f"module.{n}": v for n, v in state.items()}
    assert len(load_weights(net(), given(doubled)).loaded) == 8
    doubled = {f"_orig_mod.{n}": v for n, v in doubled.items()}
    counted = {**doubled, "_orig_mod.module.1.num_batches_tracked": np.int64(3)}
    assert load_weights(net(), given(counted)).unexpected == ()


def test_a_state_dict_of_another_net() -> None:
    vgg = models.create("vgg11(width=0.0625, small)", (3, 32, 32), 4)
    resnet = models.create("resnet20(width=0.25)", (3, 32, 32), 4)
    refused(resnet, given(vgg.state_dict()), "0 of its", "unknown to the model: features.0.weight",
            "more)")


def test_old_names_of_densenet() -> None:
    model = models.densenet.DenseNet((2, 2), 3, width=0.125, input_size=32)
    state = model.state_dict()
    old = {n.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): v
           for n, v in state.items()}
    assert set(old) != set(state)
    assert set(load_weights(model, given(old)).loaded) == set(state)
    refused(model, given({**old, **state}), "under two names")


def test_a_googlenet_with_batch_norm_has_no_counterpart() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            self.branch1 = nn.Conv2d(2, 2, 1)

    class Net(nn.Module):
        def __init__(self) -> None:
            self.inception3a = Branch()

    refused(Net(), given({"inception3a.branch1.conv.weight": np.ones((2, 2, 1, 1)),
                          "inception3a.branch1.bn.weight": np.ones(2)}),
            "GoogLeNet with batch norm")


# By order -----------------------------------------------------------------------------------------


def book_net() -> nn.Module:
    """What "Deep learning from scratch", chapter 7, calls SimpleConvNet, and a norm."""
    return nn.Sequential(nn.Conv2d(1, 3, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(12, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))


def book_arrays() -> dict[str, np.ndarray]:
    return {"W1": RNG.normal(size=(3, 1, 5, 5)), "b1": RNG.normal(size=3),
            "W2": RNG.normal(size=(12, 5)), "b2": RNG.normal(size=5),
            "W3": RNG.normal(size=(5, 2)), "b3": RNG.normal(size=2)}


def test_a_textbooks_params_by_order(tmp_path: Path) -> None:
    params = book_arrays()
    path = tmp_path / "params.pkl"
    path.write_bytes(pickle.dumps(params))
    plain = list(book_net().children())
    del plain[5]
    model = nn.Sequential(*plain)
    load_weights(model, path)
    x = RNG.normal(size=(4, 1, 8, 8)).astype(np.float32)
    maps = np.stack([[(x[:, 0, i:i + 5, j:j + 5, None] * params["W1"][:, 0].transpose(1, 2, 0)
                       ).sum((1, 2)) for j in range(4)] for i in range(4)])  # (4, 4, N, 3)
    maps = np.maximum(maps + params["b1"], 0).transpose(2, 3, 0, 1)
    maps = maps.reshape(4, 3, 2, 2, 2, 2).max((3, 5)).reshape(4, 12)
    y = np.maximum(maps @ params["W2"] + params["b2"], 0) @ params["W3"] + params["b3"]
    np.testing.assert_allclose(model.eval()(x).data, y, rtol=1e-4, atol=1e-5)


def test_norms_have_gamma_and_beta() -> None:
    params = {**book_arrays(), "gamma1": np.full(5, 2.0), "beta1": np.full(5, 3.0)}
    refused(book_net(), given(params, True), "missing in the file: 5.running_mean")
    model = book_net()
    found = load_weights(model, given(params, True), allow_unmatched=True)
    assert found.missing == ("5.running_mean", "5.running_var")
    assert model.state_dict()["5.bias"].tolist() == [3] * 5
    np.testing.assert_allclose(model.state_dict()["7.weight"], params["W3"].T, rtol=1e-6)


def test_the_order_of_numbers_not_of_letters() -> None:
    layers = [nn.Linear(i + 1, i + 2) for i in range(11)]
    params = {f"W{i + 1}": np.full((i + 1, i + 2), float(i)) for i in range(11)}
    params |= {f"b{i + 1}": np.full(i + 2, float(i)) for i in range(11)}
    model = nn.Sequential(*layers)
    load_weights(model, given(dict(sorted(params.items())), True))
    assert [layer.weight.data.flat[0] for layer in layers] == list(range(11))


def test_square_matrices_take_the_layout_of_the_others_or_are_refused() -> None:
    square = RNG.normal(size=(3, 3)).astype(np.float32)
    arrays = {"W1": square, "b1": np.zeros(3), "W2": np.ones((3, 2)), "b2": np.zeros(2)}
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    load_weights(model, given(arrays, True))
    np.testing.assert_array_equal(model.state_dict()["0.weight"], square.T)
    load_weights(model, given({**arrays, "W2": np.ones((2, 3))}, True))
    np.testing.assert_array_equal(model.state_dict()["0.weight"], square)
    refused(nn.Sequential(nn.Linear(3, 3)), given({"W1": square, "b1": np.zeros(3)}, True),
            "square (W1)")


@pytest.mark.parametrize(("change", "match"), [
    ({"W4": np.ones((2, 2))}, "4 arrays for weight (W1, W2, W3, W4), the model 3"),
    ({"learning_rate": np.ones(1)}, "learning_rate in w is no name that tells a place"),
    ({"W2": np.ones((12, 6))}, "4.weight ((6, 12) in the file, (5, 12) in the model)")])
def test_what_cannot_be_matched_by_order(change: dict[str, Any], match: str) -> None:
    plain = list(book_net().children())
    del plain[5]
    model = nn.Sequential(*plain)
    refused(model, given({**book_arrays(), **change}, True), match)


def test_a_pickle_with_the_models_own_names(tmp_path: Path) -> None:
    state = net().state_dict()
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(state))
    assert len(load_weights(net(), tmp_path / "w.pkl").loaded) == 8
    save_file({n: v for n, v in state.items() if n != "0.bias"}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"missing in the file: 0\.bias"):
        load_weights(net(), tmp_path / "w.safetensors")
