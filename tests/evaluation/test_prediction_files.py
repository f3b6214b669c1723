"""Prediction files: what is written is read back, in any blocks, and every fault is named with its row."""

import csv
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.prediction_files import listed, probabilities, write
from urnet.core.checks import InputError
from urnet.evaluation.prediction_names import join_names, split_names
from urnet.evaluation.prediction_reader import number_of_classes, read_names, read_paths, read_predictions
from urnet.evaluation.prediction_writer import ARROW_ROWS, FORMATS, open_predictions

SUFFIXES = pytest.mark.parametrize("suffix", FORMATS)


@SUFFIXES
@pytest.mark.parametrize("rows", [1, 3, 20, 100])
def test_what_is_written_is_read_back_in_any_blocks(tmp_path, suffix, rows):
    p = probabilities(20, 9, 0)
    names = [f'a "{i}", b\u00e9.jpg' for i in range(20)]
    gone = {0, 1, 7, 19}  # also the first rows, where k is not yet known
    file = write(tmp_path / f"a{suffix}", p, 4, names, gone)
    blocks = list(read_predictions(file, 9, rows, text_bytes=300))  # a few lines
    assert [len(block) for block in blocks] == [rows] * (20 // rows) + ([20 % rows] if 20 % rows else [])
    assert [block.first for block in blocks] == list(range(0, 20, rows))
    assert [path for block in blocks for path in block.path.to_pylist()] == names
    readable = np.concatenate([block.readable for block in blocks])
    np.testing.assert_array_equal(np.flatnonzero(~readable), sorted(gone))
    classes, scores = listed(p, 4)
    for block in blocks:
        rows_of = np.arange(block.first, block.first + len(block))[block.readable]
        if len(rows_of):
            np.testing.assert_array_equal(block.classes[block.readable], classes[rows_of])
            np.testing.assert_array_equal(block.scores[block.readable], scores[rows_of])  # bit for bit
        assert not block.scores[~block.readable].any()


@SUFFIXES
def test_row_by_row_and_block_by_block_give_the_same_bytes(tmp_path, suffix):
    p = probabilities(8, 9, 0)
    classes, scores = listed(p, 3)
    block = write(tmp_path / f"block{suffix}", p, 3, unreadable={2})
    with open_predictions(tmp_path / f"rows{suffix}", batch_rows=8) as file:
        for i in range(8):
            if i == 2:
                file.write("2.jpg", [], [], "broken")
            else:
                file.write(f"{i}.jpg", classes[i].tolist(), scores[i].tolist())
    assert block.read_bytes() == (tmp_path / f"rows{suffix}").read_bytes()


WORDS = st.text(st.sampled_from(' ;",=a\u00e9\n\r\t\\') | st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(WORDS, min_size=3, max_size=3), paths=st.lists(WORDS.filter(bool), min_size=2, max_size=2))
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("k", [1, 3])
def test_any_name_and_path_comes_back(tmp_path, suffix, k, names, paths):
    """Whatever separators, quotes, line breaks and blanks are in them."""
    file = tmp_path / f"a{suffix}"
    classes = np.array([[2, 0, 1], [1, 0, 2]])[:, :k]
    with open_predictions(file, names) as out:
        out.write_rows(pa.array(paths), classes, np.array([[0.5, 0.3, 0.2]] * 2)[:, :k], ["", ""])
    found = read_names(file, 3)
    known = [name if c in classes else "" for c, name in enumerate(names)]
    assert found == (known if any(known) else [])
    assert read_paths(file).to_pylist() == paths
    if suffix == ".csv":  # as docs/cli.md says that a cell is read
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row, order in zip(rows, classes.tolist(), strict=True):
            assert next(csv.reader([row["names"]], delimiter=";", skipinitialspace=True)) == [names[c] for c in order]


def test_a_cell_of_names():
    """Bytes of names without a semicolon, a quote or a blank in front are what they always were."""
    plain = ["tench, Tinca tinca", 'a 5" disk', "=1+1", "é"]
    assert join_names(plain) == "; ".join(plain)
    assert join_names(["goldfish; carp", '"tench"', " x", "a;b"]) == '"goldfish; carp"; """tench"""; " x"; "a;b"'
    assert split_names("a; b") == ["a", "b"]
    assert split_names("") == []
    assert split_names(join_names([""])) == [""]


@SUFFIXES
def test_a_byte_order_mark_is_read(tmp_path, suffix):
    """Only CSV can be written with one; readers take it in any text."""
    p = probabilities(4, 9, 0)
    plain = write(tmp_path / f"a{suffix}", p, 3)
    if suffix != ".csv":
        with pytest.raises(InputError, match=r"--excel only affects a CSV file; it needs --output FILE\.csv"):
            open_predictions(plain, excel=True).__enter__()
    if suffix == ".arrow":
        return
    marked = tmp_path / f"b{suffix}"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    (one,), (other,) = (read_predictions(file, 9) for file in (plain, marked))
    assert other.path.equals(one.path)
    np.testing.assert_array_equal(other.scores, one.scores)
    assert read_paths(marked).equals(one.path)
    if suffix == ".csv":
        with open_predictions(tmp_path / "c.csv", excel=True) as file:
            file.write_rows(one.path, one.classes, one.scores, [""] * 4)
        assert (tmp_path / "c.csv").read_bytes() == marked.read_bytes()


def test_the_number_of_classes_is_in_an_arrow_file(tmp_path):
    for name, n_classes in (("a.arrow", 9), ("b.arrow", None), ("c.csv", 9)):
        with open_predictions(tmp_path / name, n_classes=n_classes) as file:
            file.write("x", [1], [0.5])
    a, b, c = tmp_path / "a.arrow", tmp_path / "b.arrow", tmp_path / "c.csv"
    assert [number_of_classes([file]) for file in (a, b, c)] == [9, None, None]
    assert number_of_classes([c, b, a]) == number_of_classes([a, c], 9) == 9
    assert number_of_classes([c], 4) == 4
    with pytest.raises(InputError, match=r"a\.arrow: has 9 classes, but --class_dim says 10"):
        number_of_classes([a, c], 10)
    with open_predictions(tmp_path / "d.arrow", n_classes=8) as file:
        file.write("x", [1], [0.5])
    with pytest.raises(InputError, match=r"d\.arrow: has 8 classes, but \S+a\.arrow says 9"):
        number_of_classes([a, tmp_path / "d.arrow"])


@pytest.mark.parametrize("large", [False, True])
def test_arrow_files_of_others(tmp_path, large):
    """Fixed-size lists, float16, int64, large strings, nulls; also one batch that is too large to be read."""
    n = 4 * ARROW_ROWS + 10 if large else 12
    p = probabilities(n, 6, 1)
    classes, scores = listed(p, 2)
    columns = {
        "score_of_something": pa.array(np.zeros(n)),
        "scores": pa.FixedSizeListArray.from_arrays(pa.array(scores.astype(np.float16).ravel()), 2),
        "path": pa.array([f"{i}.jpg" for i in range(n)], pa.large_string()),
        "classes": pa.array([None, *classes[1:].tolist()], pa.large_list(pa.int64())),
    }
    columns["scores"] = pa.array([None, *columns["scores"][1:].to_pylist()], pa.list_(pa.float16(), 2))
    table = pa.table(columns)
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    (block,) = read_predictions(tmp_path / "a.arrow", 6, n)
    assert (~block.readable).tolist() == [True] + [False] * (n - 1)
    np.testing.assert_array_equal(block.classes[1:], classes[1:])
    np.testing.assert_array_equal(block.scores[1:], scores[1:].astype(np.float16))


@SUFFIXES
@pytest.mark.parametrize(
    ("classes", "scores", "fault"),
    [
        ([9, 1], [0.5, 0.2], "a class is outside 0..8"),
        ([-1, 1], [0.5, 0.2], "a class is outside"),
        ([3, 3], [0.5, 0.2], "a class is listed twice"),
        ([3, 4], [1.5, 0.2], "a score is outside 0..1"),
        ([3, 4], [0.2, 0.5], "the scores are not best first"),
        ([3, 4, 5], [0.5, 0.2, 0.1], "3 classes and 3 scores; 2 of each, as in other rows, or none"),
    ],
)
def test_the_row_with_a_fault_is_named(tmp_path, suffix, classes, scores, fault):
    for rows in (1, 7):  # in the first block, and in a later one
        with open_predictions(tmp_path / f"a{suffix}", batch_rows=2) as file:
            for _ in range(rows):
                file.write("a.jpg", [0, 1], [0.5, 0.2])
            file.write("b.jpg", classes, scores)
        with pytest.raises(InputError, match=re.escape(f"row {rows + 1} (b.jpg): {fault}")):
            list(read_predictions(tmp_path / f"a{suffix}", 9, text_bytes=100))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "path,classes\nx,1\n", r"a\.csv: .*scores"),
        ("a.csv", "path,classes,scores\nx,1 y,0.5 0.2\n", r"a\.csv: rows 1\.\.1: .*'y'"),
        ("a.csv", "path,classes,scores\nx,1,nan\n", "row 1 .*a score is outside"),
        ("a.csv", "path,classes,scores\nx,1\n", r"a\.csv: is not a prediction file"),
        ("a.csv", "path,classes,scores\n", r"a\.csv: has no row"),
        ("a.jsonl", '{"path": "x", "label": [1]}\n', r"a\.jsonl: row 1: has no classes; path"),
        ("a.csv", "", r"a\.csv: "),
        (
            "a.csv",
            "\ufeffpath;classes;scores;names;error\nx;1;0,5;;\n",
            r"a\.csv: its columns are separated by semicolons",
        ),
        ("a.csv", "path\tclasses\tscores\nx\t1\t0.5\n", r"a\.csv: its columns are separated by tabs"),
        ("a.jsonl", '{"path": "x", "classes": [1.5], "scores": [0.5]}\n', r"a\.jsonl: is not a prediction file"),
        ("a.jsonl", '{"path": "x", "classes": [1]}\n', "row 1: has no scores; path, classes, scores are"),
        ("a.jsonl", '{"path": "x", "classes": [1], "scores": []}\n', "1 classes and 0 scores"),
        ("a.jsonl", '{"classes": [1], "scores": [0.5]}\n', "row 1: has no path"),
        ("a.jsonl", "nonsense\n", r"a\.jsonl: is not a prediction file"),
        ("a.arrow", "nonsense", r"a\.arrow: is not a whole Arrow file"),
        ("a.txt", "x", r"a\.txt: prediction files end in \.csv or \.jsonl or \.arrow"),
        ("none/a.csv", None, r"a\.csv: cannot be read \(No such file"),
        ("none/a.arrow", None, r"a\.arrow: cannot be read \(No such file"),
    ],
)
def test_files_that_are_none(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        list(read_predictions(tmp_path / name, 9))
    assert "\n" not in str(caught.value)


def test_a_cut_arrow_file_is_refused(tmp_path):
    file = write(tmp_path / "a.arrow", probabilities(50, 9, 0), 4)
    whole = file.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 8):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is not a whole Arrow file"):
            list(read_predictions(file, 9))


def test_offsets_that_lead_outside_are_refused(tmp_path):
    file = write(tmp_path / "a.arrow", probabilities(3, 9, 0), 2)
    whole, offsets = file.read_bytes(), np.array([0, 2, 4, 6], np.int32).tobytes()
    assert whole.count(offsets) == 2  # of classes and scores
    for bad in ([0, 2, 4, 6_000_000], [0, 2, 4, -6], [0, 5, 4, 6], [-2, 2, 4, 6]):
        file.write_bytes(whole.replace(offsets, np.array(bad, np.int32).tobytes()))
        with pytest.raises(InputError, match=r"a\.arrow: is not a prediction file of infer\.py"):
            list(read_predictions(file, 9))


def test_an_arrow_file_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), open_predictions(tmp_path / "a.arrow") as file:
        file.write("x", [1], [0.5])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "f.arrow").mkdir()
    with pytest.raises(InputError, match=r"--output \S+f\.arrow: is a folder"):
        open_predictions(tmp_path / "f.arrow").__enter__()
