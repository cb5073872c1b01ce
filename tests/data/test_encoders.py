"""Encoders: new files and rows become exactly what training saw, also after a JSON round trip."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from kiso.data import ImageEncoder, TableEncoder, encoder_from_json, load
from kiso.errors import CheckpointError, DataError
from tests.data.pictures import BROKEN, ODD, noise, plant, png, write_classes
from tests.data.test_csv import N, price, size, write


def copy(encoder):
    """The encoder after a round trip."""
    return encoder_from_json(json.loads(json.dumps(encoder.to_json())))


@pytest.mark.parametrize("options", [{}, {"size": 16}, {"size": (9, 14), "fit": "pad"},
                                     {"grey": True}, {"size": 50, "fit": "stretch"}])
def test_pictures_are_read_as_in_training(tmp_path, options):
    write_classes(tmp_path, n=6)
    (tmp_path / "cat" / "large.jpg").write_bytes(b"")
    Image.fromarray(noise(3, 700, 900)).save(tmp_path / "cat" / "large.jpg")
    splits = load(tmp_path, **options)
    assert isinstance(splits.train.encoder, ImageEncoder)
    for part in splits.parts().values():
        x, names, problems = copy(part.encoder).encode([tmp_path / name for name in part.names])
        assert (x == part.x).all()
        assert [str(tmp_path / name) for name in part.names] == list(names)
        assert problems == ()


def test_grey_files_for_a_colour_net(tmp_path):
    (tmp_path / "a.png").write_bytes(png(noise(1, channels=1)))
    x = ImageEncoder((20, 24), 3).encode(tmp_path / "a.png").x
    assert x.shape == (1, 3, 20, 24)
    assert (x[0] == noise(1, channels=1)).all()


def test_folders_and_broken_files(tmp_path):
    plant(tmp_path)
    x, names, problems = ImageEncoder((16, 16)).encode([tmp_path])
    assert [name.rsplit("/", 1)[1] for name in names] == sorted(ODD)
    assert len(x) == len(ODD)
    assert {name.rsplit("/", 1)[1] for name, _ in problems} == set(BROKEN)


def test_no_readable_file(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    x, names, problems = ImageEncoder((16, 12), 1).encode([str(tmp_path / "a.png")])
    assert x.shape == (0, 1, 16, 12)
    assert names == ()
    assert len(problems) == 1
    with pytest.raises(DataError, match=r"no file .*b\.png"):
        ImageEncoder((16, 16)).encode([tmp_path / "b.png"])


def table(folder):
    return write(folder, {"No": lambda i: i, "a": lambda i: "" if i % 9 == 0 else size(i),
                          "wind": lambda i: ["SE", "NW", "cv"][i % 3],
                          "date": lambda i: f"2024-02-{i % 28 + 1:02d}", "y": price})


def test_rows_are_read_as_in_training(tmp_path):
    path = table(tmp_path)
    splits = load(path, target="y", columns=["a", "wind", "date"])
    assert isinstance(splits.train.encoder, TableEncoder)
    encoder = copy(splits.train.encoder)
    assert encoder == splits.train.encoder
    assert encoder.columns == splits.train.columns
    x, names, problems = encoder.encode(path)
    assert len(x) == N
    assert len(problems) == 12
    assert problems[0] == ("line 2", "a is missing: filled with the training median 12.5")
    for part in splits.parts().values():
        assert (x[[names.index(name) for name in part.names]] == part.x).all()


def test_one_row_as_a_mapping(tmp_path):
    splits = load(table(tmp_path), target="y")
    row = {"wind": "NW", "a": 2.5, "unused": "?"}
    x, names, problems = splits.train.encoder.encode(row)
    assert splits.train.columns == ("a", "wind=NW", "wind=SE", "wind=cv")
    assert x.tolist() == [[2.5, 1, 0, 0]]
    assert (names, problems) == (("row 1",), ())
    assert splits.train.encoder.encode([row, row]).names == ("row 1", "row 2")


def test_missing_unseen_and_unreadable_cells(tmp_path):
    splits = load(table(tmp_path), target="y")
    rows = [{"a": None, "wind": ""}, {"a": "much", "wind": "XX"}]
    x, _, problems = splits.train.encoder.encode(rows)
    median = splits.train.encoder.features[0].fill
    assert median == pytest.approx(np.median(
        [size(int(n.split()[1]) - 2) for n in splits.train.names if (int(n.split()[1]) - 2) % 9]))
    assert x.tolist() == [[np.float32(median), 0, 0, 0]] * 2
    assert dict(problems)["row 2"] == "wind is 'XX', unknown from training: all zeros"
    assert ("row 2", "a is 'much', not a number: counted as missing") in problems


def test_new_csv_without_a_column(tmp_path):
    splits = load(table(tmp_path), target="y")
    (tmp_path / "new.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="columns wind are missing; the model was trained on a, w"):
        splits.train.encoder.encode(tmp_path / "new.csv")
    (tmp_path / "new.csv").write_text("wind,a\nSE,4.5\n")
    assert splits.train.encoder.encode(str(tmp_path / "new.csv")).x.tolist() == [[4.5, 0, 1, 0]]


def test_npz_tables_have_an_encoder_too(tmp_path):
    x = np.arange(40.0).reshape(20, 2)
    np.savez(tmp_path / "t.npz", x=x, y=np.arange(20) % 2)
    encoder = copy(load(tmp_path / "t.npz").train.encoder)
    assert encoder.encode({"x0": 3, "x1": 4}).x.tolist() == [[3, 4]]


@pytest.mark.parametrize("record", [{}, {"kind": "sound"}, {"kind": "image"},
                                    {"kind": "image", "size": 3}, {"kind": "table"},
                                    {"kind": "table", "features": [1]}])
def test_damaged_records(record):
    with pytest.raises(CheckpointError, match="damaged"):
        encoder_from_json(record)
