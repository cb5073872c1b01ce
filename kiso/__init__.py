"""Kiso: deep learning from zero, in pure Python, readable like a textbook.

    import kiso
    result = kiso.fit("conv30k5 relu pool2 linear100 relu linear10", "digits", epochs=5)

Folders, in reading order: ops (the textbook), autograd, compiler, nn, optim, models, data, train,
report, cli. Names are loaded when they are first used, so that the import itself is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kiso import (
        autograd,
        compiler,
        data,
        errors,
        interop,
        models,
        nn,
        ops,
        optim,
        report,
        train,
    )
    from kiso.autograd import Tensor, grad, gradcheck, no_grad
    from kiso.compiler import trace
    from kiso.errors import KisoError
    from kiso.function import compile
    from kiso.nn import manual_seed
    from kiso.train import evaluate, find_lr, fit, predict, resume

__version__ = "0.1.0"

_MODULES = ("autograd", "compiler", "data", "errors", "interop", "models", "nn", "ops", "optim",
            "report", "train")
_NAMES = {
    "KisoError": "errors", "Tensor": "autograd", "compile": "function", "evaluate": "train",
    "find_lr": "train", "fit": "train", "grad": "autograd", "gradcheck": "autograd",
    "manual_seed": "nn", "no_grad": "autograd", "predict": "train", "resume": "train",
    "trace": "compiler",
}

__all__ = [
    "KisoError",
    "Tensor",
    "autograd",
    "compile",
    "compiler",
    "data",
    "errors",
    "evaluate",
    "find_lr",
    "fit",
    "grad",
    "gradcheck",
    "interop",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "predict",
    "report",
    "resume",
    "trace",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"kiso.{name}")
    if name in _NAMES:
        return getattr(import_module(f"kiso.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'kiso' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
