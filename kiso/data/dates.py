"""Dates and times in table cells: recognised, and turned into one number when asked for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from datetime import datetime

__all__ = ["date_format", "date_number"]

_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y",
          "%Y年%m月%d日")
_TIMES = ("%H:%M:%S", "%H:%M", "%H.%M.%S", "%H:%M:%S.%f", "%H:%M:%SZ")
_FORMATS = (*_DATES, *_TIMES, *(date + between + time for date, between, time
                                in itertools.product(_DATES, (" ", "T"), _TIMES)))
_DIGITS = re.compile(r"\d+")
_EPOCH = datetime(1970, 1, 1)


def _parses(cell: str, form: str) -> bool:
    try:
        datetime.strptime(cell, form)
    except ValueError:
        return False
    return True


def date_format(cells: Sequence[str]) -> str | None:
    """The format in which all (non-missing) cells are dates or times, or None.

    3/4/2020 is read day first, unless another cell of the column rules that out.
    """
    distinct = sorted(set(cells))
    if not distinct or len({_DIGITS.sub("0", cell) for cell in distinct}) > 8:
        return None  # dates of one format have few shapes: 0/0/0; free text has many
    for form in _FORMATS:
        if _parses(distinct[0], form) and all(_parses(cell, form) for cell in distinct):
            return form
    return None


def date_number(cell: str, form: str) -> float:
    """Days since 1970-01-01 for dates (time of day as a fraction); hours for times alone."""
    moment = datetime.strptime(cell, form)
    if "%d" not in form:
        return moment.hour + moment.minute / 60 + moment.second / 3600
    return (moment - _EPOCH).total_seconds() / 86400
