"""Whole runs on small made-up data: pictures and tables, judged and used on new files."""

import csv
import errno
import json
import re
import tempfile

import numpy as np
import pytest
from PIL import Image

from kiso.errors import CheckpointError, ConfigError, DataError, OutputError
from kiso.train import TrainOptions, evaluate, predict, resume, train
from kiso.train.store import Store


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes that a tiny net separates: bright at the top, bright at the bottom."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, half in (("top", slice(0, 6)), ("bottom", slice(6, 12))):
        (root / name).mkdir()
        for i in range(30):
            pixels = rng.integers(0, 60, (12, 12, 3), np.uint8)
            pixels[half] += 150
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def picture_run(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "r"
    train(TrainOptions(data=str(pictures), model="flatten linear2", epochs=15, batch_size=8,
                       lr=0.02, out=str(out)))
    return out


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "houses.csv"
    rng = np.random.default_rng(1)
    rows = []
    for i in range(400):
        size, town = rng.uniform(20, 200), "abc"[rng.integers(3)]
        price = 3 * size + {"a": 50, "b": 0, "c": -40}[town] + rng.normal()
        rows.append([f"{size:.2f}", town, "" if i == 7 else f"{price:.2f}"])
    write(path, [["size", "town", "price"], *rows])
    return path


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture(scope="module")
def table_run(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "t"
    train(TrainOptions(data=str(table), target="price", model="linear1", epochs=60, batch_size=32,
                       lr=0.02, out=str(out)))
    return out


def test_pictures_are_learned_and_new_ones_told_apart(pictures, picture_run, tmp_path):
    metrics = json.loads((picture_run / "metrics.json").read_text("utf-8"))
    assert metrics["test_accuracy"] == 1.0 and metrics["samples"]["train"] == 42
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    answers = predict(picture_run, [pictures / "top" / "3.png", tmp_path / "broken.png",
                                    tmp_path / "missing.png"])
    assert answers[0].label == "top" and answers[0].probabilities["top"] > 0.5
    assert sum(answers[0].probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert answers[0].problem is None
    assert answers[1].label is None and answers[1].problem
    assert "missing.png" in answers[2].problem


def test_predictions_repeat_those_of_the_run(pictures, picture_run):
    """The same files through `predict` and through training's test split: the same numbers."""
    arrays = np.load(picture_run / "predictions.npz")
    names = [str(name) for name in arrays["names"]]
    answers = predict(picture_run, [pictures / name for name in names])
    for answer, row in zip(answers, arrays["output"], strict=True):
        found = [answer.probabilities[name] for name in map(str, arrays["classes"])]
        np.testing.assert_allclose(found, row, rtol=1e-5, atol=1e-7)


def test_evaluate_on_other_pictures_of_another_size(picture_run, tmp_path):
    for name, value in (("bottom", 200), ("top", 10)):  # an all-bright and an all-dark class
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = np.full((30, 20, 3), value + i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    found = evaluate(picture_run, str(tmp_path))
    assert found["samples"] == 6 and found["split"] == "all"


def test_evaluate_refuses_unknown_classes(picture_run, tmp_path):
    for name in ("left", "top"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(np.full((12, 12, 3), i, np.uint8)).save(tmp_path / name / f"{i}.png")
    with pytest.raises(DataError, match="left"):
        evaluate(picture_run, str(tmp_path))
    with pytest.raises(DataError, match="CSV table"):
        path = write(tmp_path / "t.csv", [["a", "b"], *[[i, i * 1.5] for i in range(50)]])
        evaluate(picture_run, str(path))


def test_table_is_fitted_and_a_row_filled(table_run, tmp_path):
    metrics = json.loads((table_run / "metrics.json").read_text("utf-8"))
    assert metrics["test_r2"] > 0.99 and metrics["test_mae"] < 10
    assert metrics["test_accuracy"] is None and sum(metrics["samples"].values()) == 399
    path = write(tmp_path / "new.csv", [["town", "size"], ["a", 100], ["c", 100], ["z", ""]])
    answers = predict(table_run, [path])
    assert answers[0].values["price"] == pytest.approx(350, abs=10)
    assert answers[1].values["price"] == pytest.approx(260, abs=10)
    assert answers[2].values is not None and "z" in " ".join(answers[2].notes)
    assert answers[0].notes == ()


def test_evaluate_of_other_rows_uses_the_training_encoding(table_run, tmp_path):
    """Only one town occurs: its column must still be the one that training gave it."""
    rows = [[s, "c", 3 * s - 40] for s in range(30, 90)]
    found = evaluate(table_run, str(write(tmp_path / "c.csv", [["size", "town", "price"], *rows])))
    assert found["samples"] == 60 and found["mae"] < 10 and found["r2"] > 0.95


def test_missing_column_at_prediction(table_run, tmp_path):
    path = write(tmp_path / "new.csv", [["size"], [100]])
    (answer,) = predict(table_run, [path])
    assert "town" in answer.problem


def test_resume_of_a_finished_run_changes_nothing(picture_run):
    def files():
        return {path.name: path.read_bytes() for path in picture_run.iterdir()}

    before = files()
    assert resume(picture_run).metrics == json.loads(before["metrics.json"])
    assert files() == before


def test_wrong_names(picture_run, tmp_path):
    with pytest.raises(ConfigError, match="best or last"):
        evaluate(picture_run, checkpoint="first")
    with pytest.raises(CheckpointError, match="no run folder"):
        evaluate(tmp_path)
    with pytest.raises(ConfigError, match="--augment"):
        table = write(tmp_path / "t.csv", [["a", "b"], *[[i, i * 1.5] for i in range(50)]])
        train(TrainOptions(data=str(table), target="b", augment="flip", out=str(tmp_path / "r")))
    assert not (tmp_path / "r").exists()


def test_a_folder_that_may_not_be_written_is_named_itself(tmp_path, monkeypatch):
    def refuse(**options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match=re.escape(f"cannot write {tmp_path / 'new'}: Perm")):
        Store.create(tmp_path / "new", False, 0)
    assert list(tmp_path.iterdir()) == []
