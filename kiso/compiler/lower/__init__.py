"""From ops to loops: one twin file for each file of the textbook."""

from importlib import import_module
from pkgutil import iter_modules

from kiso.compiler.lower.rules import RULES, Rule, lowers, spread

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["RULES", "Rule", "lowers", "spread"]
