"""data/prepare_imagenet2012.sh and data/imagenet_devkit.py on small archives of the same make."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.tar_bytes import tar_bytes
from urnet.core.checks import InputError
from urnet.data.lists.build_table import build_table, read_validation
from urnet.pipeline.recipes import load_recipe

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
WNIDS = ["n02483708", "n01440764", "n01443537"]  # not sorted, as in the archive
SORTED = ["n01440764", "n01443537", "n02483708"]
TRUTH = ["n02483708", "n01443537", "n01440764", "n02483708"]  # of the four validation images


def train_members(wnids=WNIDS):
    return {
        f"{wnid}.tar": tar_bytes({f"{wnid}_{i}.JPEG": f"{wnid} {i}".encode() for i in range(2 + n)})
        for n, wnid in enumerate(wnids)
    }


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "image net"
    folder.mkdir()
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_bytes(train_members()))
    images = {f"ILSVRC2012_val_{i:08d}.JPEG": f"val {i}".encode() for i in (3, 1, 4, 2)}
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_bytes(images))
    (folder / "val_synsets.txt").write_text("".join(f"{wnid}\n" for wnid in TRUTH))
    return folder


def prepare(*arguments, classes=3):
    environment = {
        **os.environ,
        "IMAGENET_CLASSES": str(classes),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    return subprocess.run(
        ["sh", str(DATA / "prepare_imagenet2012.sh"), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
    )


def assert_prepared(target):
    expected = [
        f"train/{wnid}/{wnid}_{i}.JPEG {SORTED.index(wnid)}" for wnid in SORTED for i in range(2 + WNIDS.index(wnid))
    ]
    assert (target / "train_list.txt").read_text().splitlines() == expected
    assert (target / "val_list.txt").read_text().splitlines() == [
        f"val/ILSVRC2012_val_{i + 1:08d}.JPEG {SORTED.index(wnid)}" for i, wnid in enumerate(TRUTH)
    ]
    assert (target / "synsets.txt").read_text().splitlines() == SORTED
    assert (target / "train/n01440764/n01440764_2.JPEG").read_text() == "n01440764 2"
    assert (target / "val/ILSVRC2012_val_00000003.JPEG").read_text() == "val 3"
    assert not list(target.rglob(".*"))


def test_archives_become_folders_and_lists(source, tmp_path):
    target = tmp_path / "target"
    done = prepare(source, target)
    assert done.returncode == 0, done.stderr
    assert_prepared(target)
    assert "train_list.txt (9 images) and val_list.txt (4 images)" in done.stderr
    assert (source / "ILSVRC2012_img_train.tar").is_file()


def test_the_recipe_names_the_script_and_reads_what_it_makes(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load_recipe(ROOT / "recipes/imagenet/se_resnext50_32x4d.yaml", ["data.n_classes=3"]).data
    with pytest.raises(InputError, match=r"`sh data/prepare_imagenet2012\.sh SOURCE data/ILSVRC2012` makes it"):
        read_validation(data)
    (tmp_path / "data").mkdir()
    done = prepare(source, "data/ILSVRC2012")
    assert done.returncode == 0, done.stderr
    table, validation = build_table(data, tmp_path / "table"), read_validation(data)
    assert (table.n_rows, table.class_names) == (9, SORTED)
    assert [SORTED[label] for label in validation.labels] == TRUTH


def test_an_interrupted_call_is_continued(source):
    assert prepare(source).returncode == 0
    kept = (source / "train/n01443537").stat().st_mtime_ns
    (source / "train/n02483708").rename(source / "train/.n02483708.unpacking")  # as when killed in a class
    (source / "train/.n01440764.tar").write_bytes(b"half")
    (source / "train_list.txt").unlink()
    for image in (source / "train/n01440764").iterdir():
        image.unlink()
    (source / "train/n01440764").rmdir()
    done = prepare(source)
    assert done.returncode == 0, done.stderr
    assert_prepared(source)
    assert (source / "train/n01443537").stat().st_mtime_ns == kept


def write_devkit(path, truth=TRUTH, numbers=(2, 3, 1)):
    """A development kit: classes numbered in an order of its own, and a parent class after them."""
    from scipy.io import savemat

    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(number, wnid, "a, b", 0) for number, wnid in zip(numbers, WNIDS, strict=True)]
    synsets = np.array([*rows, (1001, "n00001740", "entity", 3)], dtype=fields)
    stream = io.BytesIO()
    savemat(stream, {"synsets": synsets.reshape(-1, 1)}, do_compression=True)
    number_of = dict(zip(WNIDS, numbers, strict=True))
    text = "".join(f"{number_of.get(wnid, wnid)}\n" for wnid in truth).encode()
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (
            ("ILSVRC2012_devkit_t12/data/meta.mat", stream.getvalue()),
            ("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", text),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_labels_from_the_development_kit(source):
    (source / "val_synsets.txt").unlink()
    write_devkit(source / "ILSVRC2012_devkit_t12.tar.gz")
    done = prepare(source)
    assert done.returncode == 0, done.stderr
    assert_prepared(source)


def test_a_page_as_development_kit(source):
    (source / "val_synsets.txt").unlink()
    (source / "ILSVRC2012_devkit_t12.tar.gz").write_text("<!DOCTYPE html>\n<html>Please log in</html>\n")
    done = prepare(source)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert (
        "devkit_t12.tar.gz is a web page that begins '<!DOCTYPE html>', not the development kit's archive"
        in done.stderr
    )


def test_folders_that_hold_too_little_are_named_with_the_remedy(source):
    assert prepare(source).returncode == 0
    image = source / "val/ILSVRC2012_val_00000001.JPEG"
    kept = image.read_bytes()
    image.unlink()
    done = prepare(source)
    assert done.returncode == 2
    said = f"val/ holds 3 images, but classes are given for 4; rm -r '{source}/val' to unpack it again"
    assert said in done.stderr.splitlines()[-1]
    image.write_bytes(kept)
    for image in (source / "train/n01443537").iterdir():
        image.unlink()
    done = prepare(source)
    assert done.returncode == 2
    assert f"train/n01443537 holds no image; rm -r '{source}/train/n01443537'" in done.stderr.splitlines()[-1]


def test_a_development_kit_that_contradicts_itself(source):
    (source / "val_synsets.txt").unlink()
    write_devkit(source / "ILSVRC2012_devkit_t12.tar.gz", truth=[TRUTH[0], "77"])
    done = prepare(source)
    assert done.returncode == 2
    assert "ILSVRC2012_validation_ground_truth.txt:2: found '77'" in done.stderr
    assert not (source / "train").exists()


def plant(source, fault):
    """Spoil one thing; return the text that the error must hold."""
    synsets, train = source / "val_synsets.txt", source / "ILSVRC2012_img_train.tar"
    if fault == "no labels":
        synsets.unlink()
        return "holds neither val_synsets.txt nor ILSVRC2012_devkit_t12.tar.gz"
    if fault == "label line":
        synsets.write_text("n01440764\ngoldfish\n")
        return "validation labels, line 2:goldfish"
    if fault == "too few labels":
        synsets.write_text("n01440764\n")
        return "val/ holds 4 images, but classes are given for 1"
    if fault == "unknown class":
        synsets.write_text("n01440764\n" * 3 + "n09999999\n")
        return "val/ILSVRC2012_val_00000004.JPEG: class n09999999 is not among the training classes"
    if fault == "no archive":
        train.unlink()
        return "ILSVRC2012_img_train.tar is missing"
    if fault.startswith("a page"):
        name = {"a page as train": train.name, "a page as val": "ILSVRC2012_img_val.tar"}.get(fault, synsets.name)
        (source / name).write_text("<!DOCTYPE html>\n<html>Please log in</html>\n")
        if name == synsets.name:
            return "validation labels, line 1:<!DOCTYPE html>: a class name like n01440764 is accepted"
        return f"{name} (a web page that begins '<!DOCTYPE html>') is not a whole tar archive; fetch it again"
    if fault == "val cut":
        file = source / "ILSVRC2012_img_val.tar"
        file.write_bytes(file.read_bytes()[:1536])
        return "ILSVRC2012_img_val.tar is not a whole tar archive"
    if fault == "another archive":
        train.write_bytes(tar_bytes({"a.JPEG": b"x"}))
        return "ILSVRC2012_img_train.tar holds 'a.JPEG'; archives named like n01440764.tar are accepted"
    train.write_bytes(tar_bytes(train_members(WNIDS[:2])))
    return "ILSVRC2012_img_train.tar holds 2 classes; 3 are expected"


@pytest.mark.parametrize(
    "fault",
    [
        *("no labels", "label line", "too few labels", "unknown class"),
        *("no archive", "another archive", "too few classes"),
        *("a page as train", "a page as val", "a page as labels", "val cut"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(source, fault):
    message = plant(source, fault)
    done = prepare(source)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert sorted(path.suffix for path in source.iterdir() if path.suffix != ".tar") in (
        [],
        [".txt"],
    )  # nothing unpacked


def test_a_class_archive_that_leads_out_stops_the_run(source, tmp_path):
    members = train_members()
    members["n01443537.tar"] = tar_bytes({"../../../evil": b"x"})
    (source / "ILSVRC2012_img_train.tar").write_bytes(tar_bytes(members))
    done = prepare(source)
    assert done.returncode == 1
    assert "holds a member that leads out of the folder: ../../../evil" in done.stderr
    assert not list(tmp_path.rglob("evil"))
    assert not (source / "train/n01443537").exists()
    assert not (source / "train_list.txt").exists()


@pytest.mark.parametrize("arguments", [[], ["/nowhere/at/all"], ["a", "b", "c"]])
def test_bad_usage(arguments):
    done = prepare(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
