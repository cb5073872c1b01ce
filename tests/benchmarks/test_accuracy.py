"""benchmarks.accuracy: the whole command, the caches, the target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import accuracy

DIGITS = ["--data", "digits", "--model", "flatten linear32 relu linear10", "--seeds", "1"]


def test_a_run_is_timed_and_the_target_is_checked(tmp_path: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "accuracy.json"
    command = [*DIGITS, "--json", str(out), "--cold", "--target"]
    assert accuracy.main([*command, "0.5", "--", "--epochs", "5", "--lr", "0.01"]) == 0
    assert "median" in capsys.readouterr().out
    found = json.loads(out.read_text("utf-8"))
    assert set(found) == {"seconds", "seeds", "accuracy"}
    assert found["seeds"] == 1 and 0.5 < found["accuracy"] <= 1 and found["seconds"] > 0.1
    assert accuracy.main([*command, "1.01", "--", "--epochs", "1"]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_cold_runs_share_no_cache_and_warm_runs_do(monkeypatch: pytest.MonkeyPatch) -> None:
    caches: list[Path] = []

    def train(data: str, model: str, options: Any, seed: int, cache: Path) -> Any:
        caches.append(cache)
        return 5.0 - seed, {"seconds_total": 2.0, "seconds_train": 1.0, "seconds_compile": 0.5,
                            "test_accuracy": 0.9}

    monkeypatch.setattr(accuracy, "train", train)
    common = ["--target", "0.9", "--seeds", "3"]
    assert accuracy.main([*common, "--cold"]) == 0
    assert len(caches) == len(set(caches)) == 3
    caches.clear()
    assert accuracy.main([*common, "--warm"]) == 0
    assert len(caches) == 4 and len(set(caches)) == 1


def test_a_failing_command_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no_such_layer"):
        accuracy.train("digits", "no_such_layer", (), 0, tmp_path)


def test_cold_or_warm_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        accuracy.parser().parse_args(["--target", "0.9"])
    assert "--cold" in capsys.readouterr().err
