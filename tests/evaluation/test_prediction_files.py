"""Prediction files: what is written is read back, in any blocks, and every fault is named with its row."""

import re

import numpy as np
import pyarrow as pa
import pytest

from tests.helpers.prediction_files import listed, probabilities, write
from urnet.core.checks import InputError
from urnet.evaluation.prediction_reader import read_predictions
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
        ("a.csv", "path,classes,scores\nx,1\n", r"a\.csv: is no prediction file"),
        ("a.csv", "path,classes,scores\n", r"a\.csv: has no row"),
        ("a.jsonl", '{"path": "x", "label": [1]}\n', r"a\.jsonl: row 1: has no classes; path"),
        ("a.csv", "", r"a\.csv: "),
        ("a.jsonl", '{"path": "x", "classes": [1.5], "scores": [0.5]}\n', r"a\.jsonl: is no prediction file"),
        ("a.jsonl", '{"path": "x", "classes": [1]}\n', "row 1: has no scores; path, classes, scores are"),
        ("a.jsonl", '{"path": "x", "classes": [1], "scores": []}\n', "1 classes and 0 scores"),
        ("a.jsonl", '{"classes": [1], "scores": [0.5]}\n', "row 1: has no path"),
        ("a.jsonl", "nonsense\n", r"a\.jsonl: is no prediction file"),
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
        with pytest.raises(InputError, match=r"a\.arrow: is no prediction file of infer\.py"):
            list(read_predictions(file, 9))


def test_an_arrow_file_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), open_predictions(tmp_path / "a.arrow") as file:
        file.write("x", [1], [0.5])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "f.arrow").mkdir()
    with pytest.raises(InputError, match=r"--output \S+f\.arrow: is a folder"):
        open_predictions(tmp_path / "f.arrow").__enter__()
