"""Prediction files and names of classes that mean other classes by the same numbers."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from tests.helpers.prediction_files import listed, probabilities
from tools import ensemble, score
from urnet.core.checks import InputError
from urnet.evaluation.class_order import agreed_names
from urnet.evaluation.prediction_reader import read_names
from urnet.evaluation.prediction_writer import CLASS_NAMES, arrow_schema, open_predictions

FOLDERS, NATURAL, FRENCH = ["1", "10", "2"], ["1", "2", "10"], ["un", "deux", "dix"]
N = 12


@pytest.fixture
def files(tmp_path):
    """``files(name, names)`` writes predictions of three classes, ``files(name, names, None)`` a file of names."""

    def write(name, names, k=3):
        path = tmp_path / name
        if k is None:
            path.write_text("".join(f"{name}\n" for name in names))
            return str(path)
        classes, scores = listed(probabilities(N, 3, 0, np.arange(N) % 3), k)
        with open_predictions(path, names, n_classes=3) as file:
            file.write_rows(pa.array([f"{i}.jpg" for i in range(N)]), classes, scores, [""] * N)
        return str(path)

    return write


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "arrow"])
def test_names_in_another_order_are_refused(files, suffix):
    natural, same = files(f"a.{suffix}", NATURAL), files(f"same.{suffix}", NATURAL)
    folders = files(f"b.{suffix}", FOLDERS)
    assert read_names(natural, 3) == NATURAL and read_names(natural, 5) == [*NATURAL, "", ""]
    text, french = files("folders.txt", FOLDERS, None), files("french.txt", FRENCH, None)
    assert agreed_names([natural, same], files("names.txt", NATURAL, None), 3) == NATURAL
    assert agreed_names([natural], french, None) == FRENCH  # a translation
    assert agreed_names([natural, files(f"c.{suffix}", ())], None, None) == []
    with pytest.raises(InputError, match=r"folders\.txt:2: class 1 is '10', but '2' in .*a\.\w+, where '10' is"):
        agreed_names([natural], text, 3)
    with pytest.raises(InputError, match=r"b\.\w+: class 1 is '10', but '2' in .*a\.\w+, where '10' is class 2"):
        agreed_names([natural, same, folders], french, 3)


def test_what_a_file_does_not_name_fits_any_order(files):
    best = files("best.csv", NATURAL, 1)  # one class per image
    seen = read_names(best, 3)
    assert agreed_names([best, files("all.csv", NATURAL)], None, None) == []
    assert all(name in ("", NATURAL[c]) for c, name in enumerate(seen))


def test_score_and_ensemble_refuse_and_know_names(files, tmp_path, capsys):
    natural, folders, text = files("a.arrow", NATURAL), files("b.csv", FOLDERS), files("folders.txt", FOLDERS, None)
    names = tmp_path / "names.csv"
    names.write_text("path,label_name\n" + "".join(f"{i}.jpg,{NATURAL[i % 3]}\n" for i in range(N)))
    numbers = tmp_path / "numbers.txt"
    numbers.write_text("".join(f"{i}.jpg {i % 3}\n" for i in range(N)))
    score.main(["--list", str(numbers), "--predictions", natural])
    expected = capsys.readouterr().out
    score.main(["--list", str(names), "--predictions", natural])
    assert capsys.readouterr().out == expected
    for argv in (["--class_names", text], ["--against", folders]):
        with pytest.raises(InputError, match="the same order is accepted"):
            score.main(["--list", str(numbers), "--predictions", natural, *argv])
    out = tmp_path / "out.csv"
    for members, argv in (([natural, folders], []), ([natural], ["--class_names", text])):
        with pytest.raises(InputError, match="the same order is accepted"):
            ensemble.main(["--members", *members, "--topk", "3", "--out", str(out), *argv])
    assert not out.exists()
    csv_file = files("c.csv", NATURAL)  # says no number of classes: the names do
    score.main(["--list", str(names), "--predictions", csv_file, "--class_names", files("n.txt", NATURAL, None)])
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("said", [b"{", b"[1]", json.dumps("a").encode(), b"\xff"])
def test_names_of_an_arrow_file_that_are_none(tmp_path, said):
    path = tmp_path / "a.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, arrow_schema().with_metadata({CLASS_NAMES: said})):
        pass
    with pytest.raises(InputError, match=r"a\.arrow: gives its classes as .* a JSON list of names is accepted"):
        read_names(path, 3)
