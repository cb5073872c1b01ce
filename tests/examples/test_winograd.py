"""The script on Winograd's filtering: what it prints is true."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "winograd.py"


def test_it_shows_equal_results_and_counts_products(capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(EXAMPLE))
    printed = capsys.readouterr().out
    assert "direct 144, here 36, 4 times fewer" in printed
    blocks = {block.splitlines()[0]: block.splitlines()[1:] for block in printed.split("\n\n")}
    assert len(blocks["the 36 products (G g G^T) * (B^T d B)"]) == 6
    shown = np.array([row.split() for row in blocks["the direct sum"]], float)
    windows = np.lib.stride_tricks.sliding_window_view(names["d"], (3, 3))
    np.testing.assert_array_equal(shown, np.einsum("ijkl,kl->ij", windows, names["g"]))
    assert blocks["results A^T [products] A"] == blocks["the direct sum"]
    # Products are below 100, so rounding makes about 1e-13 at most.
    assert float(re.search(r"largest difference: (\S+)", printed)[1]) < 1e-11
    assert float(re.search(r"(\S+) times larger", printed)[1]) > 1.5
