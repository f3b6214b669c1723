"""Files of class names: how they are read, and that none is believed against other names."""

import pytest

from urnet.core.checks import InputError
from urnet.data.lists.class_names import check_order, like, read_class_file, read_class_names

WORDS = ["tench", "goldfish", "great white"]


def wrote(tmp_path, text):
    file = tmp_path / "names.txt"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "text",
    [
        "tench\ngoldfish\ngreat white\n",
        "0 tench\n1 goldfish\n2 great white\n",
        "2: great white\r\n0: tench\r\n1: goldfish\r\n",
        "1,goldfish\n2,great white\n0,tench",
        "goldfish 1\ngreat white 2\ntench 0\n",
        "n01440764 tench\nn01443537 goldfish\nn01484850 great white\n",
        '{"0": ["n01440764", "tench"], "2": ["n01484850", "great white"], "1": ["n01443537", "goldfish"]}',
        "{0: 'tench',\n 1: 'goldfish',\n 2: \"great white\"}\n",
        '{"goldfish": 1, "great white": 2, "tench": 0}',
        '["tench", "goldfish", "great white"]',
    ],
)
def test_every_way_to_write_the_same_names(tmp_path, text):
    assert read_class_names(wrote(tmp_path, text), 3) == WORDS


@pytest.mark.parametrize("names", [["class 0", "class 1"], ["7 up", "50 cent"], ["#1", "[b"], ["0", "1"], ["a", "a"]])
def test_names_that_hold_numbers_and_signs_stay_whole(tmp_path, names):
    assert read_class_names(wrote(tmp_path, "\n".join(names)), 2) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 a\n2 b\n", r"names\.txt:2: found number 2; numbered names are accepted with the numbers 0 to 1, each once"),
        ("a 1\nb 2\n", r"names\.txt:2: found number 2; numbered names"),
        ("0 a\n0 b\n", r"names\.txt:2: found number 0; numbered names"),
        ("0 a\n3 b\n", r"names\.txt:2: found number 3; numbered names"),
        ("1 0\n0 1\n", None),
        ("1 0 x\n# b", r"names\.txt:2: found '# b'; one class name per line is accepted, and no comment"),
        ('{"0": "a", "2": "b"}', r"names\.txt: found .*; accepted: .* with the numbers 0 to n - 1"),
        ('{"0": "a", "0": "b"}', r"names\.txt: is not valid JSON \(key '0' is given twice"),
        ('{"a": 0, "b": 0}', r"names\.txt: found .*; accepted"),
        ("[1, 2]", r"names\.txt: found \[1, 2\]; accepted"),
        ("a\nb\n# c\n", r"has 3 class names, but n_classes is 2; line 3 begins with '#'"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path, text, message):
    if message is None:  # both readings say the same
        assert read_class_names(wrote(tmp_path, text), 2) == ["1", "0"]
        return
    with pytest.raises(InputError, match=message):
        read_class_names(wrote(tmp_path, text), 2)


def test_numbers_on_both_sides_that_disagree(tmp_path):
    with pytest.raises(InputError, match="begin and end with a number, 0 to 2; one of them is accepted"):
        read_class_names(wrote(tmp_path, "1 0\n2 1\n0 2\n"), 3)


def test_another_order_is_refused_with_both_places(tmp_path):
    file = read_class_file(wrote(tmp_path, "n01440764 tench\nn01443537 goldfish\n"), 2)
    for known in (["tench", "goldfish"], ["n01440764", "n01443537"], ["", "goldfish"], ["", ""], ["eins", "zwei"]):
        file.check_order(known, "other.txt")
    for known in (["goldfish", "tench"], ["n01443537", "n01440764"], ["goldfish", ""]):
        with pytest.raises(InputError, match=rf"names\.txt:\d: class \d is .* but '{known[0]}|.*' in other\.txt"):
            file.check_order(known, "other.txt")
    with pytest.raises(InputError, match=r"^mine: class 0 is 'b', but 'a' in theirs, where 'b' is class 1; the same"):
        check_order(["b", "a"], ["a", "b"], ["mine", "mine"], "theirs")
    check_order(["crane", "x", "crane"], ["crane", "y", "crane"], ["mine"] * 3, "theirs")  # ImageNet has two cranes
    check_order(["cafe\u0301"], ["caf\u00e9"], ["mine"], "theirs")


def test_what_is_most_like_a_name():
    assert like("Cat", ["dog", "cat"]) == "'cat'" and like("t shirt", ["T-shirt", "tie"]) == "'T-shirt'"
    assert like("ﬁn", ["fin"]) == "'fin'"  # a ligature looks like two letters
