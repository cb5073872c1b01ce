"""The five nets of 1989: the order that the paper found holds here too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "lenet1989.py"


@pytest.mark.slow
def test_the_order_of_the_paper(shared_data: Path) -> None:
    done = subprocess.run([sys.executable, str(EXAMPLE), str(shared_data)], capture_output=True,
                          text=True, check=True, env=dict(os.environ))
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("Net-")]
    assert [row[1:3] for row in rows] == [["2570", "2570"], ["3214", "3214"], ["1226", "1226"],
                                          ["1132", "2266"], ["1060", "5194"]]
    one, two, three, four, five = (float(row[3]) for row in rows)
    assert 70 < one < two <= three < four < five
    assert [row[5] for row in rows] == ["80.0", "87.0", "88.5", "94.0", "98.4"]
