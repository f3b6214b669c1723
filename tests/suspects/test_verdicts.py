"""One verdict a picture: each rule, and which comes first."""

import dataclasses

import numpy as np

from urnet.report.suspects import VERDICTS
from urnet.suspects.verdicts import Findings, verdicts


def findings(n, **changed):
    """n fine pictures of class 0."""
    plain = Findings(
        labels=np.zeros(n, np.int32),
        readable=np.ones(n, bool),
        suggested=np.zeros(n, np.int32),
        given_prob=np.full(n, 0.9, np.float32),
        suggested_prob=np.full(n, 0.9, np.float32),
        label_quality=np.full(n, 0.9, np.float32),
        in_classes=np.ones(n, np.float32),
        group=np.full(n, -1, np.int32),
        leak=np.full(n, -1, np.int32),
        pixels=np.full(n, 100, np.int64),
    )
    return dataclasses.replace(plain, **{name: np.asarray(value) for name, value in changed.items()})


def words(found):
    verdict, same_as = verdicts(found)
    return [VERDICTS[v] for v in verdict], same_as.tolist()


def test_nothing_known_is_fine():
    assert words(findings(2)) == (["fine", "fine"], [-1, -1])


def test_a_suggestion_counts_from_three_times_the_probability():
    evidence = {"given_prob": [0.125, 0.13, 0.1, 1, 1], "suggested_prob": [0.375, 0.375, 0.9, 1, 1]}
    found = findings(5, suggested=[1, 1, 0, 0, 0], **evidence)
    assert words(found)[0] == ["wrong label", "fine", "fine", "fine", "fine"]


def test_in_a_class_of_fewer_than_five_different_pictures_no_label_is_called_wrong():
    evidence = {"suggested": [1] * 6, "given_prob": [0.1] * 6, "suggested_prob": [0.9] * 6}
    assert set(words(findings(6, **evidence))[0]) == {"wrong label"}
    for fewer in ({"group": [0, 0, 0, -1, -1, -1]}, {"readable": [True] * 4 + [False] * 2}):
        assert "wrong label" not in words(findings(6, **evidence, **fewer))[0]


def test_of_a_group_the_largest_stays_then_the_better_label_then_the_first():
    found = findings(
        7, group=[0, 0, 1, 1, 2, 2, -1], pixels=[50, 100, 9, 9, 9, 9, 9], label_quality=[1, 0, 0.1, 0.2, 0.5, 0.5, 0]
    )
    duplicate = "near duplicate"
    expected = [duplicate, "fine", duplicate, "fine", "fine", duplicate, "fine"]
    assert words(found) == (expected, [1, -1, 3, -1, -1, 4, -1])


def test_under_another_label_both_are_named_each_by_the_other():
    found = findings(3, group=[0, 0, 0], labels=[0, 1, 0], suggested=[0, 1, 0])
    verdict, same_as = words(found)
    assert verdict == ["duplicate under another label"] * 3
    assert same_as[0] == same_as[2] == 1 and same_as[1] == 0


def test_the_first_rule_that_fits_counts():
    every = {
        "suggested": [1] * 6,
        "given_prob": [0.1] * 6,
        "suggested_prob": [0.8] * 6,
        "labels": [0, 0, 0, 0, 2, 0],
        "group": [0, 0, 1, -1, 1, -1],
    }
    fine = {"suggested": 0, "given_prob": 0.9, "suggested_prob": 0.9, "labels": 0, "group": -1}  # 2 more, so that
    every = {name: [*values, *2 * [fine[name]]] for name, values in every.items()}  # class 0 has 5 pictures
    # group 0 is of one label, group 1 of two
    found = findings(8, **every, in_classes=[1, 1, 0.4, 0.4, 1, 1, 1, 1], leak=[5, -1, -1, -1, -1, -1, -1, -1])
    expected = [
        "leak from validation",
        "wrong label",
        "off topic",
        "off topic",
        "duplicate under another label",
        "wrong label",
        "fine",
        "fine",
    ]
    assert words(found)[0] == expected
    gone = dataclasses.replace(found, readable=np.zeros(8, bool))
    assert set(words(gone)[0]) == {"unreadable"}
