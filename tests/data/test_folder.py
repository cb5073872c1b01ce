"""Class folders: layouts, broken and odd files, sizes, duplicates, and archives of the same."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest

from kiso.data import load
from kiso.errors import DataError
from tests.data.pictures import BROKEN, ODD, noise, plant, png, write_classes


def test_classes_splits_and_pixels(tmp_path):
    splits = load(write_classes(tmp_path), seed=3)
    assert splits.counts() == {"train": 25, "val": 6, "test": 5}
    assert splits.train.classes == ("cat", "dog", "human")
    assert splits.problems == splits.notes == splits.duplicates == ()
    for part in splits.parts().values():
        assert part.x.dtype == np.uint8
        assert part.x.shape[1:] == (3, 20, 24)
        assert part.task == "classification"
        for name, x, y in zip(part.names, part.x, part.y, strict=True):
            kind, number = name.split("/")[0], int(name[-7:-4])
            assert part.classes[y] == kind
            expected = noise(100 * part.classes.index(kind) + number)
            assert (x.transpose(1, 2, 0) == expected).all()
    again = load(tmp_path, seed=3)
    assert again.train.names == splits.train.names
    assert again.train.source == splits.train.source
    assert load(tmp_path, seed=4).train.names != splits.train.names


def test_broken_files_are_left_out_and_odd_ones_read(tmp_path):
    plant(write_classes(tmp_path) / "cat")
    splits = load(tmp_path, size=16)
    reasons = dict(splits.problems)
    assert set(reasons) == {f"cat/{name}" for name in BROKEN}
    for name, reason in BROKEN.items():
        assert reason in reasons[f"cat/{name}"]
    notes = dict(splits.notes)
    for name, note in ODD.items():
        assert note in notes[f"cat/{name}"]
    assert notes[""] == "1 other files passed over (.txt 1)"
    names = {name for part in splits.parts().values() for name in part.names}
    assert {f"cat/{name}" for name in ODD} <= names
    assert sum(splits.counts().values()) == 36 + len(ODD)
    assert splits.train.source["left_out"] == len(BROKEN)
    assert splits.train.source["problems"] == [list(pair) for pair in splits.problems]
    assert splits.train.source["remarks"] == [list(pair) for pair in splits.notes]
    described = "\n".join(splits.describe())
    assert all(name in described for name in (*BROKEN, *ODD))


def test_broken_files_are_refused_when_asked(tmp_path):
    plant(write_classes(tmp_path) / "dog")
    with pytest.raises(DataError) as caught:
        load(tmp_path, on_broken="fail")
    text = str(caught.value)
    assert f"{len(BROKEN)} files" in text
    for name, reason in BROKEN.items():
        line = next(line for line in text.splitlines() if f"dog/{name}" in line)
        assert reason in line
    assert not any(name in text for name in ODD)


@pytest.mark.parametrize(("shape", "expected"), [
    ({"height": 8, "width": 8}, (8, 8)), ({"height": 64, "width": 40}, (64, 40)),
    ({"height": 65, "width": 65}, (32, 32)), ({"height": 130, "width": 128}, (32, 32))])
def test_pictures_of_one_small_size_keep_it(tmp_path, shape, expected):
    splits = load(write_classes(tmp_path, n=4, **shape))
    assert splits.train.input_shape == (3, *expected)
    assert splits.train.source["options"]["size"] == list(expected)


def test_pictures_of_different_sizes_become_32(tmp_path):
    write_classes(tmp_path, n=4)
    (tmp_path / "cat" / "large.png").write_bytes(png(noise(1, 90, 70)))
    assert load(tmp_path).train.input_shape == (3, 32, 32)
    assert load(tmp_path, size=(10, 14), fit="pad").train.input_shape == (3, 10, 14)


def test_the_default_size_does_not_depend_on_the_order(tmp_path):
    """Small pictures kept until the decision end up as if they had been resized at once."""
    write_classes(tmp_path, n=4)
    (tmp_path / "cat" / "large.png").write_bytes(png(noise(1, 90, 70)))
    decided, asked = load(tmp_path), load(tmp_path, size=32)
    assert decided.train.source["data_sha256"] == asked.train.source["data_sha256"]


def test_channels(tmp_path):
    grey = write_classes(tmp_path / "grey", channels=1)
    assert load(grey).train.input_shape == (1, 20, 24)
    (grey / "cat" / "colour.png").write_bytes(png(noise(5)))
    mixed = load(grey)
    assert mixed.train.input_shape == (3, 20, 24)
    x = np.concatenate([part.x for part in mixed.parts().values()])
    assert sum(bool((image[0] != image[1]).any()) for image in x) == 1
    assert load(grey, grey=True).train.input_shape == (1, 20, 24)


def test_links_to_class_folders_are_followed(tmp_path):
    """A data set may be put together of others'; a link that leads back ends nowhere."""
    pictures = write_classes(tmp_path / "all")
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    for name in ("cat", "dog"):
        (chosen / name).symlink_to(pictures / name, target_is_directory=True)
    (pictures / "cat" / "back").symlink_to(chosen, target_is_directory=True)
    (chosen / "round").symlink_to(chosen, target_is_directory=True)
    splits = load(chosen)
    assert splits.train.classes == ("cat", "dog") and sum(splits.counts().values()) == 24


def test_deeper_folders_belong_to_their_class(tmp_path):
    write_classes(tmp_path, n=4)
    (tmp_path / "cat" / "2024" / "may").mkdir(parents=True)
    (tmp_path / "cat" / "2024" / "may" / "a.PNG").write_bytes(png(noise(77)))
    splits = load(tmp_path)
    assert splits.train.classes == ("cat", "dog", "human")
    assert sum(part.class_counts()["cat"] for part in splits.parts().values()) == 5


@pytest.mark.parametrize(("parts", "expected"), [
    (("train", "val", "test"), {"train": 36, "val": 36, "test": 36}),
    (("Train", "test"), {"train": 32, "val": 4, "test": 36}),
    (("train", "validation"), {"train": 32, "val": 36, "test": 4}),
    (("training",), {"train": 29, "val": 4, "test": 3})])
def test_given_splits_are_kept(tmp_path, parts, expected):
    for seed, part in enumerate(parts):
        write_classes(tmp_path / part, seed=seed)
    splits = load(tmp_path)
    assert splits.counts() == expected
    home = "test/" if "test" in parts else parts[0]  # a part that is not given comes from training
    assert all(name.startswith(home) for name in splits.test.names)
    assert splits.train.classes == ("cat", "dog", "human")


@pytest.mark.parametrize(("place", "parts"), [
    (("", "", ""), {"train": 8, "val": 2, "test": 2}),
    (("", "old", ""), {"train": 8, "val": 2, "test": 2}),
    (("old", "old", "old"), {"train": 8, "val": 2, "test": 2}),
    (("train", "val", "test"), {"train": 4, "val": 4, "test": 4}),
    (("train/old", "train", "test"), {"train": 7, "val": 1, "test": 4})])
def test_pictures_without_classes(tmp_path, monkeypatch, place, parts):
    folder = tmp_path / "mine"
    for i in range(12):
        home = folder / place[i // 4]
        home.mkdir(parents=True, exist_ok=True)
        (home / f"{i}.png").write_bytes(png(noise(i)))
    (folder / "read.me").write_text("about")
    with pytest.raises(DataError):
        load(folder)
    splits = load(folder, labelled=False)
    assert splits.counts() == parts
    assert splits.train.classes == (("old",) if set(place) == {"old"} else ("mine",))
    assert dict(splits.notes)[""] == "1 other files passed over (.me 1)"
    found = {name: x for part in splits.parts().values() for name, x in zip(part.names, part.x,
                                                                         strict=True)}
    assert len(found) == 12
    for name, x in found.items():
        number = int(name.rpartition("/")[2].removesuffix(".png"))
        assert (x.transpose(1, 2, 0) == noise(number)).all()
    monkeypatch.chdir(folder)
    assert load(".", labelled=False).train.classes == splits.train.classes
    packed = load(pack(folder, tmp_path / "mine.zip"), labelled=False)
    assert packed.counts() == parts and set(packed.train.names) == set(splits.train.names)


def test_classes_stay_where_they_are_not_needed(tmp_path):
    write_classes(tmp_path)
    assert load(tmp_path, labelled=False).train.source == load(tmp_path).train.source
    one = load(tmp_path, labelled=False, classes=["dog"])
    assert one.train.classes == ("dog",) and sum(one.counts().values()) == 12


def test_a_class_called_train(tmp_path):
    splits = load(write_classes(tmp_path, ("bus", "train")))
    assert splits.train.classes == ("bus", "train")


def test_identical_pictures_stay_on_one_side(tmp_path):
    write_classes(tmp_path)
    for i in range(8):
        (tmp_path / "dog" / f"copy_{i}.png").write_bytes(png(noise(100)))  # dog_000
    for seed in range(5):
        splits = load(tmp_path, seed=seed)
        homes = [name for name, part in splits.parts().items()
                 if any("copy" in sample or sample == "dog/dog_000.png" for sample in part.names)]
        assert len(homes) == 1
        assert splits.duplicates == ()


def test_identical_pictures_across_given_splits_are_reported(tmp_path):
    write_classes(tmp_path / "train", seed=0)
    write_classes(tmp_path / "test", seed=1)
    (tmp_path / "test" / "cat" / "leak.png").write_bytes(png(noise(101)))  # train dog_001
    splits = load(tmp_path)
    (copies,) = splits.duplicates
    assert ("test", "test/cat/leak.png") in copies
    assert {name for _, name in copies} == {"test/cat/leak.png", "train/dog/dog_001.png"}
    assert any("leak.png" in line for line in splits.describe())


def test_the_same_picture_in_two_classes_is_noted(tmp_path):
    write_classes(tmp_path)
    (tmp_path / "cat" / "really.png").write_bytes(png(noise(100)))
    assert dict(load(tmp_path).notes)["dog/dog_000.png"] \
        == "the same picture as cat/really.png, in another class"


def test_symbolic_links_in_a_circle(tmp_path):
    write_classes(tmp_path, n=4)
    (tmp_path / "cat" / "loop").symlink_to(tmp_path)
    assert sum(load(tmp_path).counts().values()) == 12


def test_pipes_and_dangling_links_do_not_stop_the_reading(tmp_path):
    write_classes(tmp_path, n=4)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    (tmp_path / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert dict(load(tmp_path).problems) == {"cat/pipe.png": "not a regular file",
                                             "dog/gone.jpg": "not a regular file"}


@pytest.mark.parametrize(("make", "reason"), [
    (lambda d: None, "no pictures in class folders"),
    (lambda d: (d / "cat").mkdir(), "no pictures in class folders"),
    (lambda d: (d / "a.png").write_bytes(png(noise(1))), "no pictures in class folders"),
    (lambda d: write_classes(d, ("cat",)), "only one class"),
    (lambda d: (write_classes(d), (d / "bird").mkdir()), "class folders bird"),
    (lambda d: (write_classes(d), plant_only_broken(d / "bird")), "bird/zero.png: the file is"),
    (lambda d: plant_only_broken(d / "bird"), "none of the 1 picture files"),
    (lambda d: write_classes(d, ("cat", "dog"), n=1), "too few samples"),
    (lambda d: (write_classes(d / "train", ("cat", "dog")), write_classes(d / "test", ("cow",))),
     "classes cow have no training"),
    (lambda d: (write_classes(d / "train", ("cat", "dog")),
                (d / "train" / "lone.png").write_bytes(png(noise(1)))), "train/lone.png lies"),
    (lambda d: (d / "a.csv").write_text("x,y\n1,2\n"), "name one of them: a.csv"),
])
def test_unusable_folders(tmp_path, make, reason):
    make(tmp_path)
    with pytest.raises(DataError, match=reason) as caught:
        load(tmp_path)
    assert caught.value.exit_code == 2


def plant_only_broken(folder):
    folder.mkdir()
    (folder / "zero.png").write_bytes(b"")


def pack(folder, path, top="", extra=()):
    """The folder's files as an archive (without entries for folders), in a shuffled order."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, top + file.relative_to(folder).as_posix())
            for info, content in extra:
                archive.writestr(info.name, content)
        return path
    with tarfile.open(path, "w:" + path.suffix[1:].replace("tar", "")) as archive:
        for i in np.random.default_rng(0).permutation(len(files)):
            archive.add(files[i], top + files[i].relative_to(folder).as_posix())
        for info, content in extra:
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.xz", ".tar.bz2", ".zip"])
@pytest.mark.parametrize("top", ["", "photos-1.0/"])
def test_archives_give_what_the_folder_gives(tmp_path, ending, top):
    folder = write_classes(tmp_path / "photos")
    (folder / "README.md").write_text("about")
    path = pack(folder, tmp_path / f"photos{ending}", top)
    before = set(tmp_path.rglob("*"))
    packed, plain = load(path), load(folder)
    assert set(tmp_path.rglob("*")) == before
    assert [name.removeprefix(top) for name in packed.train.names] == list(plain.train.names)
    assert packed.train.source["data_sha256"] == plain.train.source["data_sha256"]


def test_archives_with_given_splits(tmp_path):
    for seed, part in enumerate(("train", "test")):
        write_classes(tmp_path / "d" / part, seed=seed)
    splits = load(pack(tmp_path / "d", tmp_path / "d.tar.gz", "top/"))
    assert splits.counts() == {"train": 32, "val": 4, "test": 36}


@pytest.mark.parametrize("ending", [".tar", ".zip"])
def test_hostile_names_and_links_in_archives(tmp_path, ending):
    folder = write_classes(tmp_path / "d", n=4)
    extra = []
    for name in ("../../escape.png", "/tmp/absolute.png", "cat/../../up.png"):
        info = tarfile.TarInfo(name)
        content = png(noise(1))
        info.size = len(content)
        extra.append((info, content))
    link = tarfile.TarInfo("cat/link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    extra.append((link, b""))
    if ending == ".zip":
        extra.pop()
    splits = load(pack(folder, tmp_path / f"d{ending}", extra=extra))
    names = [name for part in splits.parts().values() for name in part.names]
    assert len(names) == 12
    assert not any("escape" in n or "absolute" in n or "up" in n or "link" in n for n in names)
    assert not list(tmp_path.parent.glob("escape*"))


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.xz", ".zip"])
def test_damaged_archives(tmp_path, ending):
    path = pack(write_classes(tmp_path / "d", n=4), tmp_path / f"d{ending}")
    content = path.read_bytes()
    half = len(content) // 2
    changed = content[:half] + b"?" * 99 + content[half + 99:]
    for damaged in (content[:half], changed, b"none", b""):
        if ending == ".tar" and len(damaged) == len(content):
            continue  # a plain .tar has no checksum of its own
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"d\{ending} is damaged"):
            load(path)


def test_an_archive_without_pictures(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_text("a")
    with pytest.raises(DataError, match="neither class folders"):
        load(pack(tmp_path / "d", tmp_path / "d.tar"))


def test_a_folder_that_holds_one_archive(tmp_path):
    folder = write_classes(tmp_path / "d")
    (tmp_path / "only").mkdir()
    pack(folder, tmp_path / "only" / "d.tar.gz")
    assert load(tmp_path / "only").counts() == load(folder).counts()
