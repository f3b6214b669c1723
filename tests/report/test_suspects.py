"""The quality of labels by hand, their order and their list; of a repeated stage the last columns."""

import csv
import io

import numpy as np
import pyarrow as pa
import pytest

from tests.helpers.report import make_table, write
from urnet.core.checks import InputError
from urnet.data.table.table import BLOCK, BaseWriter, Table
from urnet.report.columns import Columns
from urnet.report.photos import Photos
from urnet.report.run_evidence import label_evidence
from urnet.report.suspects import (
    BYTE_ORDER_MARK,
    HEADER,
    VERDICTS,
    Evidence,
    in_order,
    most_suspect,
    suspect_rows,
    write_csv,
)

in_blocks = pytest.mark.parametrize("block", [3, 1 << 20])


@pytest.fixture
def table(tmp_path):
    return make_table(tmp_path, images=False)


@in_blocks
def test_quality_from_the_instance_stage_by_hand(table, block):
    n = table.n_rows
    suggested, prob = np.zeros(n, np.int32), np.zeros(n, np.float32)
    relevance = np.full(n, 0.25, np.float32)
    suggested[12:15], prob[12:15] = [2, 1, -1], 0.8  # their label is 1
    suggested[15:18], prob[15:18], relevance[15:18] = 2, [0.5, np.nan, 0.5], [0.5, 0.1, np.nan]
    write(table, "instance", suggested=suggested, suggested_prob=prob, relevance=relevance)
    got = label_evidence(Columns(table), [20, n], block=block)
    assert got.label_quality[12:18].tolist() == [0.25, 0.25, 0.25, 0.5, np.float32(0.1), 0.5]
    assert got.suggested[:18].tolist() == [0] * 12 + [2, 1, -1, 2, -1, 2]
    np.testing.assert_allclose(got.suggested_prob[12:18], [0.8, 0.8, np.nan, 0.5, np.nan, 0.5])
    words = [VERDICTS[place] for place in got.verdict]
    assert words[:12] == ["fine"] * 12  # the suggestion is the given label
    assert words[12:18] == ["wrong label"] + ["fine"] * 5
    assert (words[20], got.suggested[20], got.label_quality[20]) == ("unreadable", -1, 0.5)
    assert got.source == "relevance"


def test_without_relevance_the_confidence_counts(table):
    n = table.n_rows
    write(table, "instance", suggested=np.full(n, 3), suggested_prob=np.full(n, 0.5), confidence=np.full(n, 0.2))
    got = label_evidence(Columns(table))
    assert (got.label_quality == np.float32(0.2)).all()
    assert got.counts() == {**dict.fromkeys(VERDICTS, 0), "wrong label": n - 3, "fine": 3}


@in_blocks
def test_the_label_stage_is_preferred_and_what_the_label_kept_counts(table, block):
    n = table.n_rows
    write(table, "instance", suggested=np.full(n, 1), suggested_prob=np.ones(n), relevance=np.zeros(n))
    index = np.tile(np.array([0, 2, -1], np.int32), (n, 1))
    prob = np.tile(np.array([0.25, 0.5, 1.0], np.float16), (n, 1))  # -1 is not a candidate
    write(table, "label", topk_index=index, topk_prob=prob, keep=np.full(n, 0.5, np.float32))
    got = label_evidence(Columns(table), block=block)
    labels = table.column("label")
    np.testing.assert_allclose(got.label_quality, np.choose(labels, [0.25, 0, 0.5, 0]))
    assert (got.suggested == 2).all()
    assert (got.suggested_prob == 0.5).all()
    assert (got.is_of("wrong label") == (labels != 2)).all()
    assert got.source == "part of its training target"


def test_numbers_stay_in_range_whatever_the_columns_hold(table):
    n, rng = table.n_rows, np.random.default_rng(0)
    write(
        table,
        "instance",
        suggested=rng.integers(-1, 4, n),
        suggested_prob=rng.normal(size=n) * 9,
        relevance=rng.normal(size=n) * 9,
    )
    got = label_evidence(Columns(table))
    for values in (got.label_quality, got.suggested_prob[got.suggested >= 0]):
        assert ((values >= 0) & (values <= 1)).all()


def test_no_evidence_and_an_impossible_class(table):
    assert label_evidence(Columns(table)) is None
    n = table.n_rows
    write(table, "instance", suggested=np.full(n, 4), suggested_prob=np.ones(n), relevance=np.zeros(n))
    with pytest.raises(InputError, match="class 4 is suggested, but the table has 4 classes"):
        label_evidence(Columns(table))


def test_most_suspect_agrees_with_sorting():
    score = np.random.default_rng(0).integers(0, 6, 200).astype(np.float32) / 5  # many equal ones
    expected = [row for row in np.argsort(-score, kind="stable").tolist() if score[row] > 0]
    assert most_suspect(score).tolist() == expected
    for n in (0, 1, 17, len(expected) - 1, len(expected), 1000):
        assert most_suspect(score, n).tolist() == expected[:n]


def test_the_order_is_that_of_sorting():
    rng = np.random.default_rng(0)
    quality = rng.integers(0, 6, 200).astype(np.float32) / 5  # many equal ones
    verdict, paths = rng.integers(0, len(VERDICTS), 200).astype(np.int8), pa.array(rng.permutation(200).astype(str))
    evidence = Evidence(np.zeros(200, np.int32), quality, verdict)
    last = verdict == VERDICTS.index("unreadable")
    by_row = sorted(range(200), key=lambda row: (last[row], 0 if last[row] else quality[row], row))
    by_path = sorted(range(200), key=lambda row: (last[row], 0 if last[row] else quality[row], paths[row].as_py()))
    not_fine = [row for row in by_row if verdict[row]]
    for n in (None, 0, 1, 17, 199, 200, 1000):
        assert in_order(evidence, n=n).tolist() == by_row[:n]
        assert in_order(evidence, n=n, paths=paths).tolist() == by_path[:n]
        assert suspect_rows(evidence, n).tolist() == not_fine[:n]


def expected_list(paths, labels, names, evidence, rows):
    """The list as Python's own writer makes it."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADER)
    named = [*(name or str(c) for c, name in enumerate(names)), ""]
    for row in rows.tolist():
        numbers = [evidence.suggested_prob, evidence.label_quality, evidence.in_classes]
        prob, quality, inside = ("" if v is None or np.isnan(v[row]) else f"{v[row]:.4f}" for v in numbers)
        group = "" if evidence.group is None or evidence.group[row] < 0 else int(evidence.group[row])
        same = "" if evidence.same_as is None else evidence.same_as[row]
        words = VERDICTS[evidence.verdict[row]]
        to = named[evidence.suggested[row]]
        writer.writerow([paths[row], named[labels[row]], to, prob, quality, words, group, inside, same])
    return stream.getvalue().encode()


@pytest.mark.parametrize("optional", [True, False])
def test_the_list_is_that_of_pythons_own_writer(tmp_path, optional):
    """Paths of several batches of base.arrow, in an order that goes to and fro between them."""
    n, rng = BLOCK + 5000, np.random.default_rng(0)
    labels, names = rng.integers(0, 5, n).astype(np.int32), ["a,b", 'say "c"', "two\nlines", "é", ""]
    odd = np.array(["plain", "a,b", '"', "é", 'x"y,z', " ", "line\nend"])[rng.integers(0, 7, n)]
    paths = [f"{word}/{row}.jpg" for row, word in enumerate(odd)]
    with BaseWriter(tmp_path, root=tmp_path, format="list", class_names=names) as writer:
        writer.add(paths, labels)

    def numbers():
        return np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 20_001, n) / 20_000).astype(np.float32)

    more = {"suggested_prob": numbers(), "group": rng.integers(-1, 99, n).astype(np.int32), "in_classes": numbers()}
    more["same_as"] = [paths[row] if row % 3 else "" for row in range(n)]
    quality = (rng.integers(0, 20_001, n) / 20_000).astype(np.float32)  # halves of the last decimal
    verdict = rng.integers(0, len(VERDICTS), n).astype(np.int8)
    suggested = rng.integers(-1, 5, n).astype(np.int32)
    evidence = Evidence(suggested, quality, verdict, **(more if optional else {}))
    rows = rng.permutation(n)[:4000]
    expected = expected_list(paths, labels, names, evidence, rows)
    sizes = {"paths_at_once": 1700, "lines_at_once": 1000}
    for place, source in enumerate((Columns(Table.open(tmp_path)), Photos(paths, labels, names))):
        write_csv(tmp_path / "s.csv", source, evidence, rows, excel=bool(place), **sizes)
        assert (tmp_path / "s.csv").read_bytes() == BYTE_ORDER_MARK * place + expected


def test_no_suspects_give_a_list_of_none(table, tmp_path):
    evidence = Evidence(np.zeros(30, np.int32), np.ones(30, np.float32), np.zeros(30, np.int8))
    write_csv(tmp_path / "s.csv", Columns(table), evidence, suspect_rows(evidence))
    assert (tmp_path / "s.csv").read_text() == ",".join(HEADER) + "\n"


def test_arrays_that_do_not_fit_are_refused(table, tmp_path):
    three, two = np.zeros(3, np.int32), np.zeros(2, np.int32)
    with pytest.raises(InputError, match="suggested has 3 rows but verdict has 2"):
        Evidence(three, three, two)
    with pytest.raises(InputError, match="paths has 3 rows but labels has 2"):
        Photos(["a", "b", "c"], two, ["x"])
    with pytest.raises(InputError, match="labels: "):
        Photos(["a", "b"], two + 1, ["x"])
    with pytest.raises(InputError, match="paths: one is not UTF-8"):
        Photos(["a\udcff", "b"], two, ["x"])
    with pytest.raises(InputError, match="labels has 30 rows but label_quality has 3"):
        write_csv(tmp_path / "s.csv", Columns(table), Evidence(three, three, three), three[:0])
    with pytest.raises(InputError, match="n: found -1; 0 or more is accepted"):
        in_order(Evidence(three, three, three), n=-1)


# --- columns


def test_of_a_repeated_stage_the_last_columns_count(table):
    zeros = np.zeros(table.n_rows, np.float32)
    assert Columns(table).name("cluster_weight") is None
    write(table, "cluster", cluster_weight=zeros, cluster=zeros.astype(np.int16))
    assert Columns(table).name("cluster_weight") == "cluster_weight"
    write(table, "cluster_2", cluster_weight_2=zeros + 2)
    write(table, "cluster_10", cluster_weight_10=zeros + 10)
    columns = Columns(table)
    assert columns.get("cluster_weight").tolist() == [10.0] * table.n_rows
    assert columns.name("cluster") is None  # never one column of the last and one of an earlier time
    write(table, "class", class_weight=zeros)
    assert Columns(table).name("class_weight") == "class_weight"
    assert sorted(Columns(table).measured()) == [
        "class_weight",
        "cluster_weight",
        "cluster_weight_10",
        "cluster_weight_2",
    ]


def test_the_order_of_stages_says_what_is_last_whatever_the_suffix(table):
    zeros = np.zeros(table.n_rows, np.float32)
    write(table, "cluster_final", "third", cluster_weight_final=zeros)
    write(table, "cluster_zero", "second", cluster_weight_zero=zeros)
    assert Columns(table, ["first", "second", "third"]).name("cluster_weight") == "cluster_weight_final"
    assert Columns(table).name("cluster_weight") == "cluster_weight_zero"
