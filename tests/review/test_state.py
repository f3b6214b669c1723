"""Decisions of a list: what is written, taken back, and never lost."""

import csv
import hashlib

import numpy as np
import pytest

from tests.helpers.review import NAMES, make_list, review_of
from urnet.core.checks import InputError
from urnet.data.decisions import Decision, DecisionsFile
from urnet.review.state import NONE, SKIP, Conflict, Now

OPEN = Now("", -1)


@pytest.fixture
def file(tmp_path):
    return make_list(tmp_path)


@pytest.fixture
def review(file):
    review = review_of(file)
    yield review
    review.close()


def written(file):
    with file.with_name("decisions.csv").open(newline="", encoding="utf-8") as stream:
        return {row["path"]: row for row in csv.DictReader(stream)}


def test_what_a_picture_shows_is_written_as_a_decision_about_its_label(review, file):
    for row, shows in ((0, 0), (1, 2), (2, NONE), (3, SKIP)):
        assert review.decide([row], shows, [OPEN]) == []
    rows = written(file)
    said = [(row["given"], row["decision"], row["label"]) for row in rows.values()]
    assert said == [(NAMES[0], "keep", NAMES[0]), (NAMES[1], "relabel", NAMES[2]), (NAMES[2], "none", ""),
                    (NAMES[0], "skip", "")]  # fmt: skip
    for path, row in rows.items():
        assert row["sha256"] == hashlib.sha256((file.parent / "photos" / path).read_bytes()).hexdigest()
        assert row["time"].endswith("Z")
    assert review.waiting("suspects").tolist() == [4, 5, 6, 7, 8, 9]
    assert review.waiting("skipped").tolist() == [3]
    assert review.waiting("decided").tolist() == [2, 1, 0]  # the newest first
    assert review.progress("suspects")["counts"] == {"keep": 1, "relabel": 1, "none": 1, "skip": 1}


def test_duplicates_get_what_their_picture_shows_each_by_its_own_label(review, file):
    assert review.duplicates(6) == [7] and review.duplicates(0) == []
    assert [review.choices.suggested[row] for row in (6, 7, 0, 8)] == [1, 0, 1, -1]
    review.decide([6, 7], 0, [OPEN, OPEN])
    assert [(row["decision"], row["label"]) for row in written(file).values()] == [("keep", "ant"), ("relabel", "ant")]
    assert review.undo(len(review.changes)) == (["ant/006.png", "bee <b>&/007.png"], [6, 7])
    assert written(file) == {} and review.now(6) == OPEN


def test_a_start_goes_on_where_one_was_and_undo_reaches_back(review, file):
    review.decide([0], 1, [OPEN])
    review.decide([1, 4], 2, [OPEN, OPEN])
    review.close()
    again = review_of(file)
    assert [again.now(row) for row in (0, 1, 4)] == [Now("relabel", 1), Now("relabel", 2), Now("relabel", 2)]
    assert again.undo(len(again.changes))[1] == [1, 4]
    assert again.undo(len(again.changes))[1] == [0]
    assert again.undo(len(again.changes)) == ([], [])
    again.close()


def test_decisions_of_another_list_stay_and_a_list_may_change(review, file):
    review.close()
    with DecisionsFile(file.with_name("decisions.csv")) as other:
        other.write_many(
            [Decision("elsewhere/1.png", "", "x", "relabel", "dog"), Decision("cat/002.png", "", "cat", "none")]
        )
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")  # suspects.py was run again
    again = review_of(file)
    assert again.others == 1 and again.names == [*NAMES, "dog"]
    row = again.photos.row("cat/002.png")
    assert row == 21 and again.now(row) == Now("none", -1)
    again.decide([0], 3, [OPEN])
    again.close()
    assert list(written(file)) == ["elsewhere/1.png", "cat/002.png", "cat/023.png"]


def test_blanks_around_a_class_are_its_own_or_nobodys(review, file):
    """` cat` stays the class of that name over a restart; of a class without blanks they are a typing hand's."""
    review.close()
    (file.parent / "photos/cat").rename(file.parent / "photos/ cat")
    text = file.read_text(encoding="utf-8").replace("cat/", " cat/").replace(",cat,", ", cat,")
    file.write_text(text.replace(",cat,", ", cat,"), encoding="utf-8")
    with DecisionsFile(file.with_name("decisions.csv")) as hand:
        hand.write(Decision("ant/003.png", "", "ant", "relabel", " bee <b>& "))
    for done in ([3], [3, 0]):
        again = review_of(file)
        names = sorted([*NAMES[:2], " cat"])
        assert again.names == names
        assert [again.now(row).label for row in done] == [names.index(word) for word in (NAMES[1], " cat")[: len(done)]]
        if 0 not in done:
            again.decide([0], names.index(" cat"), [OPEN])
        again.close()


def test_another_page_that_was_quicker_is_not_overruled(review, file):
    review.decide([0], 0, [OPEN])
    before = file.with_name("decisions.csv").read_bytes()
    with pytest.raises(
        Conflict, match=r"^ant/000.png: was decided on another page meanwhile \(keep ant\); look again$"
    ):
        review.decide([1, 0], 1, [OPEN, OPEN])
    with pytest.raises(Conflict, match="another page has decided"):
        review.undo(0)
    assert file.with_name("decisions.csv").read_bytes() == before
    review.decide([0], 1, [Now("keep", 0)])  # who saw it may change it
    assert review.now(0) == Now("relabel", 1)


def test_a_file_that_changed_since_it_was_shown_is_looked_at_again(review, file):
    review.pictures.jpeg(0, "large")
    place = file.parent / "photos/ant/000.png"
    place.write_bytes((file.parent / "photos/ant/003.png").read_bytes())
    with pytest.raises(Conflict, match=r"^ant/000.png: the file has changed since it was shown; look again$"):
        review.decide([0], 0, [OPEN])
    assert not file.with_name("decisions.csv").exists()
    review.pictures.jpeg(0, "large")
    assert review.decide([0], 0, [OPEN]) == []


def test_decided_files_that_changed_are_asked_about_again(review, file):
    review.decide([0, 3], 1, [OPEN, OPEN])
    review.close()
    (file.parent / "photos/ant/000.png").write_bytes((file.parent / "photos/ant/006.png").read_bytes())
    again = review_of(file)
    assert again.check_files() == ["ant/000.png"]
    assert again.now(0) == OPEN and again.now(3) == Now("relabel", 1)
    again.decide([0], 0, [OPEN])
    assert again.now(0) == Now("keep", 0) and again.check_files() == []
    again.close()


def test_a_file_that_is_gone_is_passed_over_with_a_note(review, file):
    (file.parent / "photos/ant/000.png").unlink()
    (note,) = review.decide([0, 3], 1, [OPEN, OPEN])
    assert (
        note
        == "ant/000.png: cannot be read (No such file or directory); it is skipped and no decision about it is written"
    )
    assert list(written(file)) == ["ant/003.png"] and review.waiting("suspects")[0] == 1


def test_batches_are_pairs_in_which_several_wait(review):
    assert review.batches() == [("p0-1", 0, 1, 3), ("p1-2", 1, 2, 2), ("p2-0", 2, 0, 2), ("v2", -1, -1, 2)]
    assert review.waiting("p0-1").tolist() == [0, 3, 6]
    review.decide([1, 4], 2, [OPEN, OPEN])
    assert review.batches() == [("p0-1", 0, 1, 3), ("p2-0", 2, 0, 2), ("v2", -1, -1, 2)]


@pytest.mark.parametrize("rows", [[], [0, 0], [-1], [24]])
def test_rows_that_are_not_there_are_refused(review, rows):
    with pytest.raises(InputError, match="accepted: numbers from 0 to 23, each once"):
        review.decide(rows, 0, [OPEN] * len(rows))


def test_the_rate_leaves_pauses_out(file):
    review = review_of(file)
    moments = iter([0.0, 2.0, 4.0, 1000.0, 1002.0])
    review._clock = lambda: next(moments)
    assert review.per_minute() is None
    for row in range(5):
        review.decide([row], SKIP, [OPEN])
    assert review.per_minute() == pytest.approx(60 * 4 / (2 + 2 + 60 + 2))
    progress = review.progress("all")
    assert progress["left"] == 19 and progress["minutes_left"] == pytest.approx(19 / review.per_minute())
    review.close()


def test_what_is_left_wrong_shrinks_as_it_is_found(review):
    start = review.left_wrong()
    assert start.rows == 24 and start.wrong == pytest.approx(6 + 2 + 2 / 2, abs=1e-6)
    for row in range(24):
        review.decide([row], (row + 1) % 3 if row < 6 else row % 3, [OPEN])
    assert review.left_wrong() == (0, 0, 0, 0)
    assert np.count_nonzero(review.seen) == 24
