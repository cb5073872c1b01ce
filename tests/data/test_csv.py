"""CSV tables: forms of files, kinds of columns, targets, gaps, and training-only statistics."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiso.data import load
from kiso.data.table import column_kind, read_csv
from kiso.errors import DataError

N = 100


def write(folder, columns, delimiter=",", encoding="utf-8", name="t.csv", header=True):
    """A table of N rows from functions or lists of cells."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter)
    if header:
        writer.writerow(columns)
    cells = [[column(i) for i in range(N)] if callable(column) else column
             for column in columns.values()]
    writer.writerows(zip(*cells, strict=True))
    path = folder / name
    path.write_bytes(buffer.getvalue().encode(encoding))
    return path


def size(i):
    return (i * 37) % 101 / 4


def price(i):
    return 3 * size(i) + i % 7


def whole(splits, k="x"):
    """All rows, in the file's order."""
    parts = list(splits.parts().values())
    lines = np.argsort([int(name.split()[1]) for part in parts for name in part.names])
    return np.concatenate([getattr(part, k) for part in parts])[lines]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932"])
def test_delimiters_and_encodings(tmp_path, delimiter, encoding):
    path = write(tmp_path, {"面積": size, "地域": lambda i: ["東京", "大阪;"][i % 2],
                            "値段": price}, delimiter, encoding)
    splits = load(path, target="値段")
    assert splits.counts() == {"train": 70, "val": 15, "test": 15}
    assert splits.train.columns == ("面積", "地域=大阪;", "地域=東京")
    assert splits.train.task == "regression"
    assert whole(splits)[:, 0] == pytest.approx([size(i) for i in range(N)])
    assert whole(splits, "y")[:, 0] == pytest.approx([price(i) for i in range(N)])
    assert splits.train.source["delimiter"] == delimiter


def test_decimal_commas(tmp_path):
    columns = {"a": lambda i: f"{size(i)}".replace(".", ","), "y": lambda i: f"{i % 50},5"}
    for delimiter in (";", "\t"):
        for header, target in ((True, "y"), (False, "column2")):
            path = write(tmp_path, columns, delimiter, header=header)
            splits = load(path, target=target)
            assert whole(splits)[:, 0] == pytest.approx([size(i) for i in range(N)])
            assert whole(splits, "y")[:, 0].tolist() == [i % 50 + 0.5 for i in range(N)]


def test_quoted_cells_with_line_breaks(tmp_path):
    path = write(tmp_path, {"a": size, "text": lambda i: "one\ntwo" if i % 2 else 'say "x", y',
                            "y": price})
    assert load(path, target="y").train.columns == ("a", 'text=one\ntwo', 'text=say "x", y')


def test_tables_without_a_header(tmp_path):
    path = write(tmp_path, {"a": size, "b": price, "c": lambda i: "xyz"[i % 3]}, header=False)
    splits = load(path, target="column3")
    assert splits.train.columns == ("column1", "column2")
    assert splits.train.classes == ("x", "y", "z")
    assert sum(splits.counts().values()) == N


def test_headers_of_numbers_above_text_or_numbers(tmp_path):
    """label,0,1: a name above a column of numbers shows that the first row is a header."""
    path = write(tmp_path, {"label": lambda i: i % 3, "0": size, "1": price})
    assert load(path).train.columns == ("0", "1")


def test_one_hot_categories_are_sorted(tmp_path):
    path = write(tmp_path, {"wind": lambda i: ["SE", "NW", "cv", ""][i % 4], "y": price})
    splits = load(path, target="y")
    assert splits.train.columns == ("wind=NW", "wind=SE", "wind=cv")
    found = whole(splits)
    assert found[:4].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert splits.notes == (
        ("wind", "category, encoded as 3 columns of 0 and 1: NW, SE, cv"),
        ("wind", "25 missing values: all zeros"))


@pytest.mark.parametrize("missing", ["", "NA", "NaN", "?", "n/a", "null", " "])
def test_missing_numbers_get_the_training_median(tmp_path, missing):
    path = write(tmp_path, {"a": lambda i: missing if i % 5 == 0 else size(i), "y": price})
    splits = load(path, target="y")
    known = [size(int(name.split()[1]) - 2) for name in splits.train.names]
    median = np.median([value for name, value in zip(splits.train.names, known, strict=True)
                        if (int(name.split()[1]) - 2) % 5])
    assert whole(splits)[::5, 0] == pytest.approx([median] * 20)
    assert dict(splits.notes)["a"] \
        == f"20 missing values filled with the training median {median:g}"


def test_statistics_come_from_training_rows_only(tmp_path):
    columns = {"a": [""] + [size(i) for i in range(1, N)], "c": lambda i: "uv"[i % 2], "y": price}
    before = load(write(tmp_path, columns), target="y")
    rows = [int(name.split()[1]) - 2 for name in before.test.names]
    columns["a"] = [1e6 if i in rows and i else cell for i, cell in enumerate(columns["a"])]
    columns["c"] = [f"new{i}" if i in rows else "uv"[i % 2] for i in range(N)]
    after = load(write(tmp_path, columns), target="y")
    assert after.train.columns == before.train.columns == ("a", "c=u", "c=v")
    assert (after.train.x == before.train.x).all()
    assert (after.test.x[:, 1:] == 0).all()
    assert "15 odd values" in dict(after.notes)["c"]


def test_numbers_with_a_few_unreadable_cells(tmp_path):
    path = write(tmp_path, {"a": lambda i: "broken" if i == 50 else size(i), "y": price})
    splits = load(path, target="y")
    assert splits.train.columns == ("a",)
    assert dict(splits.notes)["a"] \
        == "1 odd values; the first, in line 52: a is 'broken', not a number: counted as missing"


def test_rows_without_target_are_dropped_and_counted(tmp_path):
    path = write(tmp_path, {"a": size, "y": lambda i: "NA" if i % 10 == 0 else price(i)})
    splits = load(path, target="y")
    assert sum(splits.counts().values()) == 90
    assert splits.train.source["missing_target"] == 10
    assert dict(splits.notes)["y"] == "10 of 100 rows dropped: the target is missing"


def test_running_numbers_and_dates_are_used_only_when_named(tmp_path):
    path = write(tmp_path, {"No": lambda i: i + 1, "date": lambda i: f"2024-01-{i % 28 + 1:02d}",
                            "time": lambda i: f"{i % 24:02d}:30", "a": size, "y": price})
    splits = load(path, target="y")
    assert splits.train.columns == ("a",)
    assert set(dict(splits.notes)) == {"No", "date", "time"}
    asked = load(path, target="y", columns=["time", "No", "date"])
    assert asked.train.columns == ("No", "date", "time")
    assert whole(asked)[30].tolist() == [31, 19725, 6.5]  # 2024-01-03 is day 19725 since 1970


def test_a_running_number_is_kept_when_it_is_all_there_is(tmp_path):
    assert load(write(tmp_path, {"x": lambda i: i, "y": price}), target="y").train.columns == ("x",)


def test_running_numbers_are_seen_before_rows_are_dropped(tmp_path):
    path = write(tmp_path, {"No": lambda i: i, "a": size,
                            "y": lambda i: "" if i % 3 == 0 else price(i)})
    assert load(path, target="y").train.columns == ("a",)


def test_columns_that_cannot_help(tmp_path):
    path = write(tmp_path, {"empty": lambda i: "", "a": size, "y": price})
    splits = load(path, target="y")
    assert splits.train.columns == ("a",)
    assert dict(splits.notes) == {"empty": "column left out: it has no values"}


def test_texts_that_are_all_different_are_left_out(tmp_path, monkeypatch):
    from kiso.data.sources import csvfile

    monkeypatch.setattr(csvfile, "_MOST_CATEGORIES", 50)
    path = write(tmp_path, {"name": lambda i: f"person {i}", "a": size, "y": price})
    assert load(path, target="y").train.columns == ("a",)
    named = load(path, target="y", columns=["name"])
    assert len(named.train.columns) == 70  # those of the training rows


@pytest.mark.parametrize(("cells", "task"), [
    (lambda i: i % 3, "classification"), (lambda i: i % 20, "classification"),
    (lambda i: i % 21, "regression"), (lambda i: i % 3 + 0.5, "regression"),
    (lambda i: f"{i % 3}.0", "classification"), (lambda i: "abc"[i % 3], "classification")])
def test_the_target_decides_the_task(tmp_path, cells, task):
    splits = load(write(tmp_path, {"a": size, "y": cells}), target="y")
    assert splits.train.task == task
    assert splits.train.y.dtype == (np.int64 if task == "classification" else np.float32)


def test_task_overrides(tmp_path):
    path = write(tmp_path, {"a": size, "y": lambda i: i % 12})
    assert load(path, target="y", task="regression").train.y.shape == (70, 1)
    assert load(path, target="y").train.classes == tuple(str(k) for k in range(12))
    path = write(tmp_path, {"a": size, "y": lambda i: i % 30})
    assert load(path, target="y", task="classification").train.classes[-2:] == ("28", "29")
    path = write(tmp_path, {"a": size, "y": lambda i: "bad" if i == 3 else i})
    with pytest.raises(DataError, match=r"not a number in 1 rows \(such as 'bad'\)"):
        load(path, target="y", task="regression")


def test_equal_numbers_are_one_class(tmp_path):
    path = write(tmp_path, {"a": size, "y": lambda i: ["1", "1.0", "10", "2.5", "+2.5"][i % 5]})
    splits = load(path, target="y", task="classification")
    assert splits.train.classes == ("1", "2.5", "10")
    assert whole(splits, "y")[:5].tolist() == [0, 0, 2, 1, 1]


def test_classes_are_stratified(tmp_path):
    path = write(tmp_path, {"a": size, "label": lambda i: "rare" if i % 20 == 0 else "usual"})
    splits = load(path)  # label is a usual name: it need not be given
    assert [part.class_counts()["rare"] for part in splits.parts().values()] == [3, 1, 1]


def test_ragged_rows(tmp_path):
    path = write(tmp_path, {"a": size, "y": price})
    lines = path.read_text().splitlines()
    lines[5] += ",7"
    lines[9] = "1"
    path.write_text("\n".join([*lines, "", ",", "   "]))
    splits = load(path, target="y")
    assert splits.problems == (("line 6", "3 cells; expected 2"),
                               ("line 10", "1 cells; expected 2"))
    assert sum(splits.counts().values()) == 98
    with pytest.raises(DataError, match="line 6: 3 cells"):
        load(path, target="y", on_broken="fail")


def test_repeated_and_empty_names(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,a,,y\n" + "\n".join(f"{i % 7}.5,{i % 5},{i % 3},{i}.5" for i in range(20)))
    assert load(path, target="y").train.columns == ("a", "a_2", "column3")


@pytest.mark.parametrize(("content", "reason"), [
    ("", "no rows"), ("a,b\n", "no rows"), ("\n\n\n", "no rows"), ("a,y\n1,\n2,NA\n", "every row"),
    ("a,y\n1,2\n3,4\n", "too few"), ("y\n1.5\n2.5\n3.5\n4.5\n", "no column to predict y from"),
    ("a,y\n1,k\n2,k\n3,k\n4,k\n", "only one class"), ("a\0b,y\n1,2\n", "NUL")])
def test_unusable_tables(tmp_path, content, reason):
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=reason) as caught:
        load(path, target="y")
    assert caught.value.exit_code == 2


def test_a_target_that_is_not_there(tmp_path):
    path = write(tmp_path, {"Price": price, "area": size, "CO(GT)": size})
    with pytest.raises(DataError, match=r"no column 'price'.*Price, area, CO.*mean Price\?"):
        load(path, target="price")
    with pytest.raises(DataError, match=r"Name it with --target; the columns are: Price, area"):
        load(path)
    with pytest.raises(DataError, match=r"no column 'aera'.*mean area\?"):
        load(path, target="Price", columns=["aera"])


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
                                 max_size=8), min_size=2, max_size=4), min_size=1, max_size=12))
def test_any_text_is_read_or_refused(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("\n".join(",".join(row) for row in rows), "utf-8")
    try:
        table = read_csv(path)
    except DataError:
        return
    assert all(len(cells) == len(table) for cells in table.columns.values())


@given(st.lists(st.floats(-1e20, 1e20), min_size=1))
def test_numbers_are_numbers(values):
    assert column_kind([repr(value) for value in values]) == "number"


@pytest.mark.parametrize(("cells", "kind"), [
    (["1", "2", "x"], "category"), (["1", "", "NA"], "number"), (["", "NA"], "empty"),
    (["2024-01-05", "2023-12-31"], "date"), (["18:00:00", "03:15:20"], "date"),
    (["31/12/2020", "1/2/2020"], "date"), (["2024-13-40"], "category"), (["1_000"], "category"),
    (["inf", "1"], "category"), (["1e400"], "category"), (["2020-01-01T10:00:00"], "date"),
    (["2024年1月5日"], "date"), (["12/25/2020", "1/2/2020"], "date")])
def test_kinds_of_columns(cells, kind):
    assert column_kind(cells) == kind
