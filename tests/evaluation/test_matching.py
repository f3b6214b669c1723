"""Rows of files and lists are matched by path, whatever the order; what does not match is counted and named."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from tests.helpers.prediction_files import listed, probabilities, write, write_list
from urnet.core.checks import InputError
from urnet.evaluation.matching import Listed, canonical, match, read_aligned
from urnet.evaluation.prediction_writer import FORMATS

NAMES = [f"val/{i}.jpg" for i in range(10)]
ORDER = [3, 0, 9, 1, 2, 8, 7, 4, 6, 5]


def rows(wanted, found, root=""):
    return match(pa.array(wanted), pa.array(found), "list.txt", "a.csv", root).tolist()


def test_any_order_matches():
    assert rows(NAMES, NAMES) == list(range(10))
    assert rows(NAMES, [NAMES[i] for i in ORDER]) == ORDER
    assert rows(["a", "a", "b"], ["a", "a", "b"]) == [0, 1, 2]  # row for row, as ever


@pytest.mark.parametrize(
    ("spelling", "plain"),
    [
        ("val\\1\\x.jpg", "val/1/x.jpg"),
        ("./val//1/./x.jpg", "val/1/x.jpg"),
        (unicodedata.normalize("NFD", "caf\u00e9/\u00fc.jpg"), "caf\u00e9/\u00fc.jpg"),
        ("a/../b.jpg", "a/../b.jpg"),
        (".hidden/x.jpg", ".hidden/x.jpg"),
    ],
)
def test_spellings_of_one_path(spelling, plain):
    assert canonical(pa.array([spelling])).to_pylist() == [plain]
    assert rows(["z.jpg", plain], [spelling, "z.jpg"]) == [1, 0]


def test_a_leading_folder_is_left_out_only_when_asked():
    bare = [name.removeprefix("val/") for name in NAMES]
    for wanted, found in ((NAMES, bare), (bare, NAMES)):
        with pytest.raises(InputError, match=r"10 of 10 .*; with --root val the leading folder is ignored"):
            rows(wanted, found)
        for root in ("val", "val/", "./val"):
            turned = [found[i] for i in ORDER]
            assert rows(wanted, turned, root) == ORDER
    with pytest.raises(InputError) as caught:
        rows(NAMES, [f"train/{i}.jpg" for i in range(10)])
    assert "--root" not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "faults"),
    [
        (NAMES[2:], ["2 of 10 images of list.txt are not in a.csv (the first: 'val/0.jpg', number 1)"]),
        ([*NAMES, "x", "y"], ["2 of 12 rows of a.csv are not in list.txt (the first: 'x', number 11)"]),
        ([*NAMES, "val/3.jpg"], ["1 of 11 paths of a.csv occur twice (the first: 'val/3.jpg')"]),
        (["x", *NAMES[1:]], ["1 of 10 images of list.txt", "1 of 10 rows of a.csv"]),
    ],
)
def test_what_does_not_match_is_counted_and_named(found, faults):
    with pytest.raises(InputError, match=r"^a\.csv and list\.txt do not list the same images: ") as caught:
        rows(NAMES, found)
    assert all(fault in str(caught.value) for fault in faults)
    assert "\n" not in str(caught.value)
    if len(faults) == 1:
        assert str(caught.value).count(";") == 0


@pytest.mark.parametrize("suffix", FORMATS)
def test_members_come_in_the_order_of_the_first(tmp_path, suffix):
    p = probabilities(10, 9, 0)
    one = write(tmp_path / "a.csv", p, 4, NAMES)
    same = write(tmp_path / "b.arrow", p, 2, NAMES)
    turned = write(tmp_path / f"c{suffix}", p[ORDER], 3, [NAMES[i] for i in ORDER], unreadable={0, 1, 6})
    late = write(tmp_path / f"d{suffix}", p[[*range(8), 9, 8]], 3, [*NAMES[:8], NAMES[9], NAMES[8]])
    found = list(read_aligned([one, same, turned, late], 9, 4))
    assert [[len(block) for block in blocks] for blocks in found] == [[4] * 4, [4] * 4, [2] * 4]
    classes, scores = listed(p, 3)
    for blocks in found:
        place = slice(blocks[0].first, blocks[0].first + len(blocks[0]))
        for block in blocks:
            assert block.path.to_pylist() == NAMES[place]
        good = blocks[2].readable
        np.testing.assert_array_equal(good, ~np.isin(np.arange(10), [ORDER[0], ORDER[1], ORDER[6]])[place])
        np.testing.assert_array_equal(blocks[2].classes, np.where(good[:, None], classes[place], 0))
        np.testing.assert_array_equal(blocks[2].scores, np.where(good[:, None], scores[place], 0))
        np.testing.assert_array_equal(blocks[3].classes, classes[place])
    short = write(tmp_path / "short.jsonl", p[:8], 4, NAMES[:8])
    for files in ([one, short], [short, one]):
        with pytest.raises(InputError, match=r"2 of 10 .* \(the first: 'val/8\.jpg', number 9\)"):
            list(read_aligned(files, 9, 4))


def test_a_list_in_another_order(tmp_path):
    labels = np.arange(10) % 9
    file = write(tmp_path / "a.csv", probabilities(10, 9, 0), 4, NAMES)
    turned = Listed(write_list(tmp_path / "l.txt", labels[ORDER], [NAMES[i] for i in ORDER]), 9)
    np.testing.assert_array_equal(turned.labels_of(file), labels)
    np.testing.assert_array_equal(turned.rows_of(file), np.argsort(ORDER))


def test_labels_that_no_prediction_has(tmp_path):
    one = Listed(write_list(tmp_path / "one.txt", np.arange(10) % 9 + 1), None)
    with pytest.raises(InputError, match=r"1 of 10 images have labels above 8.*; labels seem to count from 1"):
        one.check_range(8, "'f.csv'")
    wrong = Listed(write_list(tmp_path / "wrong.txt", np.arange(10)), None)
    with pytest.raises(
        InputError,
        match=r"2 of 10 images have labels above 7.*; if .* more classes, give "
        r"--class_dim N",
    ):
        wrong.check_range(7, "f.csv")
    wrong.check_range(9, "f.csv")
    Listed(tmp_path / "wrong.txt", 10).check_range(7, "f.csv")  # a class that is never predicted may be there
    with pytest.raises(InputError, match=r"one\.txt:9: label 9 is outside; .*0\.\.8 .*; labels seem to count from 1"):
        Listed(tmp_path / "one.txt", 9)
