"""What the README promises of good models, held on real data."""

from __future__ import annotations

from pathlib import Path

import pytest

from kiso.train import TrainOptions, predict, train


def test_default_run_reads_digits() -> None:
    """`kiso train` with nothing else: 97 % of the test digits and more."""
    assert train(TrainOptions(), save=False).metrics["test_accuracy"] >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("model, epochs, accuracy", [
    ("flatten linear100 relu linear10", 10, 0.97),
    ("conv30k5 relu pool2 linear100 relu linear10", 2, 0.98),
])
def test_mnist(shared_data: Path, model: str, epochs: int, accuracy: float) -> None:
    options = TrainOptions(data="mnist", data_dir=str(shared_data / "mnist"), model=model,
                           epochs=epochs, seed=0)
    assert train(options, save=False).metrics["test_accuracy"] >= accuracy


@pytest.mark.slow
def test_photos_of_three_classes(shared_data: Path) -> None:
    options = TrainOptions(data=str(shared_data / "photos"), size=32, epochs=8)
    metrics = train(options, save=False).metrics
    assert metrics["test_accuracy"] > 0.6  # a guess is right one time in three


@pytest.mark.slow
def test_air_pollution_is_fitted_and_a_new_row_filled(shared_data: Path, tmp_path: Path) -> None:
    table = shared_data / "air" / "PRSA_data_2010.1.1-2014.12.31.csv"
    result = train(TrainOptions(data=str(table), target="pm2.5", epochs=5,
                                out=str(tmp_path / "r")))
    assert sum(result.metrics["samples"].values()) == 41_757
    assert result.metrics["test_r2"] > 0.4
    lines = table.read_text("utf-8").splitlines()
    new = tmp_path / "new.csv"
    new.write_text("\n".join([lines[0], lines[1]]) + "\n")  # its pm2.5 is missing
    (answer,) = predict(tmp_path / "r", [new])
    assert answer.values is not None and 0 < answer.values["pm2.5"] < 1000
