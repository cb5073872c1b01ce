"""Every error that Kiso raises on purpose.

One tree, so that `except KisoError` catches all of them, and each class is also the built-in error
that a Python programmer expects (`ValueError`, `OSError`). A message says what was expected, what
came and what to do.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DTypeError",
    "DataError",
    "DescriptionError",
    "DivergedError",
    "GradientError",
    "GraphError",
    "KisoError",
    "OutputError",
    "ShapeError",
]


class KisoError(Exception):
    """Base of all errors below; `exit_code` is what a command returns for it."""

    exit_code = 2


class ShapeError(KisoError, ValueError):
    """Shapes do not fit together; the message holds the formula with the numbers filled in."""


class DTypeError(KisoError, TypeError):
    """A value of another type was expected (integers for indices, floats for gradients)."""


class GradientError(KisoError, RuntimeError):
    """A gradient was asked for that does not exist."""


class GraphError(KisoError, ValueError):
    """A traced graph breaks a rule of its grammar, or a function cannot be traced."""


class ConfigError(KisoError, ValueError):
    """An option or environment variable has an unusable value."""


class DescriptionError(ConfigError):
    """A model description in text has a word that cannot be read."""


class DataError(KisoError, ValueError):
    """Data are missing, broken or not what the task needs."""


class OutputError(KisoError, OSError):
    """A result cannot be written (no permission, disk full)."""


class CheckpointError(KisoError, ValueError):
    """A checkpoint is damaged or belongs to another model."""


class DivergedError(KisoError, ArithmeticError):
    """Training produced NaN or infinity; the message names where and what to try."""

    exit_code = 3
