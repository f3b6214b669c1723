"""Submissions: the lines, every fault named with its line, nothing half written; tools/submission.py."""

import re

import numpy as np
import pytest

from tests.helpers.prediction_files import listed, probabilities, write
from tools import submission as tool
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.evaluation.submission import check_submission, read_test_list

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
    expected = [f"{name} {' '.join(map(str, row))}\n" for name, row in zip(NAMES, best.tolist(), strict=True)]
    assert out.read_text() == "".join(expected)
    assert call("--check", out, "--test_list", names, "--class_dim", C) == 0
    assert capsys.readouterr().out == f"{out}: {N} lines, each as it should be\n"
    below = write(tmp_path / f"q{suffix}", p[order], 6, [f"test set\\{NAMES[i]}" for i in order])
    flags = ["--out", out, "--test_list", names, "--class_dim", C, "--root", "test set"]
    assert call("--predictions", below, *flags) == 0
    assert out.read_text() == "".join(expected)
    capsys.readouterr()
    assert call("--predictions", file, "--out", out, "--class_dim", C) == 0  # their own order
    assert "not compared with a test list" in capsys.readouterr().out
    assert out.read_text() == "".join(expected[i] for i in order)


@pytest.mark.parametrize(
    ("predicted", "changes", "message"),
    [
        (NAMES[:-2], {}, r"2 of 12 images of .* not in \S+p\.csv \(the first: 'test010\.jpg', number 11\)"),
        ([*NAMES, "other.jpg"], {}, r"1 of 13 rows of .* not in \S+test_list\.txt \(the first: 'other\.jpg'"),
        ([*NAMES, NAMES[4]], {}, r"1 of 13 paths of \S+p\.csv occur twice \(the first: 'test004\.jpg'\)"),
        ([f"test/{name}" for name in NAMES], {}, "with --root test the leading folder is ignored and they match"),
        (NAMES, {"unreadable": {7}}, r"row 8 \(test007\.jpg\): has no prediction"),
        (["a b.jpg", *NAMES[1:]], {}, r"row 1 \(a b\.jpg\): a name without blanks"),
        (NAMES, {"k": 4}, r"p\.csv: lists 4 classes per image, 5 are needed a line; infer\.py --topk 5"),
    ],
)
def test_predictions_that_make_no_submission(tmp_path, names, capsys, predicted, changes, message):
    file = write(tmp_path / "p.csv", probabilities(len(predicted), C, 0), names=predicted, **{"k": 5, **changes})
    out = tmp_path / "s.txt"
    out.write_text("before")
    assert call("--predictions", file, "--out", out, "--test_list", names, "--class_dim", C) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err), captured.err
    assert captured.err.count("\n") == 1
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "s.txt", "test_list.txt"]


# --- checking


def checked(tmp_path, lines, end="\n"):
    file = tmp_path / "s.txt"
    file.write_bytes(("\n".join(lines) + end).encode())
    return check_submission(file, NAMES, "names.txt", C)


def good_lines():
    rng = np.random.default_rng(0)
    return [f"{name} {' '.join(map(str, rng.permutation(C)[:5]))}" for name in NAMES]


FORM = "a name and five class numbers"
FAULTS = [
    ("test003.jpg 1 2 3 4", FORM),
    ("test003.jpg  1 2 3 4 5", FORM),
    ("test003.jpg 1 2 3 4 5 ", FORM),
    ("test003.jpg 1 2 3 4 five", FORM),
    ("test003.jpg 1 2 3 4 5.0", FORM),
    ("test003.jpg 1 2 3 4 5\r", FORM),
    ("", FORM),
    ("test003.jpg 1 2 3 4 8", r"a class is outside 0\.\.7"),
    ("test003.jpg 1 2 3 4 1", "a class is given twice"),
    ("other.jpg 1 2 3 4 5", r"the name is not in names\.txt"),
    ("test001.jpg 1 2 3 4 5", "the name has a line already"),
]


@pytest.mark.parametrize(("line", "message"), FAULTS)
@pytest.mark.parametrize("later", [None, "test009.jpg 1 2 3 4 99", "nonsense"])
def test_the_first_fault_is_named_with_its_line(tmp_path, line, message, later):
    lines = good_lines()
    lines[3] = line
    lines[9] = later or lines[9]
    with pytest.raises(InputError, match=rf"s\.txt:4: found {re.escape(repr(line))}: {message}"):
        checked(tmp_path, lines)


def test_what_a_submission_may_be(tmp_path):
    """Another order of lines, no newline at the end; but a line for every image."""
    lines = good_lines()
    assert checked(tmp_path, lines[::-1], end="") == N
    message = r"no line for 'test005\.jpg' \(image 6 of names\.txt\); it has 11 lines for 12 images"
    with pytest.raises(InputError, match=message):
        checked(tmp_path, lines[:5] + lines[6:])


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "is empty"), (b"test000.jpg 1 2 3 4 5\n\xe9 1 2 3 4 5\n", "s:2: is not UTF-8"), (None, "cannot be read")],
)
def test_other_files(tmp_path, data, message):
    if data is not None:
        (tmp_path / "s").write_bytes(data)
    with pytest.raises(InputError, match=message):
        check_submission(tmp_path / "s", NAMES, "names.txt", C)


def test_test_lists(names):
    names.write_text("a.jpg 3\nb.jpg\n")  # a label is not used
    assert read_test_list(names) == ["a.jpg", "b.jpg"]
    for text, message in (
        ("a.jpg\nb.jpg\na.jpg\n", r"1 of 3 paths .* twice \(the first: 'a\.jpg'\)"),
        ("\n", "lists no image"),
    ):
        names.write_text(text)
        with pytest.raises(InputError, match=message):
            read_test_list(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "either --predictions FILE and --out FILE, or --check FILE"),
        ("--predictions p", "either --predictions FILE and --out FILE, or --check FILE"),
        ("--check s --out x", "either --predictions FILE and --out FILE, or --check FILE"),
        ("--check s --predictions p --out x", "either --predictions"),
        ("--check s", "--check needs --test_list"),
        ("--check s --class_dim 4", "--class_dim: found 4; 5 or more"),
        ("--check s --test_list gone", "gone: cannot be read"),
    ],
)
def test_bad_usage(capsys, arguments, message):
    assert call(*arguments.split()) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
