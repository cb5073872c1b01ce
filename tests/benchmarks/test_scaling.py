"""benchmarks.scaling: a row for each batch, a time for each number of threads."""

from __future__ import annotations

import pytest

from benchmarks import scaling
from benchmarks.nets import Net


def test_a_table_is_printed(monkeypatch: pytest.MonkeyPatch,
                            capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(scaling.NETS, "mlp", Net("linear4 relu linear3", (6,), 5, 3))
    assert scaling.main(["--nets", "mlp", "--batches", "1,3", "--threads", "1,2",
                         "--seconds", "0.001"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mlp:"
    rows = [[float(x.replace(",", "")) for x in line.strip("|").split("|")] for line in lines[4:6]]
    assert [row[0] for row in rows] == [1, 3]
    for batch, one, rate, two, _ in rows:
        assert one > 0 and two > 0
        assert rate == pytest.approx(1e3 * batch / one, rel=0.01)
