"""From ops to loops: every op's result as a function of its indices, family by family.

    elementwise   elementwise, arithmetic, compare, activation, special of the textbook (ops/)
    shape         shape, broadcast, index, resample
    reduce        reduce, matmul, softmax, loss, norm
    windows       im2col, conv, pool
    banded        banded
    random        random
"""

from importlib import import_module
from pkgutil import iter_modules

from kiso.compiler.lower.rules import RULES

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["RULES"]
