"""benchmarks.precision: errors within their bound, figures of some seeds, what the file holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import precision
from benchmarks.precision import BOUND, GRID, PARTS, Recipe, errors
from tests.compiler.test_codegen import reachable

QUICK = {"host": GRID[:8], "avx2": GRID[1::3]}
CASES = [pytest.param(processor, shape, marks=() if shape in quick else pytest.mark.slow)
         for processor, quick in QUICK.items() for shape in GRID]


@pytest.fixture(autouse=True, scope="module")
def one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all: shapes share kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KISO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize(("processor", "shape"), CASES)
def test_errors_are_at_most_three_times_those_of_the_direct_form(
        processor: str, shape: tuple[int, int, int, int, int, int],
        monkeypatch: pytest.MonkeyPatch) -> None:
    if processor not in ("host", *reachable()):
        pytest.skip(f"this processor has no {processor}")
    monkeypatch.setenv("KISO_TARGET", processor)
    rows = errors(shape)
    assert [row["part"] for row in rows] == list(PARTS)
    assert all(0 < row[form] < 3e-6 for row in rows for form in ("direct", "winograd"))
    assert {row["part"]: row["ratio"] for row in rows if row["ratio"] > BOUND} == {}


def test_where_the_form_does_not_exist_both_are_the_direct_one() -> None:
    rows = errors((1, 64, 64, 1, 1, 1))
    assert all(row["ratio"] == 1 and not row["auto"] for row in rows)
    assert all(row["auto"] for row in errors((2, 64, 64, 32, 32, 1)))


def test_noise() -> None:
    """Within: at most two standard errors from 0, and less than seeds differ."""
    direct = np.array([1.0, 3.0, 2.0, 6.0])
    found = precision.noise(direct, direct + np.array([0.5, -0.5, 0.5, -0.5]))
    assert found["direct"] == 3 and found["difference"] == 0 and found["rms"] == 0.5
    assert found["spread"] == pytest.approx((14 / 3) ** 0.5)
    assert found["difference_spread"] == pytest.approx((1 / 3) ** 0.5)
    assert found["standard_error"] == pytest.approx((1 / 12) ** 0.5)
    assert found["within"] and precision.noise(direct, direct)["within"]
    for difference in ([0.5, 0.5, 0.4, 0.4], [5, -5, 5, -5]):  # always above; another noise
        assert not precision.noise(direct, direct + np.array(difference))["within"]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                     capsys: pytest.CaptureFixture[str]) -> None:
    """Two seeds of a small net, and the fields of the file; 1 if something is out of bounds."""
    recipe = Recipe("conv16k3p1 relu conv16k3p1 relu flatten linear10", 200, 100, 2)
    monkeypatch.setattr(precision, "GRID", GRID[6:8])
    monkeypatch.setattr(precision, "RECIPES", {"digits": recipe})
    out = tmp_path / "precision.json"
    code = precision.main(["--seeds", "2", "--json", str(out)])
    printed = capsys.readouterr().out
    assert "| 4, 32, 32, 2, 3, 1 |" in printed and "| digits | val_accuracy | 1 |" in printed
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    assert set(found) == {"errors", "curves"}
    assert len(found["errors"]) == 2 * len(PARTS)
    assert set(found["errors"][0]) == {"shape", "part", "direct", "winograd", "ratio", "auto"}
    keys = [(row["data"], row["quantity"], row["epoch"]) for row in found["curves"]]
    assert keys == [("digits", q, e) for q in ("val_accuracy", "train_loss") for e in (1, 2)]
    for row in found["curves"]:
        assert set(row) == {"data", "quantity", "epoch", "direct", "spread", "difference",
                            "difference_spread", "standard_error", "rms", "within", "each"}
        each = row["each"]
        assert len(each["direct"]) == len(each["winograd"]) == 2
        assert np.ptp(each["direct"]) > 0  # seeds differ
        np.testing.assert_allclose(each["winograd"], each["direct"], rtol=0.05)
    losses = found["curves"][-1]["each"]
    assert losses["direct"] != losses["winograd"]  # another rounding
    lines = precision.broken(found)
    assert code == bool(lines) and all(line in printed for line in lines)
    assert ("Within bounds" in printed) == (not lines)


def test_every_promise_that_is_not_kept_is_told() -> None:
    error = {"ratio": 3.25, "part": "forward", "shape": [1, 2]}
    curve = {"quantity": "train_loss", "data": "mnist", "epoch": 2, "within": False}
    found = precision.broken({"errors": [error, error | {"ratio": 3}],
                              "curves": [curve, curve | {"within": True}]})
    assert found == ["ratio 3.25 > 3: forward of (1, 2)",
                     "not within seed noise: train_loss of mnist, epoch 2"]


def test_one_seed_has_no_spread(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        precision.main(["--seeds", "1"])
    assert "at least 2" in capsys.readouterr().err
