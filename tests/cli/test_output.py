"""Streams: colours only in a terminal, one JSON document, any encoding, numbers that JSON knows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kiso.cli import output as output_module
from kiso.cli.figures import per_cent, score_rows, significant
from kiso.cli.output import Output, finite, list_some

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(float("nan"), None), (float("-inf"), None), (np.float32(0.5), 0.5), (np.int64(3), 3),
     (Path("a/b"), "a/b"), ((1, 2.5, None), [1, 2.5, None]), ("NaN", "NaN"), (True, True),
     ({"x": [float("inf"), {"y": np.array([1.0, np.nan])}]}, {"x": [None, {"y": [1.0, None]}]})])
def test_json_values(value: object, expected: object) -> None:
    found = finite(value)
    assert found == expected
    assert json.loads(json.dumps(found, allow_nan=False)) == expected


def test_a_list_has_an_end() -> None:
    assert list_some(["a"] * 10) == ["a"] * 10
    assert list_some([str(i) for i in range(1500)], 2) == ["0", "1", "... and 1,498 more"]


@pytest.mark.parametrize(("value", "text"), [(0.06543219, "0.06543"), (12.3456, "12.35"),
                                             (4321.5, "4322"), (76543.21, "76,543"), (0, "0")])
def test_significant(value: float, text: str) -> None:
    assert significant(value) == text


def test_scores_that_are_there() -> None:
    metrics = {"test_accuracy": 0.98276, "test_loss": 0.0654321, "test_mae": None}
    found = score_rows(metrics, "test_")
    assert found == [("accuracy", "98.28 %"), ("loss", "0.06543")]
    assert per_cent(1) == "100.00 %"


def test_plain_lines_keep_their_length(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    long = "/a/very/long/path" * 15
    out = Output()
    out.fields([("name", long), ("second", ["one", "two [not markup]"])])
    out.table(["name", "number"], [[long, "1"]], numbers=(1,))
    text = capsys.readouterr().out
    assert text.count(long) == 2
    assert "  second  one\n          two [not markup]\n" in text
    assert "\x1b" not in text
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_japanese_columns_are_aligned(capsys: Captured) -> None:
    Output().fields([("データ", "x"), ("ab", "y")])
    assert capsys.readouterr().out == "  データ  x\n  ab      y\n"


@pytest.mark.parametrize(("options", "expected"), [({}, (1, 0, 1)), ({"quiet": True}, (0, 0, 1)),
                                                   ({"json": True}, (0, 1, 1))])
def test_who_hears_what(capsys: Captured, options: dict[str, bool],
                        expected: tuple[int, int, int]) -> None:
    out = Output(**options)
    out.show("text for people")
    out.fields([("text", "for people")])
    out.table(["text"], [["for people"]])
    out.document({"a": 1})
    out.error("wrong")
    seen = capsys.readouterr()
    talks, writes, fails = expected
    assert ("people" in seen.out) == talks
    assert (json.loads(seen.out) == {"a": 1} if writes else "{" not in seen.out)
    assert (seen.err == "error: wrong\n") == fails


def test_warnings_are_not_for_quiet(capsys: Captured) -> None:
    Output().warn("hm")
    Output(quiet=True).warn("hm")
    Output(quiet=True).note("hm")
    assert capsys.readouterr().err == "warning: hm\n"


def test_errors_are_red_in_a_terminal_only(capsys: Captured,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    Output().error("wrong [0]")
    assert capsys.readouterr().err == "\x1b[1;31merror:\x1b[0m wrong [0]\n"


def test_messages_are_not_cut_into_lines(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal wraps by itself: a path stays one word, a caret below what it points at."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    message = "word " * 20 + "\n  linear10 rulu\n           ^^^^"
    Output().error(message)
    assert capsys.readouterr().err.endswith(message + "\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "shift_jis"])
@pytest.mark.parametrize("words", [["--help"], ["info"], ["info", "--json"], ["no-such-command"],
                                   ["summary", "relu", "--input", "4"]], ids=str)
def test_any_encoding(encoding: str, words: list[str]) -> None:
    env = {**os.environ, "PYTHONIOENCODING": encoding, "KISO_LANG": "ja"}
    done = subprocess.run([sys.executable, "-m", "kiso", *words], env=env, capture_output=True,
                          check=False)
    assert done.returncode == (2 if words == ["no-such-command"] else 0)
    assert b"Traceback" not in done.stderr
    if words != ["--help"]:  # which the parser writes as UTF-8 where it takes ASCII for a mistake
        assert (done.stdout or done.stderr).decode(encoding)
    if "--json" in words:
        assert "mnist" in json.loads(done.stdout)["data_sets"]


def test_json_keeps_every_character(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where the stream cannot write it as it is."""
    for encoding in ("utf-8", "ascii"):
        path = tmp_path / encoding
        with path.open("w", encoding=encoding, errors="replace") as stream:
            monkeypatch.setattr(output_module.sys, "stdout", stream)
            Output(json=True).document({"class": "猫"})
        assert json.loads(path.read_text(encoding)) == {"class": "猫"}
