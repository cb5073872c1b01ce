"""ONNX Runtime's side of the inference race: the model as an ONNX graph, made layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.functional import forward, pair
from kiso import nn

__all__ = ["OnnxAnswers", "onnx_model"]

OPSET, IR = 17, 9


class Nodes:
    """The layers as ONNX nodes; a value is its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []

    def _node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(self, x: str, w: str, b: str | None, layer: nn.Conv2d) -> str:
        return self._node("Conv", x, w, *([b] if b else []), strides=pair(layer.stride),
                          pads=2 * pair(layer.padding), dilations=pair(layer.dilation),
                          group=layer.groups)

    def linear(self, x: str, w: str, b: str | None) -> str:
        return self._node("Gemm", x, w, *([b] if b else []), transB=1)

    def batch_norm(self, x: str, named: Mapping[str, str], name: str, layer: Any) -> str:
        parts = (named[f"{name}.{part}"] for part in ("weight", "bias", "running_mean",
                                                      "running_var"))
        return self._node("BatchNormalization", x, *parts, epsilon=layer.eps)

    def max_pool(self, x: str, layer: nn.MaxPool2d) -> str:
        return self._node("MaxPool", x, **_window(layer))

    def avg_pool(self, x: str, layer: nn.AvgPool2d) -> str:
        return self._node("AveragePool", x, **_window(layer),
                          count_include_pad=int(layer.count_include_pad))

    def global_avg_pool(self, x: str) -> str:
        return self.flatten(self._node("GlobalAveragePool", x))

    def flatten(self, x: str) -> str:
        return self._node("Flatten", x)

    def relu(self, x: str) -> str:
        return self._node("Relu", x)

    def sigmoid(self, x: str) -> str:
        return self._node("Sigmoid", x)

    def add(self, x: str, y: str) -> str:
        return self._node("Add", x, y)

    def dropout(self, x: str, p: float) -> str:
        return x  # nothing is dropped in inference


def _window(layer: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    return {"kernel_shape": pair(layer.kernel_size), "strides": pair(layer.stride),
            "pads": 2 * pair(layer.padding), "ceil_mode": int(layer.ceil_mode)}


def onnx_model(model: nn.Module, shape: tuple[int, ...]) -> bytes:
    """The model in inference mode for inputs of this shape (N, ...), as an ONNX file."""
    from onnx import TensorProto, helper, numpy_helper

    state = {name: np.asarray(value) for name, value in model.state_dict().items()}
    made = Nodes()
    y = forward(made, model, "x", {name: name for name in state})
    graph = helper.make_graph(
        made.nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in state.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                             ir_version=IR).SerializeToString()


class OnnxAnswers:
    """A session; `step()` is one forward pass of the batch."""

    def __init__(self, model: nn.Module, x: np.ndarray, threads: int):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.session = ort.InferenceSession(onnx_model(model, x.shape), options,
                                            providers=["CPUExecutionProvider"])
        self.x = x

    def step(self) -> np.ndarray:
        """The outputs for the batch."""
        return self.session.run(None, {"x": self.x})[0]
