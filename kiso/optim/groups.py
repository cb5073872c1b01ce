"""Groups: other settings for some of the parameters, chosen by name or by number of axes."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from kiso.errors import ConfigError
from kiso.ops import Value, shape_of
from kiso.optim.checks import check_options, count, number, suggestion
from kiso.text import tr

__all__ = ["Group", "Setting", "check_groups", "no_decay_on_bias_and_norm", "setting_of"]


@dataclass(frozen=True)
class Group:
    """Settings for the parameters whose name matches a shell pattern (`*`, `?`, `[abc]`).

    lr_scale       multiplies the learning rate; 0 keeps the parameters as they are
    weight_decay   replaces the rule's weight decay; None leaves it
    l1             replaces the rule's L1 penalty; None leaves it
    max_ndim       only parameters of at most so many axes; None: all
    required       refuse a model in which the pattern matches no parameter (a typing mistake)

    All groups that match a parameter apply, in order: scales multiply, later penalties win.

        Adam(groups=(Group("head.*", lr_scale=10), *no_decay_on_bias_and_norm()))
    """

    pattern: str
    lr_scale: float = number(1.0)
    weight_decay: float | None = number(None)
    l1: float | None = number(None)
    max_ndim: int | None = count(None, low=0)
    required: bool = True

    def __post_init__(self) -> None:
        check_options(self)

    def matches(self, name: str, ndim: int) -> bool:
        """Whether a parameter of this name and number of axes belongs to the group."""
        small = self.max_ndim is None or ndim <= self.max_ndim
        return small and fnmatchcase(name, self.pattern)


@dataclass(frozen=True)
class Setting:
    """What holds for one parameter in the end."""

    lr_scale: float
    weight_decay: float
    l1: float


def no_decay_on_bias_and_norm() -> tuple[Group, ...]:
    """No penalty on biases and on the scales and shifts of normalisation layers.

    These are the parameters named `bias` and those of one axis. Decay pulls weights to 0 in order
    to keep the function smooth; a bias or a scale near 1 has no such effect.
    """
    return (Group("*bias", weight_decay=0.0, l1=0.0, required=False),
            Group("*", weight_decay=0.0, l1=0.0, max_ndim=1, required=False))


def setting_of(groups: tuple[Group, ...], name: str, p: Value, start: Setting) -> Setting:
    """Apply all groups that match one parameter."""
    scale, decay, l1 = start.lr_scale, start.weight_decay, start.l1
    for group in groups:
        if group.matches(name, len(shape_of(p))):
            scale *= group.lr_scale
            decay = decay if group.weight_decay is None else group.weight_decay
            l1 = l1 if group.l1 is None else group.l1
    return Setting(scale, decay, l1)


def check_groups(groups: tuple[Group, ...], params: dict[str, Any]) -> None:
    """Refuse a required group that matches nothing (ConfigError)."""
    for group in groups:
        if group.required and not any(
                group.matches(name, len(shape_of(p))) for name, p in params.items()):
            raise ConfigError(tr(
                "group {pattern} matches no parameter; the parameters are: {names}.{hint}",
                pattern=repr(group.pattern), names=", ".join(params),
                hint=suggestion(group.pattern, params)))
