"""Which PyTorch net is the twin of which net of `kiso.models`. Only PyTorch's side imports this."""

from __future__ import annotations

from typing import Any

from benchmarks.functional import Unknown
from benchmarks.torch_zoo import mobilenet, resnet
from benchmarks.torch_zoo_more import alexnet, googlenet, unet
from kiso.models import Net

__all__ = ["zoo_twin"]

ALEXNET = [f"features.{i}.weight" for i in (0, 3, 6, 8, 10)]


def zoo_twin(model: Net, drop: Any) -> Any:
    """The PyTorch net with the names of this one and the sizes of its weights; first weights are
    PyTorch's. `drop(p)` makes the dropout layers, in the order in which they draw.

    Errors: Unknown for a net that has no twin here.
    """
    sizes = {name: value.shape for name, value in model.state_dict().items()}
    match model.text.partition("(")[0]:
        case "alexnet":
            units, inputs = sizes["classifier.1.weight"]
            return alexnet(tuple(sizes[name][0] for name in ALEXNET), inputs, units,
                           *sizes["classifier.6.bias"], small=model.small, drop=drop)
        case "googlenet":
            return googlenet(64 // sizes["conv1.conv.bias"][0], *sizes["fc.bias"],
                             small=model.small, drop=drop)
        case "mobilenet_v1":
            return mobilenet(*sizes["bn1.bias"], *sizes["fc.bias"], 1 if model.small else 2)
        case "resnet50":
            return resnet((3, 4, 6, 3), *sizes["bn1.bias"], *sizes["fc.bias"], bottleneck=True,
                          large=not model.small)
        case "unet":
            return unet(*sizes["down.0.conv1.bias"], *sizes["head.bias"])
        case other:
            raise Unknown(f"no PyTorch twin for {other}; add one to zoo_twin()")
