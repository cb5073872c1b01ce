"""Will a step fit in memory? Asked after planning, before anything is allocated."""

from __future__ import annotations

from kiso.errors import ConfigError
from kiso.text import tr

__all__ = ["check_memory"]


def check_memory(batch: int, needed: int, between: int, fixed: int, available: int | None) -> None:
    """Refuse a step that does not fit, with a batch size that would.

    needed: bytes of all that the step allocates or is given anew: inputs, outputs, scratch, and
    `between`, the values between kernels. fixed: the part of `needed` that does not grow with the
    batch (weights, their state). available: see `config`; None: nothing is refused.
    """
    if available is None or needed <= available:
        return
    # A little less than fits, at three binary digits: 1365 becomes 1280.
    fits = (available - fixed) * batch // max(needed - fixed, 1)
    places = max(fits.bit_length() - 3, 0)
    fits = fits >> places << places
    numbers = {"batch": batch, "needed": _size(needed), "between": _size(between),
               "available": _size(available)}
    if fits < 1:
        raise ConfigError(tr("a step with batch {batch} needs {needed}, of which {between} hold "
                             "values between kernels; {available} are available, too little for "
                             "any batch size. Use a smaller model or a machine with more memory.",
                             **numbers))
    raise ConfigError(tr("a step with batch {batch} needs {needed}, of which {between} hold values "
                         "between kernels; {available} are available. Use --batch-size {fits} or "
                         "less.", fits=fits, **numbers))


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"
