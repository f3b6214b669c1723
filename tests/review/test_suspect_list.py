"""A list of suspects read again: what was written comes back, also from Excel; what is no list is refused."""

import numpy as np
import pytest

from tests.helpers.review import NAMES, make_list
from urnet.core.checks import InputError
from urnet.report.suspects import HEADER, VERDICTS
from urnet.review.suspect_list import read_list

HEAD = ",".join(HEADER)
ROW = "a/1.jpg,a,b,0.9,0.1,wrong label,,1.0,"


@pytest.fixture
def file(tmp_path):
    return make_list(tmp_path)


def test_what_was_written_comes_back(file):
    found = read_list(file)
    assert len(found.paths) == 24 and found.class_names == NAMES
    assert found.given.tolist() == [row % 3 for row in range(24)]
    evidence = found.evidence
    assert [VERDICTS[v] for v in evidence.verdict[[0, 6, 8, 20]]] == [
        "wrong label", "duplicate under another label", "off topic", "fine"]  # fmt: skip
    np.testing.assert_allclose(evidence.label_quality, np.linspace(0.01, 0.99, 24), atol=1e-4)
    assert evidence.suggested[:3].tolist() == [1, 2, 0] and evidence.same_as[6] == "bee <b>&/007.png"
    assert (evidence.group >= 0).nonzero()[0].tolist() == [6, 7] and evidence.group[6] == evidence.group[7]


@pytest.mark.parametrize("change", ["mark", "semicolons", "tabs", "windows", "columns"])
def test_as_excel_saves_it(file, change):
    text, expected = file.read_text(encoding="utf-8"), read_list(file)
    if change == "mark":
        text = "\ufeff" + text
    elif change in ("semicolons", "tabs"):
        text = text.replace(".0", "§").replace(",", ";" if change == "semicolons" else "\t").replace("§", ".0")
        text = text if change == "tabs" else text.replace("0.", "0,").replace(",png", ".png")
    elif change == "windows":
        text = text.replace("\n", "\r\n")
    else:
        lines = [line.split(",", 1) for line in text.splitlines()]
        text = "".join(f"x{rest and ','}{rest},{first}\n" if i else f"note,{rest},{first}\n"
                       for i, (first, rest) in enumerate(lines))  # fmt: skip
    file.write_text(text, encoding="utf-8", newline="")
    found = read_list(file)
    assert found.paths.equals(expected.paths) and found.class_names == expected.class_names
    np.testing.assert_array_equal(found.evidence.label_quality, expected.evidence.label_quality)


def test_class_names_in_the_order_of_numbers_and_odd_paths(tmp_path):
    file = tmp_path / "list.csv"
    rows = ['"a, b/""1"".jpg",10,2,0.9,0.1,wrong label,7,1.0,', '"two\nlines.jpg",2,10,,0.5,unreadable,7,,']
    file.write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    found = read_list(file)
    assert found.class_names == ["2", "10"] and found.given.tolist() == [1, 0]
    assert found.paths.to_pylist() == ['a, b/"1".jpg', "two\nlines.jpg"]
    assert np.isnan(found.evidence.suggested_prob[1]) and found.evidence.label_quality[1] == 0.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (HEAD + "\n", "has no rows"),
        ("path,label\n1,2\n", "has no column given"),
        (f"{HEAD},path\n{ROW},x\n", "has the column path twice"),
        (f"{HEAD}\n{ROW}\na/2.jpg,a\n", "is damaged"),
        (f"{HEAD}\n{ROW}\n{ROW}\n", "rows 1 and 2 have the same path 'a/1.jpg'"),
        (f"{HEAD}\n{ROW.replace('wrong label', 'wrong')}\n", "row 1 below the header: verdict 'wrong' is not known"),
        (f"{HEAD}\n{ROW.replace('0.1', 'x')}\n", "row 1 below the header: label_quality 'x' is not a number"),
        (f"{HEAD}\n{ROW.replace('0.9', '1.9')}\n", "row 1 below the header: suggested_prob '1.9' is outside"),
        (f"{HEAD}\n,a,b,0.9,0.1,fine,,1.0,\n", "row 1 below the header: path is empty"),
        (f"{HEAD}\na/1.jpg,,b,0.9,0.1,fine,,1.0,\n", "row 1 below the header: given is empty"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused_in_a_line(tmp_path, text, said):
    file = tmp_path / "list.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_list(file)
    assert str(error.value).startswith(f"{file}: ") and said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"\xff\xfep\x00a\x00", b"\x89PNG\r\n\x1a\n\x00\x00", b"PK\x03\x04\xff\n"])
def test_other_files_are_refused_in_a_line(tmp_path, data):
    file = tmp_path / "list.csv"
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"is not UTF-8 text|has no column path"):
        read_list(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_list(tmp_path)
