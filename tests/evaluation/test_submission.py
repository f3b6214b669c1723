"""Submissions: the lines, every fault named with its line, nothing half written; tools/submission.py."""

import re

import numpy as np
import pytest

from tests.helpers.prediction_files import block, listed, part, probabilities, write
from tools import submission as tool
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.evaluation.submission import check_submission, read_test_list, write_submission

N, C = 12, 8
NAMES = [f"test{i:03d}.jpg" for i in range(N)]


def call(*arguments):
    return cli.run(tool.main, [str(argument) for argument in arguments])


@pytest.fixture
def names(tmp_path):
    file = tmp_path / "test_list.txt"
    file.write_text("".join(f"{name}\n" for name in NAMES))
    return file


@pytest.mark.parametrize("suffix", [".csv", ".arrow"])
def test_lines_are_in_the_lists_order(tmp_path, names, capsys, suffix):
    p, order = probabilities(N, C, 0), np.random.default_rng(0).permutation(N)
    file = write(tmp_path / f"p{suffix}", p[order], 6, [NAMES[i] for i in order])
    out = tmp_path / "s.txt"
    assert call("--predictions", file, "--out", out, "--test_list", names, "--class_dim", C) == 0
    assert capsys.readouterr().out == f"{out}: {N} lines, all of {names}\n"
    best = listed(p, 5)[0]
    expected = [f"{name} {' '.join(map(str, row))}" for name, row in zip(NAMES, best.tolist(), strict=True)]
    assert out.read_text() == "".join(f"{line}\n" for line in expected)
    assert call("--check", out, "--test_list", names, "--class_dim", C) == 0
    assert capsys.readouterr().out == f"{out}: {N} lines, each as it should be\n"
    assert call("--predictions", file, "--out", out, "--class_dim", C) == 0  # their own order
    assert "not compared with a test list" in capsys.readouterr().out
    assert out.read_text().splitlines() == [expected[i] for i in order]


def predicted(tmp_path, names, **changes):
    p = probabilities(len(names), C, 0)
    return write(tmp_path / "p.csv", p, changes.pop("k", 5), names, **changes)


BAD_PREDICTIONS = {
    "missing": (NAMES[:-1], {}, r"p\.csv: has no prediction of 'test011\.jpg' \(image 12 of \S+test_list"),
    "stray": ([*NAMES, "other.jpg"], {}, r"p\.csv: 'other\.jpg' is not in \S+test_list\.txt"),
    "twice": ([*NAMES, NAMES[4]], {}, r"p\.csv: 'test004\.jpg' is predicted twice"),
    "unreadable": (NAMES, {"unreadable": {7}}, r"row 8 \(test007\.jpg\): has no prediction"),
    "blank": (["a b.jpg", *NAMES[1:]], {}, r"row 1 \(a b\.jpg\): a name without blanks"),
    "too few": (NAMES, {"k": 4}, r"p\.csv: lists 4 classes an image, 5 are needed a line; infer\.py --topk 5"),
}


@pytest.mark.parametrize(("listed_names", "changes", "message"), BAD_PREDICTIONS.values(), ids=BAD_PREDICTIONS)
def test_predictions_that_make_no_submission(tmp_path, names, capsys, listed_names, changes, message):
    file = predicted(tmp_path, listed_names, **changes)
    out = tmp_path / "s.txt"
    out.write_text("before")
    assert call("--predictions", file, "--out", out, "--test_list", names, "--class_dim", C) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err), captured.err
    assert captured.err.count("\n") == 1
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "s.txt", "test_list.txt"]


def good_lines():
    rng = np.random.default_rng(0)
    return [f"{name} {' '.join(map(str, rng.permutation(C)[:5]))}" for name in NAMES]


FAULTS = {
    "four classes": (3, "test003.jpg 1 2 3 4", "a name and five class numbers"),
    "six classes": (3, "test003.jpg 1 2 3 4 5 6", "a name and five class numbers"),
    "two blanks": (3, "test003.jpg  1 2 3 4 5", "a name and five class numbers"),
    "tab": (3, "test003.jpg\t1 2 3 4 5", "a name and five class numbers"),
    "blank at the end": (3, "test003.jpg 1 2 3 4 5 ", "a name and five class numbers"),
    "word": (3, "test003.jpg 1 2 3 4 five", "a name and five class numbers"),
    "negative": (3, "test003.jpg 1 2 3 4 -5", "a name and five class numbers"),
    "fraction": (3, "test003.jpg 1 2 3 4 5.0", "a name and five class numbers"),
    "carriage return": (3, "test003.jpg 1 2 3 4 5\r", "a name and five class numbers"),
    "empty": (3, "", "a name and five class numbers"),
    "too large": (3, "test003.jpg 1 2 3 4 8", r"a class is outside 0\.\.7"),
    "class twice": (3, "test003.jpg 1 2 3 4 1", "a class is given twice"),
    "stranger": (3, "other.jpg 1 2 3 4 5", r"the name is not in names\.txt"),
    "name twice": (3, "test001.jpg 1 2 3 4 5", "the name has a line already"),
}


@pytest.mark.parametrize(("row", "line", "message"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("later", [None, "test009.jpg 1 2 3 4 99", "nonsense"])
def test_the_first_fault_is_named_with_its_line(tmp_path, row, line, message, later):
    lines = good_lines()
    lines[row] = line
    if later:
        lines[9] = later
    file = tmp_path / "s.txt"
    file.write_bytes(("\n".join(lines) + "\n").encode())
    with pytest.raises(InputError, match=rf"s\.txt:4: found {re.escape(repr(line))}: {message}"):
        check_submission(file, NAMES, "names.txt", C)


def test_a_missing_line_is_named(tmp_path):
    lines = good_lines()
    file = tmp_path / "s.txt"
    file.write_text("\n".join(lines[:5] + lines[6:]) + "\n")
    message = r"no line for 'test005\.jpg' \(image 6 of names\.txt\); it has 11 lines for 12 images"
    with pytest.raises(InputError, match=message):
        check_submission(file, NAMES, "names.txt", C)


def test_what_a_submission_may_be(tmp_path):
    """Another order of lines; no newline at the end."""
    file = tmp_path / "s.txt"
    file.write_text("\n".join(good_lines()[::-1]))
    assert check_submission(file, NAMES, "names.txt", C) == N


def test_other_files(tmp_path, names):
    (tmp_path / "empty").write_text("")
    (tmp_path / "latin").write_bytes(b"test000.jpg 1 2 3 4 5\n\xe9 1 2 3 4 5\n")
    for name, message in (("empty", "is empty"), ("latin", r"latin:2: is not UTF-8"), ("gone", "cannot be read")):
        with pytest.raises(InputError, match=message):
            check_submission(tmp_path / name, NAMES, "names.txt", C)
    names.write_text("a.jpg\nb.jpg\na.jpg\n")
    with pytest.raises(InputError, match=r"'a\.jpg' is listed twice"):
        read_test_list(names)
    names.write_text("a.jpg 3\nb.jpg\n")  # a label is not used
    assert read_test_list(names) == ["a.jpg", "b.jpg"]
    names.write_text("\n")
    with pytest.raises(InputError, match="lists no image"):
        read_test_list(names)


def test_blocks_are_joined(tmp_path):
    p = probabilities(N, C, 0)
    whole = block(p, 5)
    for blocks, file in (([whole], "one"), ([part(whole, 0, 5), part(whole, 5, N)], "two")):
        assert write_submission(iter(blocks), tmp_path / file) == N
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --predictions FILE and --out FILE, or --check FILE"),
        (["--predictions", "p"], "either --predictions FILE and --out FILE, or --check FILE"),
        (["--check", "s", "--out", "x"], "either --predictions FILE and --out FILE, or --check FILE"),
        (["--check", "s", "--predictions", "p", "--out", "x"], "either --predictions"),
        (["--check", "s"], "--check needs --test_list"),
        (["--check", "s", "--class_dim", "4"], "--class_dim: found 4; 5 or more"),
        (["--check", "s", "--test_list", "gone"], "gone: cannot be read"),
    ],
)
def test_bad_usage(capsys, arguments, message):
    assert call(*arguments) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err), captured.err
    assert captured.out == ""
