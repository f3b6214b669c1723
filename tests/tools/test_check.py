"""tools/check.py as a user meets it: every planted fault is named and counted, and what training refuses is refused."""

import json

import cv2
import numpy as np
import pytest

from tests.helpers.near_pictures import cut, picture, recompressed
from tests.helpers.picture_files import encode, pillow
from tools import check
from urnet.core import cli
from urnet.data.check.report import report_lines


def call(*arguments):
    return cli.run(check.main, ["--workers", "0", *map(str, arguments)])


def found_in(capsys, *arguments, code=0):
    assert call(*arguments, "--json", "-") == code
    return json.loads(capsys.readouterr().out)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(path.suffix if path.suffix in (".png", ".jpg") else ".jpg", image))


@pytest.fixture
def tree(tmp_path):
    """Three classes of 4, 3 and 2 pictures, and one validation picture per class."""
    for number in range(9):
        save(tmp_path / "train" / "aaaabbbcc"[number] / f"{number}.jpg", picture(number))
    for number, name in enumerate("abc"):
        save(tmp_path / "val" / name / f"v{number}.png", picture(90 + number))
    return tmp_path


def test_a_good_tree_is_accepted(tree, capsys):
    assert call(tree / "train", "--val", tree / "val") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"training   9 images in {tree}/train"
    assert lines[4].split() == ["a", "4", "1", "█" * 30]
    assert "3 classes; the largest has 2.0 times as many images as the smallest" in lines
    assert "  sizes       width 160 to 160 (median 160), height 120 to 120 (median 120)" in lines
    assert "  formats     9 JPEG" in lines
    assert lines[-1] == "training would accept this"


def test_every_planted_fault_is_found(tree, capsys):
    train, val = tree / "train", tree / "val"
    (train / "b/copy.jpg").write_bytes((train / "a/0.jpg").read_bytes())
    save(train / "c/cut.jpg", recompressed(cut(picture(4), 0.02), 70))
    save(train / "a/leak.jpg", recompressed(picture(91), 60))
    (train / "a/same.jpg").write_bytes((val / "c/v2.png").read_bytes())
    (train / "a/page.jpg").write_bytes(b"<html>not found</html>")
    (train / "a/empty.jpg").write_bytes(b"")
    (train / "d").mkdir()
    save(train / "b/grey.png", picture(50)[..., 0])
    save(train / "b/alpha.png", np.dstack([picture(51), picture(52)[..., 0]]))
    found = found_in(capsys, train, "--val", val, code=1)
    part = found["train"]
    assert part["images"] == 17
    assert part["class_sizes"] == [8, 6, 3, 0]
    assert part["unreadable"]["the file is empty"] == ["a/empty.jpg"]
    assert [names for reason, names in part["unreadable"].items() if reason.startswith("an HTML page")] == [
        ["a/page.jpg"]
    ]
    assert part["formats"] == {"JPEG": 12, "PNG": 3}
    assert part["modes"] == {"grey": 1, "with alpha": 1}
    assert part["wrong_suffix"] == {"PNG called .jpg": ["a/same.jpg"]}
    assert found["missing"] == {"train": ["d"], "val": ["d"]}
    assert found["duplicates"] == [
        {"kind": "equal", "paths": ["a/0.jpg", "b/copy.jpg"], "classes": ["a", "b"]},
        {"kind": "near", "paths": ["b/4.jpg", "c/cut.jpg"], "classes": ["b", "c"]},
    ]
    assert found["leaks"] == [
        {"kind": "near", "path": "a/leak.jpg", "val": "b/v1.png"},
        {"kind": "equal", "path": "a/same.jpg", "val": "c/v2.png"},
    ]
    (refused,) = found["refused"]
    assert refused.startswith(f"2 of 17 training images cannot be read ({train}/a/empty.jpg: the file is empty)")
    assert "; at most 0 are accepted where no recipe sets data.max_bad: " in refused
    assert refused.endswith("remove or replace them, or train with -o data.max_bad=2")
    lines = list(report_lines(found))
    assert "equal files: 2 in 1 groups, 1 of them under several labels" in lines
    assert "  b/4.jpg = c/cut.jpg" in lines
    assert "no validation image: 1 class (d)" in lines


def test_modes_of_other_files(tree, capsys):
    rgb = picture(60)
    pil = pytest.importorskip("PIL.Image")
    (tree / "train/c/cmyk.jpg").write_bytes(pillow(pil.fromarray(rgb).convert("CMYK"), "JPEG"))
    frames = [pil.fromarray(picture(seed)) for seed in (61, 62)]
    (tree / "train/c/two.gif").write_bytes(pillow(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    part = found_in(capsys, tree / "train")["train"]
    assert part["modes"] == {"CMYK": 1, "several pictures in one file": 1}
    assert part["formats"] == {"JPEG": 10, "GIF": 1}


def test_workers_find_the_same(tree, capsys):
    (tree / "train/a/page.jpg").write_bytes(b"<html>")
    assert found_in(capsys, tree / "train", "--workers", 2, code=1) == found_in(capsys, tree / "train", code=1)


def test_lists_and_recipes(tree, capsys):
    names = [f"train/{'aaaabbbcc'[number]}/{number}.jpg" for number in range(9)]
    (tree / "train.txt").write_text("".join(f"{name} {name[6]}\n" for name in names))
    (tree / "val.txt").write_text("val/a/v0.png a\nval/b/v1.png b\nval/c/v2.png c\n")
    found = found_in(capsys, tree, "--list", tree / "train.txt", "--val_list", tree / "val.txt", "--val", tree)
    assert (found["train"]["class_sizes"], found["val"]["class_sizes"]) == ([4, 3, 2], [1, 1, 1])
    same = found_in(capsys, "--list", tree / "train.txt", "--root", tree)
    assert same["train"]["class_sizes"] == [4, 3, 2]
    with (tree / "train.txt").open("a") as stream:
        stream.write("train/a/0.jpg\n")
    (refused,) = found_in(capsys, tree, "--list", tree / "train.txt", code=1)["refused"]
    assert refused.startswith(f"{tree}/train.txt:10: ")
    recipe = ["-c", "recipes/folder.yaml", "-o", f"data.root={tree}/train", "-o", f"data.val_root={tree}/val"]
    assert found_in(capsys, *recipe)["val"]["images"] == 3
    split = [*recipe[:-1], "data.val_root=null", "-o", "data.val_split=0.4"]
    found = found_in(capsys, *split)
    assert found["train"]["images"] + found["val"]["images"] == 9
    (tree / "train/a/page.jpg").write_bytes(b"<html>")
    assert found_in(capsys, *recipe)["refused"] == []  # its max_bad is 100
    (refused,) = found_in(capsys, *recipe, "-o", "data.max_bad=0", code=1)["refused"]
    assert "; at most 0 are accepted where no recipe sets data.max_bad: " in refused


def test_a_list_of_another_folder_and_validation_of_other_classes_are_refused(tree, capsys):
    (tree / "train.txt").write_text("".join(f"elsewhere/{n}.jpg {n % 2}\n" for n in range(4)))
    refused = found_in(capsys, tree, "--list", tree / "train.txt", code=1)["refused"]
    assert refused[0].endswith("nor does any of 4 listed images that were looked at")
    assert refused[1].startswith("4 of 4 training images cannot be read")
    (tree / "val/a").rename(tree / "val/z")
    (refused,) = found_in(capsys, tree / "train", "--val", tree / "val", code=1)["refused"]
    assert refused.startswith(f"{tree}/val: sub-folder 'z' is not a class of {tree}/train")


def test_a_folder_without_classes_is_refused_but_looked_at(tree, capsys):
    found = found_in(capsys, tree / "train/a", code=1)
    assert (found["train"]["images"], found["class_names"]) == (4, [])
    assert found["refused"] == [f"data.root: {tree}/train/a has 0 sub-folders; two or more are needed, one per class"]
    (tree / "train/loose.jpg").write_bytes((tree / "train/a/0.jpg").read_bytes())
    found = found_in(capsys, tree / "train", code=1)
    assert (found["train"]["images"], len(found["duplicates"])) == (10, 1)
    assert "is in no sub-folder, so it has no class" in found["refused"][0]
    (tree / "nothing").mkdir()
    assert "has no image below it" in found_in(capsys, tree / "nothing", code=1)["refused"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "DIR and -c RECIPE: give one of them"),
        (["docs", "--root", "tests"], "--root tests: DIR is docs; give one of them"),
        (["nowhere"], "DIR: nowhere is not a folder; one that holds images is needed"),
        ([".", "--list", "nowhere"], "--list: nowhere is not a file; a list of images is needed"),
        ([".", "-o", "a=b"], "-o: needs -c RECIPE"),
        ([".", "--json", "a/photo.jpg"], "--json a/photo.jpg: .jpg is the name of a picture, which would be replaced"),
        ([".", "--json", "docs"], "--json docs: is a folder; a file's path is needed"),
        ([".", "--list", "README.md", "--json", "README.md"], "--json README.md: is also --list README.md"),
        (["-c", "recipes/folder.yaml", "--val", "."], "--val: needs DIR; a recipe has keys for it"),
        (
            [".", "--list", "README.md", "--format", "folder"],
            "--list: found 'README.md'; format folder has its own lists",
        ),
    ],
)
def test_bad_usage(arguments, said, capsys):
    assert call(*arguments) == 2
    assert said in capsys.readouterr().err


def test_many_classes_are_folded():
    n = 120
    part = {"images": n, "root": "r", "class_sizes": list(range(1, n + 1)), "sizes": {}, "formats": {}, "modes": {}}
    part |= {"wrong_suffix": {}, "unreadable": {}}
    names = [f"class{number}" for number in range(n)]
    found = {"train": part, "val": part, "class_names": names, "missing": {"val": names}, "refused": []}
    found["duplicates"] = [{"kind": "near", "paths": ["a", "b"], "classes": ["c"]}] * 45
    found["leaks"] = [{"kind": "near", "path": "a", "val": "b"}] * 20
    lines = list(report_lines(found))
    assert sum(line.startswith("class") and line[5].isdigit() for line in lines) == 40
    assert "(80 more classes of 21 to 100 images)" in "\n".join(lines)
    assert "no validation image: 120 classes (class0, class1, class2 … and 117 more)" in lines
    assert [line for line in lines if "--json" in line] == [f"  … and {n} more (--json FILE has all)" for n in (42, 17)]


def test_the_report_goes_to_a_file_and_to_an_ascii_terminal(tree, capsys):
    out = tree / "found.json"
    assert call(tree / "train", "--json", out) == 0
    assert json.loads(out.read_text())["train"]["images"] == 9
    assert capsys.readouterr().out.endswith("training would accept this\n")


def test_a_data_set_of_pictures_that_are_all_alike_is_not_one_group(tmp_path, capsys):
    for number in range(40):
        image = np.zeros((32, 32, 3), np.uint8)
        cv2.putText(image, str(number % 10), (6, 26), number % 4, 0.9 + number / 100, (255, 255, 255), 2)
        save(tmp_path / str(number % 10) / f"{number}.png", image)
    groups = found_in(capsys, tmp_path)["duplicates"]
    assert max((len(group["paths"]) for group in groups), default=0) <= 4
