"""The file of decisions: what hands and spreadsheets make of it, writing, undo, two writers, matching with a list."""

import csv
import errno
import hashlib
import json
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from urnet.core.checks import InputError
from urnet.data.decisions import DECISIONS, HEADER, Decision, DecisionsFile, Matcher, matched, read_decisions

HASH = "ab" * 32
NAMES = ["cat", "dog", ""]
ODD = [
    "a, b.jpg",
    'say "hi".jpg',
    "Größe.jpg",
    " lead.jpg",
    "semi;colon.jpg",
    "two\nlines.jpg",
    "ret\rurn.jpg",
    "tab\t.jpg",
]


def file_of(folder, text, name="decisions.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def keep(path="a.jpg", **other):
    return Decision(path, **{"sha256": HASH, "given": "cat", "decision": "keep", "label": "cat", **other})


def pictures(root, names, content=b"picture "):
    """Files below ``root``, and the hash of each."""
    found = {}
    for name in names:
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content + name.encode())
        found[name] = hashlib.sha256(place.read_bytes()).hexdigest()
    return found


# --- reading


def test_what_is_written_is_read_again(tmp_path):
    rows = [
        keep(path, decision=kind, label={"keep": "cat", "relabel": "dog"}.get(kind, ""), time="2026-01-02T03:04:05Z")
        for path, kind in zip(ODD, 2 * DECISIONS, strict=True)
    ]
    with DecisionsFile(tmp_path / "d.csv") as held:
        held.write_many(rows)
    found = read_decisions(tmp_path / "d.csv")
    assert list(found) == rows
    assert found.effects().tolist() == [1, 1, 2, 0] * 2
    assert found.labels(NAMES).tolist() == [0, 1, -1, -1] * 2
    with (tmp_path / "d.csv").open(newline="") as stream:  # and by another reader
        assert tuple(next(csv.reader(stream))) == HEADER


@pytest.mark.parametrize(
    "text",
    [
        "path,sha256,given,decision,label,time\na.jpg,{h},cat,relabel,dog,2026\n",
        "\ufeffpath;sha256;given;decision;label;time\r\na.jpg;{h};cat;relabel;dog;30.11.2026 01:03\r\n",
        "sep=;\r\npath;decision;label;sha256\r\na.jpg;relabel;dog;{h}\r\n",
        "Path\tDecision\tLabel\tmy notes\tSHA256\n\na.jpg\t Relabel \tdog\tlooks like one\t{H}\n",
        'path,decision,label,sha256\r"a.jpg",relabel,"dog",{h}',
        "path,decision,label,sha256,,\na.jpg,relabel, dog ,{h},,\n,,,,,\n",
    ],
)
def test_spreadsheets_and_hands(tmp_path, text):
    text = text.format(h=HASH, H=HASH.upper())
    for content in (text.encode(), text.lstrip("\ufeff").encode("utf-16")):
        (row,) = found = read_decisions(file_of(tmp_path, content))
        assert (row.path, row.sha256, row.decision) == ("a.jpg", HASH, "relabel")
        assert found.labels(NAMES).tolist() == [1]


def test_columns_that_are_missing(tmp_path):
    found = read_decisions(file_of(tmp_path, "decision,path\nnone,a.jpg\nskip,b.jpg\nkeep,c.jpg"))
    assert [(row.sha256, row.given, row.label, row.time) for row in found] == [("",) * 4] * 3
    assert found.effects().tolist() == [2, 0, 1]


HEAD = "path,sha256,given,decision,label,time\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; a first line `path,sha256,given,decision,label,time` is accepted"),
        ("\n \n", "is empty"),
        ("path,label\na.jpg,cat\n", ":1: has no column 'decision', found path, label; a first line"),
        ("a.jpg cat\n", ":1: has no column 'path'"),
        ("path,path,decision\na,a,keep\n", ":1: has two columns 'path'"),
        (HEAD + f"a.jpg,{HASH},cat,maybe,,\n", ":2: 'a.jpg': decision 'maybe' is not known; accepted: keep, relabel, "),
        (HEAD + f"a.jpg,{HASH},cat,,,\n", ":2: 'a.jpg': no decision; accepted: keep"),
        (HEAD + f"a.jpg,{HASH},cat,relabel,,\n", ":2: 'a.jpg': decision relabel without a label"),
        (HEAD + f"a.jpg,{HASH},cat,none,dog,\n", ":2: 'a.jpg': decision none with the label 'dog'; no label is accept"),
        (HEAD + f"a.jpg,{HASH},cat,keep,dog,\n", ":2: 'a.jpg': decision keep of 'cat', but the label 'dog'; relabel "),
        (HEAD + "\n\na.jpg,1.2E+45,cat,keep,,\n", ":4: 'a.jpg': sha256 '1.2e+45' is not 64 hexadecimal digits"),
        (HEAD + f",{HASH},cat,keep,,\n", ":2: has no path"),
        (HEAD + f"a,b.jpg,{HASH},cat,keep,,\n", ":2: has 7 columns, but the first line has 6; put a field that "
            "holds a comma "),
        (HEAD + f'a.jpg,{HASH},cat,keep,cat,\n"b.jpg,{HASH},cat,keep,cat,\n', ":3: is not valid CSV"),
        (
            HEAD + f"a.jpg,{HASH},cat,keep,cat,\nb.jpg,{HASH},cat,relabel,ca",
            ":3: ends after 5 of 6 columns without a line break, as if a program had been stopped",
        ),
        (HEAD.encode() + b"gr\xf6\xdfe.jpg,,cat,keep,,\n", ":2: found the byte 0xf6, which is not UTF-8"),
        (b"PK\x03\x04rest", "is a ZIP archive or an Excel workbook; save it as CSV"),
        ("sep=|\npath|decision\n", ":1: separator '|'; comma, semicolon and tab are accepted"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, text, says):
    path = file_of(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_decisions(path)
    message = str(caught.value)
    assert message.startswith(str(path) + ("" if says.startswith(":") else ": ")) and says in message
    assert "\n" not in message
    if text:
        with pytest.raises(InputError, match=re.escape(message)):
            DecisionsFile(path)
        assert [place.name for place in tmp_path.iterdir()] == ["decisions.csv"]  # no lock is left


def test_of_two_lines_about_one_picture_the_last_counts(tmp_path, capsys):
    lines = "a.jpg,,cat,keep,,\nb.jpg,,cat,none,,\na.jpg,,cat,relabel,dog,\nb.jpg,,cat,none,,now\n"
    found = read_decisions(file_of(tmp_path, HEAD + lines))
    assert [(row.path, row.decision, row.label) for row in found] == [
        ("a.jpg", "relabel", "dog"),
        ("b.jpg", "none", ""),
    ]
    assert found.line.tolist() == [4, 5]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        "1 picture is decided in two ways; the last line counts: 'a.jpg' in line 2 keep, in line 4 relabel dog" in said
    )


@pytest.mark.parametrize(
    ("names", "label", "says"),
    [
        (["cat", "dog"], "dogs", "label 'dogs' is none of the 2 classes; nearest: dog"),
        (["cat", "cat"], "cat", "label 'cat' is the name of two classes"),
        (["cat", "", "1"], "1", "label '1' is the name of two classes"),
        (["cat", "dog"], "1", "label '1' is none of the 2 classes; nearest: cat, dog"),
    ],
)
def test_a_label_that_is_no_class(tmp_path, names, label, says):
    path = file_of(tmp_path, HEAD + f"x.jpg,,,none,,\na.jpg,,,relabel,{label},\n")
    with pytest.raises(InputError) as caught:
        read_decisions(path).labels(names)
    assert str(caught.value).startswith(f"{path}:3: {says}")


def test_names_of_classes(tmp_path):
    """Numbers where a class has no name, names in Unicode's other form, and what else a class is called."""
    nfd = unicodedata.normalize("NFD", "Müll")
    rows = "".join(f"{i}.jpg,,,relabel,{label},\n" for i, label in enumerate([nfd, "1", "n02123"]))
    found = read_decisions(file_of(tmp_path, HEAD + rows))
    assert found.labels(["Müll", "", "cat"], [["", "", "n02123"]]).tolist() == [0, 1, 2]


# --- writing


def test_writing_replaces_and_undo_takes_back_to_the_byte(tmp_path):
    path = tmp_path / "new" / "decisions.csv"
    states = []
    with DecisionsFile(path) as held:
        for step in (
            [keep()],
            [keep("b.jpg"), keep("c.jpg", decision="none", label="")],
            [keep(decision="skip", label="")],
        ):
            held.write_many(step)
            states.append(path.read_bytes())
        assert [row.decision for row in held.decisions.values()] == ["skip", "keep", "none"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", held.decisions["a.jpg"].time)
    assert len(states[-1].splitlines()) == 4
    with DecisionsFile(path) as held:  # after a restart
        assert [row.decision for row in held.undo()] == ["skip"]
        assert path.read_bytes() == states[1]
        held.write(keep("d.jpg"))
        assert [row.path for row in held.undo()] == ["d.jpg"]
    with DecisionsFile(path) as held:
        assert [row.path for row in held.undo()] == ["b.jpg", "c.jpg"]
        assert path.read_bytes() == states[0]
        assert [row.path for row in held.undo()] == ["a.jpg"] and held.decisions == {}
        assert held.undo() == []
    assert len(read_decisions(path)) == 0


def test_a_file_that_was_edited_has_nothing_to_take_back(tmp_path):
    path = tmp_path / "decisions.csv"
    with DecisionsFile(path) as held:
        held.write(keep())
    path.write_text(path.read_text().replace("keep", "relabel"))
    with DecisionsFile(path) as held:
        assert held.undo() == []
        held.write(keep("b.jpg"))
        assert [row.path for row in held.undo()] == ["b.jpg"]
        assert held.undo() == []
        assert held.decisions["a.jpg"].decision == "relabel"


def test_a_program_that_was_killed_while_writing(tmp_path):
    """Its step was noted, but not taken; half a note counts for nothing."""
    path, notes = tmp_path / "decisions.csv", tmp_path / ".decisions.csv.undo"
    with DecisionsFile(path) as held:
        held.write(keep())
    for rest in (json.dumps(["0" * 64, [["b.jpg", None]]]).encode() + b"\n", b'["12', b"\xff\n"):
        notes.write_bytes(notes.read_bytes() + rest)  # those of this writing, as a decision has its time
        with DecisionsFile(path) as held:
            held.write(keep("c.jpg"))
            assert [[row.path for row in held.undo()] for _ in range(3)] == [["c.jpg"], ["a.jpg"], []]
            held.write(keep())


def test_what_a_person_added_stays(tmp_path):
    text = '\ufeffpath;decision;notes;label\r\na.jpg;none;"blurred; dark";\r\nb.jpg;keep;;\r\n'
    path = file_of(tmp_path, text)
    with DecisionsFile(path) as held:
        held.write(keep("b.jpg"))
        held.write(keep("c;d.jpg"))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "\ufeffpath;sha256;given;decision;label;time;notes"
    assert lines[1] == 'a.jpg;;;none;;;"blurred; dark"'
    assert lines[3].startswith('"c;d.jpg";') and lines[3].endswith("Z;")
    assert [row.path for row in read_decisions(path)] == ["a.jpg", "b.jpg", "c;d.jpg"]


def test_one_program_writes(tmp_path):
    path = tmp_path / "decisions.csv"
    with DecisionsFile(path) as held:
        with pytest.raises(InputError, match="another program is writing it; stop that program, or give another file"):
            DecisionsFile(path)
        held.write(keep())
        path.write_text(path.read_text() + "\n")
        for method in (held.undo, lambda: held.write(keep("b.jpg"))):
            with pytest.raises(
                InputError, match="another program has changed it since it was opened; start this program"
            ):
                method()
    with pytest.raises(InputError, match="was closed"):
        held.write(keep("b.jpg"))
    with DecisionsFile(path) as held:
        assert list(held.decisions) == ["a.jpg"]


def test_what_cannot_be_written_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "decisions.csv"
    with DecisionsFile(path) as held:
        held.write(keep())
        before = path.read_bytes()
        for wrong in (keep(decision="maybe"), keep("", label="cat"), keep(decision="relabel", label="")):
            with pytest.raises(InputError, match=re.escape(f"{path}: {wrong.path!r}: ")):
                held.write_many([keep("b.jpg"), wrong])

        def full(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full)
            for method in (held.undo, lambda: held.write(keep("b.jpg"))):
                with pytest.raises(OSError, match=re.escape(f"No space left on device: '{path}'")):
                    method()
        assert path.read_bytes() == before and list(held.decisions) == ["a.jpg"]
        held.write(keep("c.jpg"))
        assert [row.path for row in held.undo()] == ["c.jpg"]
        assert path.read_bytes() == before
    for place, says in ((tmp_path, "is a folder; a file's path is needed"), (path / "d.csv", "cannot be written")):
        with pytest.raises(InputError, match=re.escape(f"{place}: {says}")):
            DecisionsFile(place)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(InputError, match=r"decisions\.csv: cannot be written"):
        DecisionsFile(tmp_path / "shut" / "decisions.csv")


def test_many_decisions(tmp_path):
    n = 20_000
    rows = [keep(f"class {i % 7}/{i}.jpg", time="2026-01-01T00:00:00Z") for i in range(n)]
    with DecisionsFile(tmp_path / "decisions.csv") as held:
        held.write_many(rows)
        held.write(keep("one more.jpg"))
    found = read_decisions(tmp_path / "decisions.csv")
    assert len(found) == n + 1 and found.rows[n - 1] == rows[-1]
    places = Matcher(found, tmp_path, NAMES).find(pa.array([f"class {i % 7}/{i}.jpg" for i in range(2 * n)]))
    assert np.array_equal(places, np.where(np.arange(2 * n) < n, np.arange(2 * n), -1))


# --- matching with a list


def test_rows_and_their_decided_labels(tmp_path, capsys):
    hashes = pictures(tmp_path, ["a, b.jpg", "Größe.jpg", "c/x.jpg", "d.jpg", "e.jpg", "f.jpg"])
    rows = {"a, b.jpg": ("relabel", "dog"), "Größe.jpg": ("none", ""), "c/x.jpg": ("keep", ""), "d.jpg": ("skip", "")}
    text = "".join(f'"{path}",{hashes[path]},cat,{kind},{label},\n' for path, (kind, label) in rows.items())
    found = read_decisions(file_of(tmp_path, HEAD + text))
    at, labels = matched(found, [*hashes, "a, b.jpg"], np.array([0, 0, 2, 0, 1, 1, 2]), NAMES, tmp_path)
    assert at.tolist() == [0, 1, 2, 6] and labels.tolist() == [1, -2, 0, 1]
    assert capsys.readouterr().err == (
        f"note: {tmp_path}/decisions.csv: 2 pictures were decided when the list gave another label; the decision "
        "counts: 'a, b.jpg' …\n"
    )


def test_paths_as_other_systems_write_them(tmp_path):
    nfc, nfd = "Größe.jpg", unicodedata.normalize("NFD", "Größe.jpg")
    hashes = pictures(tmp_path, ["c/x.jpg", "y.jpg", nfc])
    rows = {"c\\x.jpg": "c/x.jpg", f"{tmp_path}/y.jpg": "y.jpg", nfd: nfc}
    text = "".join(f"{path},{hashes[name]},,none,,\n" for path, name in rows.items())
    found = read_decisions(file_of(tmp_path, HEAD + text))
    at, _ = matched(found, ["no.jpg", nfc, "c/x.jpg", "y.jpg"], np.zeros(4, int), NAMES, tmp_path)
    assert at.tolist() == [1, 2, 3]
    pictures(tmp_path, [nfd])  # a second picture of this name: what was decided is about that one
    with pytest.raises(InputError, match="is not the picture that was decided"):
        matched(found, [nfc, nfd], np.zeros(2, int), NAMES, tmp_path)


def test_a_picture_that_changed_is_refused(tmp_path):
    hashes = pictures(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    text = "".join(f"{path},{value},cat,keep,cat,\n" for path, value in hashes.items())
    found = read_decisions(file_of(tmp_path, HEAD + text))
    pictures(tmp_path, ["b.jpg", "c.jpg"], b"another ")
    with pytest.raises(InputError) as caught:
        matched(found, list(hashes), np.zeros(3, int), NAMES, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/decisions.csv:3: {tmp_path}/b.jpg is not the picture that was decided, as its SHA-256 "
        "has changed (2 such pictures); decide again, or remove the line"
    )
    assert matched(found, ["a.jpg"], np.zeros(1, int), NAMES, tmp_path)[0].tolist() == [0]  # others are not read


def test_decisions_about_other_pictures(tmp_path, capsys):
    hashes = pictures(tmp_path, ["a.jpg", "b.jpg"])
    text = "".join(f"{path},{value},,none,,\n" for path, value in hashes.items())
    found = read_decisions(file_of(tmp_path, HEAD + text))
    at, _ = matched(found, ["z.jpg", "b.jpg"], np.zeros(2, int), NAMES, tmp_path)
    assert at.tolist() == [1]
    said = capsys.readouterr().err
    what = "1 of 2 decisions is about pictures that are not among these rows: 'a.jpg'"
    assert said == f"note: {tmp_path}/decisions.csv: {what}\n"
    assert not len(matched(found, ["z.jpg"], np.zeros(1, int), NAMES, tmp_path)[0])  # they are there
    (tmp_path / "below").mkdir()
    where = r"none of its 2 pictures is below .*below; the first is 'a\.jpg'; give paths relative to that folder"
    with pytest.raises(InputError, match=where):
        matched(found, ["z.jpg"], np.zeros(1, int), NAMES, tmp_path / "below")
    leaving = read_decisions(file_of(tmp_path, HEAD + "a.jpg,,,none,,\n../b.jpg,,,none,,\n"))
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/decisions.csv:3: path '../b.jpg' leaves its folder")):
        matched(leaving, ["a.jpg"], np.zeros(1, int), NAMES, tmp_path)


def test_what_cannot_be_checked_is_said(tmp_path, capsys):
    found = read_decisions(file_of(tmp_path, HEAD + f"gone.jpg,{HASH},,none,,\na.jpg,,,none,,\nb.jpg,,,skip,,\n"))
    pictures(tmp_path, ["a.jpg", "b.jpg"])
    assert matched(found, ["gone.jpg", "a.jpg", "b.jpg"], np.zeros(3, int), NAMES, tmp_path)[0].tolist() == [0, 1]
    said = capsys.readouterr().err
    assert "1 of 3 decided pictures cannot be read, so it is not checked" in said and "'gone.jpg'" in said
    assert "1 of 3 decided pictures have no sha256 there, so it is not checked" in said and "'a.jpg'" in said
