"""Real data, where this machine has them: counts, checksums, and no surprises."""

from __future__ import annotations

import time

import numpy as np
import pytest

from kiso.data import load


def needs(path):
    if not path.exists():
        pytest.skip(f"no {path.name} in the folder of real data")
    return path


def test_mnist(shared_data):
    needs(shared_data / "mnist")
    splits = load("mnist", data_dir=shared_data)
    assert splits.counts() == {"train": 54_000, "val": 6_000, "test": 10_000}
    assert splits.train.source["is_original_mnist"] is True
    assert splits.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert splits.test.class_counts()["1"] == 1135
    assert splits.duplicates == ()
    assert load("mnist", data_dir=shared_data / "mnist").train.source["data_sha256"] \
        == splits.train.source["data_sha256"]


def test_beijing_air(shared_data):
    path = needs(shared_data / "air" / "PRSA_data_2010.1.1-2014.12.31.csv")
    start = time.perf_counter()
    splits = load(path, target="pm2.5")
    assert time.perf_counter() - start < 10  # about 1 s on an idle machine
    assert sum(splits.counts().values()) == 41_757
    assert splits.train.source["missing_target"] == 2067
    assert splits.train.task == "regression"
    assert splits.train.columns == (
        "year", "month", "day", "hour", "DEWP", "TEMP", "PRES", "cbwd=NE", "cbwd=NW", "cbwd=SE",
        "cbwd=cv", "Iws", "Is", "Ir")
    y = np.concatenate([part.y for part in splits.parts().values()])
    assert y.mean() == pytest.approx(98.6132, abs=1e-3)  # of the file, by awk
    assert np.isfinite(splits.train.x).all()


def test_italian_air(shared_data):
    path = needs(shared_data / "air" / "air_quality_clean.csv")
    splits = load(path, target="CO(GT)")
    assert sum(splits.counts().values()) == 6_941
    assert len(splits.train.columns) == 11
    assert {name for name, _ in splits.notes} == {"date", "time"}
    assert load(path, target="CO(GT)", columns=["date", "time"]).train.columns == ("date", "time")


def test_semeion(shared_data):
    splits = load(needs(shared_data / "semeion" / "semeion.csv"))
    assert sum(splits.counts().values()) == 1_593
    assert splits.train.task == "classification"
    assert splits.train.classes == tuple("0123456789")
    assert splits.train.input_shape == (256,)


def test_photos(shared_data):
    splits = load(needs(shared_data / "photos"), size=32)
    assert splits.counts() == {"train": 1260, "val": 270, "test": 270}
    assert splits.problems == ()
    assert splits.train.class_counts() == {"cat": 420, "dog": 420, "human": 420}
    part = splits.test
    read = part.encoder.encode([shared_data / "photos" / name for name in part.names[:20]])
    assert (read.x == part.x[:20]).all()


@pytest.mark.slow
def test_cifar10(shared_data):
    needs(shared_data / "cifar10")
    splits = load("cifar10", data_dir=shared_data)
    assert splits.counts() == {"train": 45_000, "val": 5_000, "test": 10_000}
    assert set(splits.test.class_counts().values()) == {1000}
    assert splits.train.input_shape == (3, 32, 32)
    assert splits.problems == ()
