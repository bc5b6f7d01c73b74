"""Reading domains: files, tables and pairs give the same rows; what cannot be read is named."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from isthmus import datasets, demo, folders
from isthmus.datasets import Table, read, shared_columns
from isthmus.labels import hold_out, resolve

X = np.array([[1.0, -2.5], [0.1, 3e300], [7.0, 1e-300]])
NAMES = ("a", "b")
WORDS = ["cat", "dog", None]


def as_text(value):
    return "" if value is None else str(value)


def write_csv(path, header, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *[[as_text(cell) for cell in row] for row in rows]])
    return path


def write_domain(path, y, label="target"):
    return write_csv(path, [*NAMES, label], [[*row, cell] for row, cell in zip(X, y, strict=True)])


def columns(y):
    return {"a": X[:, 0], "b": X[:, 1], "target": y}


def pandas_table(y):
    return pytest.importorskip("pandas").DataFrame(columns(y))


def polars_table(y):
    return pytest.importorskip("polars").DataFrame(columns(y))


def arrow_table(y):
    return pytest.importorskip("pyarrow").table(columns(y))


def parquet_file(y, folder):
    pytest.importorskip("pyarrow").parquet  # noqa: B018 (the submodule may be missing)
    import pyarrow.parquet as parquet

    parquet.write_table(arrow_table(y), folder / "t.parquet")
    return folder / "t.parquet"


def npz_file(y, folder):
    cells = np.array(["" if cell is None else cell for cell in y])
    np.savez(folder / "t.npz", X=X, y=cells)
    return folder / "t.npz"


FORMS = {
    "csv": lambda y, folder: write_domain(folder / "t.csv", y),
    "npz": npz_file,
    "parquet": parquet_file,
    "pandas": lambda y, folder: pandas_table(y),
    "polars": lambda y, folder: polars_table(y),
    "polars lazy": lambda y, folder: polars_table(y).lazy(),
    "pyarrow": lambda y, folder: arrow_table(y),
    "pair": lambda y, folder: (X, y),
    "pair of lists": lambda y, folder: (X.tolist(), list(y)),
    "pair with a table": lambda y, folder: (pandas_table(y).drop(columns="target"), y),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_domain_reads_as_the_same_rows_and_labels(form, tmp_path):
    if form == "parquet":
        pytest.importorskip("pyarrow.parquet")
    table = read(FORMS[form](WORDS, tmp_path), label="target", role="source")
    np.testing.assert_array_equal(table.X, X)
    assert list(table.labels) == WORDS
    assert table.names == (None if form in ("npz", "pair", "pair of lists") else NAMES)
    assert not table.defects


@pytest.mark.parametrize("form", ["pandas", "polars", "pyarrow", "pair"])
def test_a_float_label_column_with_gaps_has_unlabelled_rows(form, tmp_path):
    y = np.array([1.0, np.nan, 2.0])
    assert list(read(FORMS[form](y, tmp_path), label="target", role="target").labels) == [1.0, None, 2.0]


def test_nullable_and_categorical_pandas_labels_keep_their_values():
    pandas = pytest.importorskip("pandas")
    integers = pandas.array([3, None, 4], dtype="Int64")
    categories = pandas.Categorical(["u", None, "v"])
    assert list(read(pandas_table(integers), label="target", role="t").labels) == [3, None, 4]
    assert list(read(pandas_table(categories), label="target", role="t").labels) == ["u", None, "v"]


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.bool_, np.str_, np.longdouble])
def test_labels_in_a_list_of_numpy_scalars_are_labels(dtype):
    y = np.array([0, 1, 1]).astype(dtype)
    assert list(read((X, list(y)), label="y", role="source").labels) == y.tolist()


def test_a_missing_boolean_of_pandas_is_no_label():
    pandas = pytest.importorskip("pandas")
    gaps = pandas.array([True, None, False], dtype="boolean")
    assert list(read(pandas_table(gaps), label="target", role="t").labels) == [True, None, False]


def test_float32_tables_stay_float32_and_mixed_ones_become_float64():
    narrow = read((X[:, :1].astype(np.float32), None), label="y", role="source").X
    assert narrow.dtype == np.float32
    pandas = pytest.importorskip("pandas")
    mixed = pandas.DataFrame({"a": np.ones(3, np.float32), "b": [1, 2, 3], "c": [True, False, True]})
    assert read(mixed, label="y", role="source").X.dtype == np.float64


def test_a_csv_with_byte_order_mark_quotes_spaces_and_blank_lines_reads(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbf"a", b,target\r\n1, 2 ,"x,y"\r\n\r\n3,4, z \r\n')
    table = read(path, label="target", role="source")
    assert table.names == ("a", "b")
    np.testing.assert_array_equal(table.X, [[1, 2], [3, 4]])
    assert list(table.labels) == ["x,y", "z"]


def test_a_csv_longer_than_one_chunk_reads_whole_and_names_the_right_row(tmp_path):
    n = 2 * datasets._ROWS_PER_CHUNK + 3
    values = np.arange(n, dtype=float)
    rows = [[value, 2 * value] for value in values]
    table = read(write_csv(tmp_path / "t.csv", ["a", "b"], rows), label="y", role="target")
    np.testing.assert_array_equal(table.X, np.column_stack([values, 2 * values]))
    rows[n - 2][1] = "oops"
    broken = read(write_csv(tmp_path / "u.csv", ["a", "b"], rows), label="y", role="target")
    assert f"column 'b', row {n - 1} " in broken.defects[1]


def test_columns_are_matched_by_name_and_the_rest_is_named(tmp_path):
    source = Table("s.csv", np.array([[1.0, 2.0, 3.0]] * 2), ("a", "b", "only_here"))
    target = Table("t.csv", np.array([[20.0, 10.0]] * 2), ("b", "a"))
    left, right, names, notes = shared_columns(source, target)
    assert names == ("a", "b")
    np.testing.assert_array_equal(left[0], [1, 2])
    np.testing.assert_array_equal(right[0], [10, 20])
    assert notes == ["Columns only in s.csv were left out: 'only_here'."]


def test_a_text_column_that_only_one_domain_has_is_no_error(tmp_path):
    source = read(
        write_csv(tmp_path / "s.csv", ["name", "a"], [["Ann", 1], ["Bob", 2]]), label="y", role="source"
    )
    target = read((np.ones((2, 1)), None), label="y", role="target")
    named = Table("t", target.X, ("a",))
    assert shared_columns(source, named)[2] == ("a",)
    with pytest.raises(ValueError, match="column 'name', row 1 must hold a finite number, found 'Ann'"):
        shared_columns(source, source)


BAD_CELLS = {
    "text": ("abc", "'abc'"),
    "empty": ("", "an empty cell"),
    "blank": ("  ", "an empty cell"),
    "NaN": ("nan", "'nan'"),
    "infinity": ("-inf", "'-inf'"),
    "decimal comma": ("1,5", "'1,5'"),
    "very long text": ("x" * 1000, "'" + "x" * 56 + "..."),
}


@pytest.mark.parametrize("cell, found", BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_csv_cell_that_is_no_finite_number_is_named_with_file_column_row_and_value(cell, found, tmp_path):
    path = write_csv(tmp_path / "s.csv", ["a", "b"], [[1, 2], [3, 4], [5, cell]])
    table = read(path, label="y", role="source")
    expected = f"{path}: column 'b', row 3 must hold a finite number, found {found}"
    with pytest.raises(ValueError, match=re.escape(expected) + "$"):
        shared_columns(table, table)


BAD_COLUMNS = {
    "NaN": (np.array([1.0, np.nan, 2.0]), "row 2 must hold a finite number, found an empty cell"),
    "infinity": (np.array([1.0, 2.0, np.inf]), "row 3 must hold a finite number, found inf"),
    "None": (
        np.array([1.0, None, 2.0], dtype=object),
        "row 2 must hold a finite number, found an empty cell",
    ),
    "text": (np.array([1.0, 2.0, "3"], dtype=object), "row 3 must hold a finite number, found '3'"),
    "lists": ([[1.0], [2.0], [3.0]], r"row 1 must hold a finite number, found \[1.0\]"),
    "ragged lists": ([1.0, [2.0, 3.0], [4.0]], r"row 2 must hold a finite number, found \[2.0, 3.0\]"),
    "dates": (np.array(["2020-01-01"] * 3, dtype="datetime64[D]"), "row 1 must hold a finite number, found"),
}


@pytest.mark.parametrize("column, found", BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_a_table_column_that_holds_no_finite_numbers_is_named(column, found):
    table = read(
        pytest.importorskip("pandas").DataFrame({"a": [1, 2, 3], "b": column}), label="y", role="source"
    )
    with pytest.raises(ValueError, match=f"source: column 'b', {found}"):
        shared_columns(table, table)


BAD_FILES = {
    "empty file": (b"", "must hold a table, found an empty file"),
    "blank first line": (b"\n1,2\n", "must start with a line of column names"),
    "header only": (b"a,b\n", "must hold at least two rows, found a header only"),
    "one row": (b"a,b\n1,2\n", "the source must hold at least two rows, found 1"),
    "semicolons": (b"a;b\n1;2\n3;4\n", "must separate its columns by ',', found ';'"),
    "tabs": (b"a\tb\n1\t2\n3\t4\n", "must separate its columns by ',', found tabs"),
    "not UTF-8": ("a,b\n1,2\n3,\xe4\n".encode("latin-1"), "must be UTF-8 text, found byte 0xe4"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "must be UTF-8 text, found byte 0xff"),
    "duplicate columns": (b"a,b,a\n1,2,3\n4,5,6\n", "must name each column once, found duplicates: 'a'"),
    "short row": (b"a,b\n1,2\n3\n", "line 3 must have 2 cells, found 1"),
    "long row": (b"a,b\n1,2,3\n3,4\n", "line 2 must have 2 cells, found 3"),
    "open quote": (b'a,b\n1,"2\n3,4\n', "must be comma-separated values, found"),
}


@pytest.mark.parametrize("content, message", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_csv_file_is_refused_in_one_sentence(content, message, tmp_path):
    path = tmp_path / "s.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + re.escape(message)) as error:
        read(path, label="y", role="source")
    assert "\n" not in str(error.value)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_LINE_LIMIT", 100)
    path = tmp_path / "s.csv"
    path.write_text("a,b\n1,2\n3," + "4" * 200)
    with pytest.raises(ValueError, match="line 3 must be shorter than 100 characters"):
        read(path, label="y", role="source")


def test_files_that_are_missing_folders_or_of_another_kind_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"s\.csv does not exist"):
        read(tmp_path / "s.csv", label="y", role="source")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(ValueError, match="must be a file, found a folder"):
        read(tmp_path / "d.csv", label="y", role="source")
    (tmp_path / "s.xlsx").write_text("x")
    with pytest.raises(ValueError, match=r"must end in .csv, .npz or .parquet, found '.xlsx'"):
        read(tmp_path / "s.xlsx", label="y", role="source")


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_binary_file_with_other_content_is_refused(suffix, tmp_path):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"s{suffix}"
    path.write_bytes(b"PK\x03\x04 nothing of the kind")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read(path, label="y", role="source")


def test_a_parquet_file_that_names_a_column_twice_is_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = [pa.array([1, 2]), pa.array([3, 4])]
    parquet.write_table(pa.Table.from_arrays(columns, names=["a", "a"]), tmp_path / "s.parquet")
    with pytest.raises(ValueError, match="must name each column once, found duplicates: 'a'"):
        read(tmp_path / "s.parquet", label="y", role="source")


def test_an_npz_file_with_any_byte_changed_is_read_or_refused(tmp_path):
    np.savez(tmp_path / "s.npz", X=X, y=[*WORDS[:2], "a"])
    content = (tmp_path / "s.npz").read_bytes()
    for at in range(0, len(content), 3):
        (tmp_path / "t.npz").write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        try:
            read(tmp_path / "t.npz", label="y", role="source")
        except ValueError as error:
            assert str(tmp_path / "t.npz") in str(error)


def test_an_npz_file_with_python_objects_is_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    np.savez(tmp_path / "s.npz", X=np.array([Trap()], dtype=object))
    with pytest.raises(ValueError, match="pickled data is never loaded"):
        read(tmp_path / "s.npz", label="y", role="source")
    assert not (tmp_path / "sprung").exists()


def test_an_npz_file_without_rows_names_the_arrays_it_holds(tmp_path):
    np.savez(tmp_path / "s.npz", data=X)
    with pytest.raises(ValueError, match=r"must hold an array 'X'.*found \['data'\]"):
        read(tmp_path / "s.npz", label="y", role="source")


def test_pairs_of_wrong_shape_or_type_are_refused():
    with pytest.raises(ValueError, match=r"source: X must have shape \(n, d\), found \(3,\)"):
        read((np.ones(3), None), label="y", role="source")
    with pytest.raises(ValueError, match=r"y must have one label for each of 3 rows, found shape \(2,\)"):
        read((X, [1, 2]), label="y", role="source")
    with pytest.raises(ValueError, match="X must hold real numbers, found dtype complex128"):
        read((X * 1j, None), label="y", role="source")
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="source: y must have the index of X, found another"):
        read((pandas.DataFrame(X), pandas.Series(WORDS, index=[2, 1, 0])), label="y", role="source")
    assert (
        list(read((X.tolist(), pandas.Series(WORDS, index=[2, 1, 0])), label="y", role="t").labels) == WORDS
    )
    with pytest.raises(TypeError, match="source must be a path, a table or a pair"):
        read(17, label="y", role="source")


def test_domains_without_common_columns_or_widths_are_refused():
    left, right = Table("s.csv", X, ("a", "b")), Table("t.csv", X, ("c", "d"))
    with pytest.raises(
        ValueError, match="must share feature columns, found none in common: 'a', 'b' and 'c', 'd'"
    ):
        shared_columns(left, right)
    with pytest.raises(ValueError, match="t must have the source's width d = 2, found 1"):
        shared_columns(left, Table("t", X[:, :1], None))


# -- labels


def csv_table(cells, origin="s.csv"):
    return Table(origin, np.zeros((len(cells), 1)), ("a",), datasets._objects(cells), untyped=True)


def typed_table(cells, origin="s"):
    return Table(origin, np.zeros((len(cells), 1)), ("a",), datasets._objects(cells))


LABELS = {
    "text": (["a", "b"], ["b", None], "classification", ["a", "b"]),
    "booleans": (["True", "false"], ["true", None], "classification", [True, False]),
    "integers": (["3", "-1"], ["3", None], "classification", [3, -1]),
    "integers with gaps, as pandas writes them": (["3", "5"], ["3.0", None], "classification", [3, 5]),
    "numbers": (["0.5", "2"], ["1.5", "nan"], "regression", [0.5, 2.0]),
    "text in one file only": (["1", "x"], ["1", None], "classification", ["1", "x"]),
    "integers beyond the digits of a float": (
        [str(2**53), str(2**53 + 1)],
        [str(2**53 + 1), None],
        "classification",
        [2**53, 2**53 + 1],
    ),
    "codes with leading zeros": (["007", "008"], ["008", None], "classification", ["007", "008"]),
}


@pytest.mark.parametrize("source, target, task, values", LABELS.values(), ids=LABELS)
def test_csv_labels_get_the_type_that_fits_both_files(source, target, task, values):
    found = resolve(csv_table(source), csv_table(target, "t.csv"), label="y")
    assert found.task == task
    assert found.source.tolist() == values
    assert [type(value) for value in found.source.tolist()] == [type(value) for value in values]
    assert found.target.dtype == found.source.dtype
    assert found.target_rows.tolist() == [0]
    assert any(task in note for note in found.notes)


@pytest.mark.parametrize("n, task", [(20, "classification"), (21, "regression")])
def test_auto_takes_integers_of_at_most_20_values_as_classes(n, task):
    cells = list(range(n)) * 2
    assert resolve(typed_table(cells), typed_table([0, 1], "t"), label="y").task == task
    assert resolve(csv_table([str(cell) for cell in cells]), csv_table(["0", "1"]), label="y").task == task


def test_predictions_keep_the_spelling_of_the_file():
    found = resolve(csv_table(["TRUE", "false"]), csv_table(["true"]), label="y")
    assert found.spelling == {True: "TRUE", False: "false"}


BAD_LABELS = {
    "one class": (["a", "a"], ["a"], "auto", "must hold at least two classes, found one: 'a'"),
    "one value": (["1.5", "1.5"], ["1.5"], "auto", "must vary, found only the value 1.5"),
    "no label at all": ([None, None], ["a"], "auto", "must hold labels, found only empty cells"),
    "new class": (
        ["a", "b"],
        [None, "c"],
        "auto",
        "t.csv: column 'y', row 2 must hold one of the source's classes",
    ),
    "fractions as classes": (
        ["0.5", "1"],
        [None],
        "classification",
        "must hold classes .* found the number 0.5",
    ),
    "text as numbers": (["a", "b"], [None], "regression", "must hold finite numbers .* found text: 'a'"),
    "numbers too large": (
        ["1e200", "-1e200"],
        ["0"],
        "regression",
        "must have a finite variance, found numbers",
    ),
    "infinite number": (["0.5", "inf"], [None], "regression", "must hold finite numbers"),
}


@pytest.mark.parametrize("source, target, task, message", BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_that_cannot_be_learned_are_refused(source, target, task, message):
    with pytest.raises(ValueError, match=message):
        resolve(csv_table(source), csv_table(target, "t.csv"), label="y", task=task)


def test_labels_that_are_no_scalars_are_named():
    with pytest.raises(ValueError, match=r"labels must be text, booleans or numbers, found list \[1\]"):
        resolve(read((X, [[1], [2], [3]]), label="y", role="s"), typed_table([1]), label="y")


def test_a_very_long_class_is_cut_in_the_message():
    with pytest.raises(ValueError, match=r"classes 'a', 'b', found 'c{56}\.\.\.$"):
        resolve(csv_table(["a", "b"]), csv_table(["c" * 1000], "t.csv"), label="y")


def test_an_unknown_label_column_lists_the_columns():
    with pytest.raises(ValueError, match="must have the label column 'y', found 'a', 'b'"):
        resolve(Table("s.csv", X, ("a", "b")), csv_table(["1"]), label="y")


def test_labels_of_two_kinds_are_refused_with_an_example_of_each():
    with pytest.raises(ValueError, match=r"found numbers \(1: s, row 1\) and text \('x': t, row 2\)"):
        resolve(typed_table([1, 2]), typed_table([None, "x"], "t"), label="y")


def split_of(target, test_size=0.5, seed=0):
    found = resolve(typed_table(sorted(set(target)) * 2), typed_table(target, "t"), label="y")
    return found, *hold_out(found, test_size=test_size, random_state=seed)


@pytest.mark.parametrize("test_size", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("counts", [(30, 30), (10, 40, 20), (20, 20, 20, 1)])
def test_the_split_is_stratified_complete_and_a_lone_row_trains(counts, test_size):
    target = [str(k) for k, count in enumerate(counts) for _ in range(count)]
    found, train, test, notes = split_of(target, test_size)
    assert sorted([*train, *test]) == list(range(len(target)))
    assert not notes
    for k, count in enumerate(counts):
        held = int((found.target[test] == str(k)).sum())
        assert held == 0 if count == 1 else abs(held - test_size * count) <= 1


def test_a_split_too_small_to_stratify_says_so():
    _, train, test, notes = split_of(["a", "a", "b", "b"], test_size=0.25)
    assert len(train) + len(test) == 4 and len(test) == 1
    assert "Too few labelled target rows" in notes[0]


def test_a_single_labelled_row_trains_and_none_is_held_out():
    found = resolve(typed_table(["a", "b"]), typed_table(["a", None], "t"), label="y")
    train, test, _ = hold_out(found, test_size=0.5, random_state=0)
    assert (train.tolist(), test.tolist()) == ([0], [])


@pytest.mark.parametrize("test_size", [0.0, 1.0, -1.0, float("nan")])
def test_a_test_size_outside_0_to_1_is_refused(test_size):
    with pytest.raises(ValueError, match="test_size must lie between 0 and 1"):
        split_of(["a", "b"], test_size)


def test_the_split_depends_on_the_seed_alone():
    target = ["a", "b"] * 20
    assert split_of(target)[2].tolist() == split_of(target)[2].tolist()
    assert split_of(target)[2].tolist() != split_of(target, seed=1)[2].tolist()


# -- the demo's data


def test_demo_digits_come_from_disjoint_rows_and_few_are_labelled():
    example = demo.digits()
    from sklearn.datasets import load_digits

    scanned = {row.tobytes() for row in load_digits().data}
    assert all(row.tobytes() in scanned for row in example.X)
    assert not any(row.tobytes() in scanned for row in example.X_target)
    assert len(example.X) + len(example.X_target) == len(load_digits().data)
    assert sum(cell is not None for cell in example.y_target) == demo.DIGITS_LABELLED
    assert example.X_target.min() >= 0 and example.X_target.max() <= 16


def test_demo_diabetes_is_split_by_sex_and_leaves_that_column_out():
    example = demo.diabetes()
    assert "sex" not in example.features and len(example.features) == 9
    assert len(example.X) + len(example.X_target) == 442


@pytest.mark.parametrize("make", [demo.digits, demo.diabetes])
def test_demo_data_survives_the_way_through_csv_bit_for_bit(make, tmp_path):
    example = make()
    demo.write_csv(tmp_path / "s.csv", example.X, example.y, example)
    demo.write_csv(tmp_path / "t.csv", example.X_target, example.y_target, example)
    tables = [read(tmp_path / f"{k}.csv", label=example.label, role=k) for k in "st"]
    left, right, names, _ = shared_columns(*tables)
    np.testing.assert_array_equal(left, example.X)
    np.testing.assert_array_equal(right, example.X_target)
    assert names == example.features
    assert [cell is None for cell in tables[1].labels] == [cell is None for cell in example.y_target]


# -- folders


def write_result(out, content="new", **options):
    with folders.new_folder(out, force=options.get("force", False), replaces=("result.txt",)) as new:
        (new / "result.txt").write_text(content)


def test_a_new_folder_appears_complete_with_usual_rights_and_nothing_beside_it(tmp_path):
    write_result(tmp_path / "deep" / "out")
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["out"]
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "deep" / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_folders_made_for_a_result_go_with_it(tmp_path):
    with (
        pytest.raises(RuntimeError),
        folders.new_folder(tmp_path / "a" / "b" / "out", force=False, replaces=()),
    ):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    write_result(tmp_path / "out", "old")
    rename = Path.rename

    def interrupted(self, target):
        if Path(target).name == "out" and ".new-" in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_result(tmp_path / "out", "new", force=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "result.txt").read_text() == "old"


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"the out folder .*file/out must be writable, found: Not a"):
        write_result(tmp_path / "file" / "out")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("force", [False, True])
def test_an_interrupted_folder_leaves_no_trace_and_keeps_the_old_one(error, force, tmp_path):
    if force:
        write_result(tmp_path / "out", "old")
    with pytest.raises(error), folders.new_folder(tmp_path / "out", force=force, replaces=()) as new:
        (new / "half.txt").write_text("half")
        raise error
    assert [entry.name for entry in tmp_path.iterdir()] == (["out"] if force else [])
    assert not force or (tmp_path / "out" / "result.txt").read_text() == "old"


def test_a_folder_with_content_needs_force_and_an_empty_one_does_not(tmp_path):
    (tmp_path / "empty").mkdir()
    write_result(tmp_path / "empty")
    with pytest.raises(ValueError, match="must be empty, found 1 entries"):
        write_result(tmp_path / "empty", "newer")
    assert (tmp_path / "empty" / "result.txt").read_text() == "new"


def test_force_replaces_the_result_and_keeps_files_that_are_not_part_of_it(tmp_path):
    write_result(tmp_path / "out", "old")
    (tmp_path / "out" / "diary.txt").write_text("mine")
    (tmp_path / "out" / "photos").mkdir()
    write_result(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "result.txt").read_text() == "new"
    assert (tmp_path / "out" / "diary.txt").read_text() == "mine"
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == [
        "diary.txt",
        "photos",
        "result.txt",
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_file_or_the_current_folder_is_never_replaced(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="must be a folder, found a file"):
        write_result(tmp_path / "file", force=True)
    (tmp_path / "home" / "work").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "home" / "work")
    for out, force in (("..", True), (".", False)):  # "." is empty: its name would pass to another folder
        with pytest.raises(ValueError, match="must not hold the current folder"):
            write_result(out, force=force)
