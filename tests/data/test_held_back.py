"""One tree or list for training and validation: which part is held back."""

import dataclasses
import shutil

import numpy as np
import pytest

from urnet.config.recipe import Data
from urnet.core.checks import InputError
from urnet.data.lists.build_table import build_table, open_or_build, read_validation, training_rows
from urnet.data.lists.held_back import held_back

WORDS = ("ant", "bee")


@pytest.fixture
def data(tmp_path):
    """A tree of two classes with 60 files each, no two alike."""
    for word in WORDS:
        (tmp_path / "t" / word).mkdir(parents=True)
        for i in range(60):
            (tmp_path / "t" / word / f"{i:02}.jpg").write_bytes(b"\xff\xd8\xff" + f"{word} {i}".encode())
    return Data(str(tmp_path / "t"), 2, "folder", val_split=0.2)


def paths_of(table):
    return set(table.strings("path", range(table.n_rows)))


def test_every_row_is_on_one_side(data, tmp_path, capsys):
    chosen = read_validation(data)
    table = open_or_build(data, tmp_path / "table")
    images = read_validation(data, table)
    assert list(images.paths) == list(chosen.paths) and images.labels.tolist() == chosen.labels.tolist()
    trains, held = paths_of(table), set(images.paths)
    assert not trains & held and len(trains | held) == 120
    assert 0.1 < len(held) / 120 < 0.3
    assert [path.split("/")[0] for path in images.paths] == [WORDS[label] for label in images.labels]
    assert f"note: data.val_split: {len(held)} of 120 images are held back for validation" in capsys.readouterr().err
    rows = [path for paths, _ in training_rows(data) for path in paths.to_pylist()]
    assert rows == table.strings("path", range(table.n_rows))


def test_further_copied_and_renamed_images_move_none(data, tmp_path):
    before = set(read_validation(data).paths)
    root = tmp_path / "t"
    for i in range(60, 90):
        (root / "bee" / f"{i}.jpg").write_bytes(b"\xff\xd8\xff" + f"more {i}".encode())
    for i in range(20):
        shutil.copy(root / "ant" / f"{i:02}.jpg", root / "bee" / f"copy{i:02}.jpg")
    (root / "ant" / "59.jpg").rename(root / "ant" / "zz.jpg")
    after = set(read_validation(data).paths)
    known = {f"{word}/{i:02}.jpg" for word in WORDS for i in range(60)} - {"ant/59.jpg"}
    assert after & known == before & known
    assert ("ant/zz.jpg" in after) == ("ant/59.jpg" in before)
    for i in range(20):
        assert (f"bee/copy{i:02}.jpg" in after) == (f"ant/{i:02}.jpg" in after)


def test_a_larger_share_holds_the_smaller_one(data):
    shares = [set(read_validation(dataclasses.replace(data, val_split=share)).paths) for share in (0.1, 0.3, 0.6)]
    assert shares[0] < shares[1] < shares[2]


def test_a_list_is_split_alike(data, tmp_path):
    lines = [f"{word}/{i:02}.jpg {label}" for i in range(60) for label, word in enumerate(WORDS)]
    (tmp_path / "train.txt").write_text("\n".join([*lines, lines[7]]))  # one image is listed twice
    listed = dataclasses.replace(data, format="list", train_list=str(tmp_path / "train.txt"))
    table, images = build_table(listed, tmp_path / "table"), read_validation(listed)
    assert set(images.paths) == set(read_validation(data).paths)
    assert list(read_validation(listed, table).paths) == list(images.paths)
    assert table.n_rows + len(images) == 121 and not paths_of(table) & set(images.paths)


def test_with_a_part_of_the_classes(data, tmp_path):
    (tmp_path / "t" / "cat").mkdir()
    (tmp_path / "t" / "cat" / "1.jpg").write_bytes(b"\xff\xd8\xffcat")
    part = dataclasses.replace(data, classes=("bee", "ant"))
    table, images = open_or_build(part, tmp_path / "table"), read_validation(part)
    assert table.class_names == ["bee", "ant"] and table.n_rows + len(images) == 120
    assert set(images.paths) == set(read_validation(dataclasses.replace(data, n_classes=3)).paths) - {"cat/1.jpg"}


def test_what_cannot_be_read_is_left_to_training(data, tmp_path):
    (tmp_path / "t" / "ant" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    table = build_table(data, tmp_path / "table")
    assert "ant/gone.jpg" in paths_of(table)
    assert not held_back(tmp_path, ["nowhere", "a\0b"], 0.999).any()


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (1e-9, "0.000000001|1e-09, which holds back none of 120 images"),
        (0.9999999, "all images of class 0 'ant', 1 'bee'"),
    ],
)
def test_a_share_that_leaves_nothing(data, tmp_path, share, message):
    with pytest.raises(InputError, match=message):
        build_table(dataclasses.replace(data, val_split=share), tmp_path / "table")


def test_a_class_without_a_validation_image_is_named(data, tmp_path, capsys):
    few = sorted((tmp_path / "t" / "bee").iterdir())
    held = {path for path in read_validation(data).paths if path.startswith("bee/")}
    for file in few:
        if f"bee/{file.name}" in held:
            file.unlink()
    read_validation(data)
    assert "note: 1 of 2 classes has no validation image: 1 'bee'" in capsys.readouterr().err


def test_both_a_split_and_images_of_their_own_are_refused(data, tmp_path):
    for key in ("val_root", "val_list"):
        message = rf"data\.val_split: found 0\.2; accepted: null, as {key} is .*data\.{key}=null"
        with pytest.raises(InputError, match=message):
            read_validation(dataclasses.replace(data, **{key: str(tmp_path)}))
    with pytest.raises(InputError, match="as format webvision2 has its own validation images"):
        read_validation(dataclasses.replace(data, format="webvision2"))
    with pytest.raises(InputError, match=r"data\.val_root: found none; .* or data\.val_split=0\.1, which holds a part"):
        read_validation(dataclasses.replace(data, val_split=None))


def test_another_share_is_another_table(data, tmp_path):
    open_or_build(data, tmp_path / "table")
    with pytest.raises(InputError, match=r"data\.val_split was 0\.2, now it is 0\.3; --replace"):
        open_or_build(dataclasses.replace(data, val_split=0.3), tmp_path / "table")
    with pytest.raises(InputError, match=r"data\.val_split was 0\.2, now it is null"):
        open_or_build(dataclasses.replace(data, val_split=None), tmp_path / "table")
    (tmp_path / "t" / "bee" / "new.jpg").write_bytes(b"\xff\xd8\xffnew")
    with pytest.raises(InputError, match=r"1 added: bee/new\.jpg|training images then"):
        open_or_build(data, tmp_path / "table")
    assert np.all(np.bincount(read_validation(data).labels) > 0)
