"""The page: what it says, that it is one safe file, and that nothing is needed to see it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiso import text
from kiso.errors import DataError
from kiso.report import build
from kiso.report.overview import number
from kiso.report.page import render
from kiso.report.run import read_run
from tests.report import folders

DIGITS = [str(i) for i in range(10)]
VOID = {"meta", "link", "img", "br", "hr", "input", "path", "use", "rect"}


class Page(HTMLParser):
    """The parts of a page that tests ask for."""

    def __init__(self, path: Path | str):
        super().__init__(convert_charrefs=True)
        self.source = path.read_text("utf-8") if isinstance(path, Path) else path
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def check(path: Path) -> Page:
    """What holds for every report; returns the parsed page."""
    page = Page(path)
    assert page.open == []  # every element is closed
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "action", "poster"):
            value = attributes.get(name, "data:")
            assert value.startswith(("data:", "#")), (tag, name, value)
            if value.startswith("#"):
                assert value[1:] in ids, value
    assert all(inner.startswith(("#", "data:")) for inner in
               re.findall(r"url\(\s*['\"]?([^)'\"]*)", page.source))
    assert "@import" not in page.source
    assert "http" not in page.source.replace("http-equiv", "")
    assert all(image.get("alt") for image in page.all("img"))
    assert all(a.get("aria-label") for a in page.all("svg"))
    assert len(page.all("h1")) == 1
    return page


@pytest.fixture(autouse=True)
def english() -> Any:
    yield
    text.set_language(None)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    arrays = folders.answers(DIGITS, 271, pictures=(1, 8, 8))
    return folders.write(tmp_path / "digits", arrays=arrays)


def test_a_finished_classification(digits: Path) -> None:
    path = build(digits)
    assert path == digits / "report.html"
    page = check(path)
    with np.load(digits / "predictions.npz") as arrays:
        right = int((arrays["output"].argmax(1) == arrays["y"]).sum())
        shown = len(arrays["wrong_rows"])
    assert f"Test accuracy {right / 2.71:.1f} % after 10 epochs in 42.0 s" in page.text
    assert f"{right} of 271 right" in page.text
    assert [a["id"] for a in page.all("section")] == ["curves", "matrix", "classes", "wrong",
                                                       "settings"]
    assert len(page.all("svg")) == 2
    assert "best epoch (10)" in page.text
    assert len(page.all("img")) == shown
    assert "conv30k5 relu pool2 flatten linear100 relu linear10" in page.text
    assert "TP / (TP + FP)" in page.text
    assert "3.11.9" in page.text
    assert "1.23 MB" in page.text
    assert page.all("html")[0]["lang"] == "en"
    assert "missing" not in page.text


def test_the_matrix_shows_every_count(digits: Path) -> None:
    source = build(digits).read_text("utf-8")
    table = source[source.index('<table class="matrix'):]
    rows = re.findall(r"<tr><th scope=\"row\".*?</tr>", table[: table.index("</table>")], re.S)
    cells = [[int(re.sub("<.*?>", "", c)) for c in re.findall(r"<td.*?</td>", row, re.S)]
             for row in rows]
    with np.load(digits / "predictions.npz") as arrays:
        y, p = arrays["y"], arrays["output"].argmax(1)
    for i in range(10):
        assert cells[i][:10] == [int(((y == i) & (p == j)).sum()) for j in range(10)]
        assert cells[i][10] == int((y == i).sum())


def test_a_red_cell_leads_to_its_samples(digits: Path) -> None:
    page = check(build(digits))
    with np.load(digits / "predictions.npz") as arrays:
        y, p, names = arrays["y"], arrays["output"].argmax(1), arrays["names"]
    targets = {a["href"][1:] for a in page.all("a") if a["href"].startswith("#pair")}
    assert targets == {f"pair-{i}-{j}" for i, j in zip(y, p, strict=True) if i != j}
    for name in names[y != p]:
        assert name in page.text


def test_writing_twice_gives_the_same_bytes(digits: Path) -> None:
    first = build(digits).read_bytes()
    assert build(digits).read_bytes() == first
    assert not list(digits.glob(".report*"))


def test_regression(tmp_path: Path) -> None:
    folder = folders.write(tmp_path / "air", task="regression", target="pm2.5",
                           arrays=folders.numbers(300))
    page = check(build(folder))
    assert re.search(r"Mean error [\d.]+ on the test data \(R² 0.91\) after 10 epochs", page.text)
    assert len(page.all("svg")) == 4
    assert "pm2.5" in page.text
    assert "RMSE" in page.text
    with np.load(folder / "predictions.npz") as arrays:
        worst = int(np.abs(arrays["output"] - arrays["y"]).argmax())
        assert str(arrays["names"][worst]) in page.text
        assert number(float(arrays["y"][worst, 0])) in page.text


def test_several_targets_and_many_points(tmp_path: Path) -> None:
    folder = folders.write(tmp_path / "t", task="regression", arrays=folders.numbers(2000, 2))
    page = check(build(folder))
    assert len(page.all("svg")) == 2 + 4
    assert len(page.source) < 1_000_000  # points became pixels


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_an_unfinished_run_says_what_is_missing(tmp_path: Path, rows: int) -> None:
    folder = folders.write(tmp_path / "r", rows=folders.history(rows), finished=False)
    page = check(build(folder))
    assert "Not finished" in page.text
    assert "metrics.json is missing" in page.text
    assert "predictions.npz is missing" in page.text
    assert "kiso resume r" in page.text
    assert ("history.csv is missing" in page.text) == (rows == 0)
    assert len(page.all("svg")) == (2 if rows else 0)
    if rows:
        assert f"{rows} of 10 epochs" in page.text


@pytest.mark.parametrize("name", ["config.toml", "history.csv", "metrics.json", "predictions.npz"])
def test_each_file_may_be_missing_or_damaged(digits: Path, name: str) -> None:
    whole = (digits / name).read_bytes()
    (digits / name).unlink()
    assert f"{name} is missing" in check(build(digits)).text
    for content in (b"", b"\xff\xfe\0\0", whole[: len(whole) // 2], b"[1]"):
        (digits / name).write_bytes(content)
        check(build(digits))  # whatever is in it, there is a report
    (digits / name).write_bytes(b"\xff\xfe\0\0")
    assert f"{name} cannot be read" in check(build(digits)).text


def test_arrays_that_do_not_belong_together(digits: Path) -> None:
    arrays = folders.answers(DIGITS, 50, pictures=(1, 8, 8))
    arrays["y"] = arrays["y"][:-1]
    np.savez(digits / "predictions.npz", **arrays)
    assert "predictions.npz cannot be read" in check(build(digits)).text
    np.savez(digits / "predictions.npz", **folders.answers(DIGITS, 50, pictures=None) | {
        "classes": np.array(["a"])})
    assert "predictions.npz cannot be read" in check(build(digits)).text


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        build(tmp_path / "absent")
    with pytest.raises(DataError, match="is no run"):
        build(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes", [2, 20, 21, 31, 100])
def test_any_number_of_classes(tmp_path: Path, classes: int) -> None:
    names = [f"class {i}" for i in range(classes)]
    folder = folders.write(tmp_path / "c", arrays=folders.answers(names, 800, pictures=None))
    page = check(build(folder))
    assert all(name in page.text for name in names)
    assert len(page.all("svg")) == (2 if classes <= 20 else 3)
    assert ("as the positive class" in page.text) == (classes == 2)


def test_hostile_names(tmp_path: Path) -> None:
    bad = folders.HOSTILE
    names = [bad, "\u202egnp.txt", "a\nb\x00\x1b[31m", "$x$", "\udcff"]
    for classes in (names, names * 6):
        arrays = folders.answers(classes, 120, pictures=(3, 4, 4), hit=0.5)
        arrays["names"] = np.array([bad] * 120)
        folder = folders.write(tmp_path / f"n{len(classes)}", arrays=arrays, data=bad)
        page = check(build(folder))
        assert "<script>alert('x')</script>" in page.text  # as words, not as an element
        assert "{{ 7*7 }}" in page.text
    folder = folders.write(tmp_path / "r", task="regression", arrays=folders.numbers(9), target=bad)
    assert bad in check(build(folder)).text


def test_japanese(tmp_path: Path) -> None:
    names = ["猫", "犬", "人間"]
    folder = folders.write(tmp_path / "写真", arrays=folders.answers(names, 99, pictures=(3, 4, 4)))
    page = check(build(folder, lang="ja"))
    assert page.all("html")[0]["lang"] == "ja"
    assert "混同行列" in page.text
    assert "テスト正解率" in page.text
    assert "最良のエポック" in page.text
    assert "猫" in page.text
    assert "Confusion" not in page.text
    assert text.current_language() == "en"  # not changed outside
    text.set_language("ja")
    assert "学習曲線" in check(build(folder)).text
    assert "Learning curves" in check(build(folder, lang="en")).text


def test_a_perfect_run_and_an_early_stop(digits: Path) -> None:
    arrays = folders.answers(DIGITS, 100, pictures=(1, 8, 8), hit=1.0)
    arrays["output"] = np.eye(10, dtype=np.float32)[arrays["y"]]
    arrays |= {"wrong_rows": np.zeros(0, np.int64), "wrong_images": np.zeros((0, 1, 8, 8), "u1")}
    folders.write(digits, arrays=arrays)
    metrics = json.loads((digits / "metrics.json").read_text())
    (digits / "metrics.json").write_text(json.dumps(metrics | {"stopped": "no improvement"}))
    page = check(build(digits))
    assert "Every test sample was recognised." in page.text
    assert "Stopped early: no improvement" in page.text


def test_the_notes_tell_overfitting_from_a_good_fit(tmp_path: Path) -> None:
    over = folders.write(tmp_path / "o", rows=folders.history(16, overfits=True))
    assert "by heart (overfitting)" in check(build(over)).text
    good = check(build(folders.write(tmp_path / "g"))).text
    assert "by heart" not in good
    assert "still falls at the end" in good
    assert "well be worse" not in good
    rows = [row | {"train_loss": row["val_loss"] + 0.5} for row in folders.history(5)]
    assert "well be worse" in check(build(folders.write(tmp_path / "d", rows=rows))).text


@settings(max_examples=20)
@given(st.integers(1, 12), st.integers(1, 30), st.floats(0, 1), st.booleans(),
       st.integers(0, 2**16))
def test_any_run_has_a_page(k: int, n: int, hit: float, pictures: bool, seed: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        arrays = folders.answers([f"c{i}" for i in range(k)], max(n, 1), hit=hit, seed=seed,
                                 pictures=(1, 3, 5) if pictures else None)
        folder = folders.write(Path(temporary), arrays=arrays, rows=folders.history(1 + seed % 3))
        page = Page(render(read_run(folder)).decode("utf-8"))
        assert page.open == []
        assert "Confusion matrix" in page.text


@pytest.mark.parametrize("corrupted", [True, False])
def test_pictures_given_back(tmp_path: Path, corrupted: bool) -> None:
    arrays = folders.given_back(200, corrupted=corrupted)
    run = folders.write(tmp_path, task="reconstruction", arrays=arrays,
                        rows=folders.history(4, "reconstruction"))
    page = check(build(run))
    mean = float(arrays["psnr"].mean())
    assert f"PSNR {mean:.2f} dB on the test data" in page.text
    assert ("up from 12.50 dB" in page.text) == corrupted
    assert len(page.all("img")) == 32 * (3 if corrupted else 2)
    assert page.text.count("as the net saw it") == 0  # only for those who cannot see it
    names = [a["title"] for a in page.all("span") if a.get("class") == "file"]
    assert names[:16] == [f"folder/picture-{i}.png" for i in arrays["some"][:16]]
    assert names[16:] == [f"folder/picture-{i}.png" for i in arrays["worst"]]
    means = sorted(float(arrays["psnr"][arrays["y"] == k].mean()) for k in range(3))
    found = [float(v) for v in re.findall(r"[abc] \d+ (\d+\.\d\d) dB", page.text)]
    assert found[-3:] == pytest.approx(means, abs=0.006)


def test_an_unfinished_run_of_pictures(tmp_path: Path) -> None:
    rows = folders.history(4, "reconstruction")
    folders.write(tmp_path, task="reconstruction", rows=rows, finished=False)
    (tmp_path / "config.toml").unlink()  # the history alone tells what was learnt
    assert read_run(tmp_path).task == "reconstruction"
    assert f"validation PSNR {rows[-1]['val_psnr']:.2f} dB so far" in check(build(tmp_path)).text


@pytest.mark.parametrize(("name", "value"), [
    ("outputs", np.zeros((2, 1, 8, 8), np.uint8)), ("worst", np.array([999])),
    ("y", np.zeros(3, np.int64)), ("names", np.array(["a"]))])
def test_pictures_that_do_not_belong_together(tmp_path: Path, name: str, value: Any) -> None:
    arrays = folders.given_back(100)
    metrics = folders.write(tmp_path, task="reconstruction", arrays=arrays,
                            rows=folders.history(2, "reconstruction"))
    np.savez(metrics / "predictions.npz", **{**arrays, name: value})
    assert "predictions.npz" in read_run(tmp_path).damaged
    assert "predictions.npz cannot be read" in check(build(tmp_path)).text
