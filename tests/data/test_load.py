"""`load`: names, places, options, and the errors that a user meets."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kiso import text
from kiso.data import Dataset, load
from kiso.errors import ConfigError, DataError, ShapeError
from tests.data.pictures import plant, write_classes


@pytest.fixture(autouse=True)
def no_data_elsewhere(monkeypatch, tmp_path):
    monkeypatch.delenv("KISO_DATA", raising=False)
    monkeypatch.setenv("KISO_CACHE", str(tmp_path / "cache"))


def test_digits_are_the_default():
    splits = load()
    assert splits.counts() == {"train": 1258, "val": 270, "test": 269}
    assert splits.train.input_shape == (1, 8, 8)
    assert splits.train.x.dtype == np.uint8
    assert (splits.train.x.min(), splits.train.x.max()) == (0, 255)
    assert splits.train.outputs == 10
    names = [name for part in splits.parts().values() for name in part.names]
    assert len(set(names)) == 1797


def test_digits_agree_with_scikit_learn():
    from sklearn.datasets import load_digits

    images, target = load_digits().images, load_digits().target
    for part in load().parts().values():
        rows = [int(name.split("/")[1]) for name in part.names]
        assert np.abs(part.x[:, 0] / 255 * 16 - images[rows]).max() < 0.05
        assert (part.y == target[rows]).all()


def test_size_and_fit_of_digits():
    assert load("digits", size=28).train.input_shape == (1, 28, 28)
    assert load("digits", size=(10, 20), fit="pad").train.input_shape == (1, 10, 20)


def test_the_source_is_json():
    source = load("digits", split=0.6, seed=5).train.source
    assert json.loads(json.dumps(source)) == source
    assert source["name"] == "digits"
    assert source["seed"] == 5
    assert source["split"] == {"train": 0.6, "val": 0.2, "test": 0.2}
    assert source["counts"] == {"train": 1078, "val": 360, "test": 359}


def test_equal_options_give_equal_bits():
    a, b, c = load(seed=1), load(seed=1), load(seed=2)
    assert a.train.source["data_sha256"] == b.train.source["data_sha256"]
    assert a.train.source["data_sha256"] != c.train.source["data_sha256"]


def test_folders_below_the_data_folder(tmp_path, monkeypatch):
    write_classes(tmp_path / "store" / "pets")
    assert load("pets", data_dir=tmp_path / "store").counts() == {"train": 25, "val": 6, "test": 5}
    monkeypatch.setenv("KISO_DATA", str(tmp_path / "store"))
    assert len(load("pets").train) == 25
    monkeypatch.chdir(tmp_path / "store")
    monkeypatch.delenv("KISO_DATA")
    assert len(load("pets").train) == 25


def test_a_known_name_is_not_shadowed_by_a_folder(tmp_path, monkeypatch):
    write_classes(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert len(load("digits").train) == 1258
    assert len(load("./digits").train) == 25


@pytest.mark.parametrize(("name", "reason"), [
    ("minst", "mean mnist"), ("cifar-100", "mean cifar10"), ("digit", "mean digits"),
    ("fashon_mnist", "mean fashion_mnist"), ("no/such/folder", "Known data sets: digits, mnist"),
    ("a.csv", "no data set or file a.csv"), ("a" * 5000, "cannot read a")])
def test_unknown_names(name, reason):
    with pytest.raises(DataError, match=reason) as caught:
        load(name)
    assert caught.value.exit_code == 2


def test_each_place_is_named_once(tmp_path):
    with pytest.raises(DataError) as caught:
        load(tmp_path / "lost", data_dir=tmp_path)
    assert str(caught.value).count(f"\n  {tmp_path / 'lost'}") == 1


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_data_sets_that_are_not_here(name, tmp_path):
    with pytest.raises(DataError, match=f"{name} was not found") as caught:
        load(name, data_dir=tmp_path)
    text = str(caught.value)
    assert str(tmp_path / name) in text
    assert str(tmp_path / "cache" / "data" / name) in text
    assert "--download" in text


def test_files_of_unknown_kind(tmp_path):
    path = tmp_path / "notes.docx"
    path.write_text("x")
    with pytest.raises(DataError, match=r"notes\.docx is of no kind"):
        load(path)


@pytest.mark.parametrize(("options", "reason"), [
    ({"fit": "squeeze"}, "--fit is 'squeeze'; expected one of crop, pad, stretch"),
    ({"on_broken": "ignore"}, "--on-broken is 'ignore'"), ({"task": "ranking"}, "--task"),
    ({"size": 0}, "picture size is 0"), ({"size": (3, 4, 5)}, "picture size"),
    ({"size": 9999}, "4096"), ({"max_pixels": 0}, "max_pixels"), ({"seed": -1}, "seed is -1"),
    ({"split": 1.0}, "split 1.0 cannot be used"), ({"target": "y"}, "for CSV tables"),
    ({"columns": ["a"]}, "for CSV tables")])
def test_unusable_options(options, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        load("digits", **options)
    assert caught.value.exit_code == 2


def test_japanese_messages_also_from_threads(tmp_path):
    plant(write_classes(tmp_path) / "cat")
    text.set_language("ja")
    try:
        splits = load(tmp_path)
        with pytest.raises(DataError, match="見つかりません"):
            load("mnist")
    finally:
        text.set_language(None)
    assert "空" in dict(splits.problems)["cat/zero.png"]
    assert "EXIF の向き" in dict(splits.notes)["cat/rotated.jpg"]


def test_subsets_and_lengths():
    data = load("digits").train
    part = data.subset([5, 2, 2])
    assert len(part) == 3
    assert part.names == (data.names[5], data.names[2], data.names[2])
    assert (part.x[0] == data.x[5]).all()
    assert part.classes == data.classes
    assert sum(data.class_counts().values()) == len(data)
    assert "10 classes" in repr(data)
    with pytest.raises(ShapeError, match="x has 2 samples, y 3"):
        Dataset(np.zeros((2, 1)), np.zeros(3), "regression", "table", names=("", ""))


def test_only_some_classes(tmp_path):
    """The samples of the others are gone before anything is dealt; classes are numbered anew."""
    write_classes(tmp_path)
    splits = load(tmp_path, classes=("human", "cat"))
    assert splits.train.classes == ("cat", "human")
    assert splits.counts() == {"train": 17, "val": 4, "test": 3}
    for part in splits.parts().values():
        assert [part.classes[y] for y in part.y] == [name.split("/")[0] for name in part.names]
    assert dict(splits.notes)[""] == "classes left out: dog"
    assert load("digits", classes=("7", "3")).train.class_counts().keys() == {"3", "7"}


@pytest.mark.parametrize(("data", "classes", "reason"), [
    ("digits", ("3", "ten"), "there is no class ten; the data have 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
    ("digits", ("3",), "digits has only one class (3)"),
    ("a.csv", ("3",), "--classes is not for CSV tables"),
    ("a.npz", ("3",), "the targets are numbers")])
def test_classes_that_cannot_be_used(data, classes, reason, tmp_path):
    (tmp_path / "a.csv").write_text("a,y\n1,2\n3,4\n")
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 8, 8), np.uint8),
             y=np.linspace(0, 1, 20, dtype=np.float32))
    with pytest.raises((ConfigError, DataError)) as caught:
        load(data if data == "digits" else tmp_path / data, classes=classes)
    assert reason in str(caught.value)
