"""Features kept by content: what is computed again, after changes, kills and damage."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import models
from tests.helpers.judged_pictures import picture, save_weights, write, write_tree
from urnet.core.checks import InputError
from urnet.data.kept.kept_features import MAGIC, KeptFeatures, record_type
from urnet.data.kept.pictures import ABOUT
from urnet.report.photos import Photos
from urnet.suspects.extract import Work
from urnet.suspects.find import find_suspects
from urnet.suspects.network import feature_network
from urnet.suspects.photos import Where, read_photos

IDENTITY = {"network": "Tiny", "weights": "abc"}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return feature_network(save_weights(tmp_path_factory.mktemp("weights") / "toy"), build=models.build)


def find(root, network, kept):
    return find_suspects(read_photos(Where(str(root))), network, work=Work(batch_size=4, kept=kept, show=False))


def same(first, second):
    np.testing.assert_array_equal(first.evidence.label_quality, second.evidence.label_quality)
    np.testing.assert_array_equal(first.evidence.verdict, second.evidence.verdict)


def test_only_what_is_new_or_changed_is_computed(network, tmp_path):
    root, kept = write_tree(tmp_path / "photos", each=5), tmp_path / "kept"
    first = find(root, network, kept)
    assert first.computed == 15
    again = find(root, network, kept)
    assert again.computed == 0
    same(first, again)
    write(root / "red" / "00.png", picture("red", 90))  # another picture of the same name
    write(root / "red" / "new.png", picture("red", 91))
    shutil.move(root / "blue" / "01.png", root / "blue" / "moved.png")
    changed = find(root, network, kept)
    assert changed.computed == 2
    same(changed, find(root, network, None))
    assert (tmp_path / "kept").stat().st_size > 0 and find(root, network, kept).computed == 0


def test_a_run_that_ends_in_between_loses_no_batch(network, tmp_path, monkeypatch):
    root, kept = write_tree(tmp_path / "photos", each=5), tmp_path / "kept"
    added = []
    whole = KeptFeatures.add

    def stop_after_two(self, about, features):
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(len(about))
        whole(self, about, features)

    monkeypatch.setattr(KeptFeatures, "add", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        find(root, network, kept)
    monkeypatch.undo()
    with kept.open("ab") as stream:
        stream.write(b"half a record of a killed process")
    assert find(root, network, kept).computed == 15 - sum(added) == 7
    assert find(root, network, kept).computed == 0


def test_the_next_batch_is_begun_before_the_last_one_is_read(network, tmp_path, monkeypatch):
    root, said = write_tree(tmp_path / "photos", each=5), []
    extractor = network.extractor(4)

    class Noting:
        def launch(self, views):
            said.append("begun")
            late = extractor.launch(views)
            return lambda: (said.append("read"), late())[1]

    monkeypatch.setattr(type(network), "extractor", lambda self, *_: Noting())
    find(root, network, None)
    assert said == ["begun", *["begun", "read"] * 3, "read"]  # 15 pictures, four a batch


def test_other_weights_replace_the_file_with_a_line(network, tmp_path, capsys):
    root, kept = write_tree(tmp_path / "photos", each=3), tmp_path / "kept"
    find(root, network, kept)
    other = dataclasses.replace(network, exif="ignore")
    capsys.readouterr()
    assert find(root, other, kept).computed == 9
    (line,) = capsys.readouterr().err.splitlines()
    assert "its features are made with exif honour, now it is ignore; they are all computed again" in line
    assert find(root, other, kept).computed == 0


def test_unreadable_files_are_tried_again_and_nothing_else(network, tmp_path):
    root, kept = write_tree(tmp_path / "photos", each=3), tmp_path / "kept"
    (root / "red" / "page.jpg").write_text("<html>")
    (root / "red" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    for computed in (9, 0):
        found = find(root, network, kept)
        assert found.computed == computed and found.counts()["unreadable"] == 2
        assert {found.photos.paths[row].as_py() for row in found.reasons} == {"red/gone.jpg", "red/page.jpg"}


# --- the file


def filled(path, n=3, width=4):
    kept = KeptFeatures(path, IDENTITY)
    about = np.zeros(n, ABOUT)
    about["content"][:, 0] = np.arange(n)
    kept.add(about, np.arange(n * width, dtype=np.float16).reshape(n, width))
    kept.close()
    return about["content"]


def test_a_damaged_record_is_named_and_the_others_stay(tmp_path, capsys):
    path = tmp_path / "kept"
    content = filled(path)
    data = bytearray(path.read_bytes())
    data[-record_type(4).itemsize - 10] ^= 1  # in the second of three
    path.write_bytes(data)
    kept = KeptFeatures(path, IDENTITY)
    assert "1 of 3 records is damaged; that picture is computed again" in capsys.readouterr().err
    assert [kept.row(row.tobytes()) >= 0 for row in content] == [True, False, True]
    np.testing.assert_array_equal(kept.records["features"][kept.row(content[2].tobytes())], [8, 9, 10, 11])
    assert len(KeptFeatures(path, IDENTITY)) == 2 and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"path,label\n", "is not a file of kept features, it begins with b'path,label"),
        (MAGIC[:9], "is not a file of kept features"),
        (MAGIC + b'{"width": 4', "its second line is damaged"),
        (MAGIC + b'{"width": "x"}\n', "its second line is damaged"),
        (MAGIC + b"[]\n", "its second line is damaged"),
    ],
)
def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path, data, message):
    path = tmp_path / "kept"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        KeptFeatures(path, IDENTITY)
    assert path.read_bytes() == data


def test_an_empty_file_is_begun(tmp_path):
    (tmp_path / "kept").touch()
    filled(tmp_path / "kept")
    assert len(KeptFeatures(tmp_path / "kept", IDENTITY)) == 3
    head = (tmp_path / "kept").read_bytes().splitlines()[1]
    assert json.loads(head) == {**IDENTITY, "width": 4}


def test_features_that_float16_cannot_hold_are_an_error(network, tmp_path, monkeypatch):
    root = write_tree(tmp_path / "photos", each=1)

    class Wide:
        def launch(self, views):
            return lambda: np.full((len(views), 4), 1e6, np.float32)

    monkeypatch.setattr(type(network), "extractor", lambda self, *_: Wide())
    with pytest.raises(FloatingPointError, match=r"00\.png: its features are not finite in float16"):
        find(root, network, None)


def test_no_pictures_at_all_are_an_error(network):
    with pytest.raises(InputError, match="no picture"):
        find_suspects(Photos([], np.zeros(0, np.int32), ["a"]), network)


# --- two processes


def test_two_processes_never_write_one_file(tmp_path):
    path = tmp_path / "new" / "kept"
    late, other = KeptFeatures(path, IDENTITY), KeptFeatures(path, IDENTITY)
    other.begin()
    with pytest.raises(InputError, match="kept: another process is using this file of features; wait for it"):
        late.begin()
    other.close()
    assert not path.parent.exists()  # nothing came of it
    filled(path)
    with pytest.raises(InputError, match="kept: another process has changed it meanwhile"):
        late.add(np.zeros(1, ABOUT), np.zeros((1, 4), np.float16))
    assert len(KeptFeatures(path, IDENTITY)) == 3 and [item.name for item in path.parent.iterdir()] == ["kept"]


def test_a_record_that_another_process_is_writing_is_not_cut_off(tmp_path):
    path = tmp_path / "kept"
    filled(path)
    writer = KeptFeatures(path, IDENTITY)
    writer.begin()
    with path.open("ab") as stream:
        stream.write(b"the begin of a record")
    size = path.stat().st_size
    with pytest.raises(InputError, match="another process is using this file of features"):
        KeptFeatures(path, IDENTITY)
    assert path.stat().st_size == size
    writer.close()
    assert len(KeptFeatures(path, IDENTITY)) == 3 and path.stat().st_size < size


def test_features_that_another_process_threw_away_are_an_error(network, tmp_path, monkeypatch):
    root, kept = write_tree(tmp_path / "photos", each=1), tmp_path / "kept"
    close = KeptFeatures.close

    def close_and_lose(self):
        close(self)
        kept.unlink()

    monkeypatch.setattr(KeptFeatures, "close", close_and_lose)
    with pytest.raises(InputError, match="kept: was changed by another process meanwhile"):
        find(root, network, kept)
