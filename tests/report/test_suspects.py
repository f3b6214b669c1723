"""The suspect score by hand, its order and its list; of a repeated stage the last columns."""

import csv
import io

import numpy as np
import pytest

from tests.helpers.report import make_table, write
from urnet.core.checks import InputError
from urnet.data.table.table import BLOCK, BaseWriter, Table
from urnet.report.columns import Columns
from urnet.report.suspects import HEADER, Evidence, label_evidence, most_suspect, write_csv

in_blocks = pytest.mark.parametrize("block", [3, 1 << 20])


@pytest.fixture
def table(tmp_path):
    return make_table(tmp_path, images=False)


@in_blocks
def test_score_from_the_instance_stage_by_hand(table, block):
    n = table.n_rows
    suggested, prob = np.zeros(n, np.int32), np.zeros(n, np.float32)
    relevance = np.full(n, 0.25, np.float32)
    suggested[12:15], prob[12:15] = [2, 1, -1], 0.8  # their label is 1
    suggested[15:18], prob[15:18] = 2, [0.5, np.nan, 0.5]
    relevance[17] = np.nan
    write(table, "instance", suggested=suggested, suggested_prob=prob, relevance=relevance)
    got = label_evidence(Columns(table), block=block)
    assert got.score[12:18] == pytest.approx([0.6, 0, 0, 0.375, 0, 0])
    assert got.score[:12].sum() == 0  # the suggestion is the given label
    assert got.suggested[:16].tolist() == [0] * 12 + [2, 1, -1, 2]
    assert got.source == "suggested_prob · (1 − relevance)"


def test_without_relevance_the_confidence_counts(table):
    n = table.n_rows
    write(table, "instance", suggested=np.full(n, 3), suggested_prob=np.full(n, 0.5), confidence=np.full(n, 0.2))
    got = label_evidence(Columns(table))
    assert got.score[0] == pytest.approx(0.4)
    assert got.score[-1] == 0


@in_blocks
def test_the_label_stage_is_preferred_and_its_best_candidate_counts(table, block):
    n = table.n_rows
    write(table, "instance", suggested=np.full(n, 1), suggested_prob=np.ones(n), relevance=np.zeros(n))
    index = np.tile(np.array([0, 2, -1], np.int32), (n, 1))
    prob = np.tile(np.array([0.25, 0.5, 1.0], np.float16), (n, 1))  # -1 is no candidate
    write(table, "label", topk_index=index, topk_prob=prob, keep=np.full(n, 0.5, np.float32))
    got = label_evidence(Columns(table), block=block)
    labels = table.column("label")
    np.testing.assert_allclose(got.score, np.where(labels == 2, 0, 0.5))
    assert (got.suggested == 2).all()
    assert got.source == "topk_prob"


def test_scores_stay_in_range_whatever_the_columns_hold(table):
    n, rng = table.n_rows, np.random.default_rng(0)
    write(
        table,
        "instance",
        suggested=rng.integers(-1, 4, n),
        suggested_prob=rng.normal(size=n) * 9,
        relevance=rng.normal(size=n) * 9,
    )
    score = label_evidence(Columns(table)).score
    assert np.isfinite(score).all()
    assert ((score >= 0) & (score <= 1)).all()


def test_no_evidence_and_an_impossible_class(table):
    assert label_evidence(Columns(table)) is None
    n = table.n_rows
    write(table, "instance", suggested=np.full(n, 4), suggested_prob=np.ones(n), relevance=np.zeros(n))
    with pytest.raises(InputError, match="class 4 is suggested, the table has 4 classes"):
        label_evidence(Columns(table))


def test_most_suspect_agrees_with_sorting():
    score = np.random.default_rng(0).integers(0, 6, 200).astype(np.float32) / 5  # many equal ones
    expected = [row for row in np.argsort(-score, kind="stable").tolist() if score[row] > 0]
    assert most_suspect(score).tolist() == expected
    for n in (0, 1, 17, len(expected) - 1, len(expected), 1000):
        assert most_suspect(score, n).tolist() == expected[:n]


def test_the_list_is_that_of_pythons_own_writer(tmp_path):
    """Paths of several batches of base.arrow, in an order that goes to and fro between them."""
    n, rng = BLOCK + 5000, np.random.default_rng(0)
    labels, names = rng.integers(0, 5, n).astype(np.int32), ["a,b", 'say "c"', "two\nlines", "é", ""]
    odd = np.array(["plain", "a,b", '"', "é", 'x"y,z', " ", "line\nend"])[rng.integers(0, 7, n)]
    paths = [f"{word}/{row}.jpg" for row, word in enumerate(odd)]
    with BaseWriter(tmp_path, root=tmp_path, format="list", class_names=names) as writer:
        writer.add(paths, labels)
    score = (rng.integers(0, 20_001, n) / 20_000).astype(np.float32)  # halves of the last decimal
    evidence = Evidence(rng.integers(-1, 5, n).astype(np.int32), score, "")
    rows = rng.permutation(n)[:4000]
    write_csv(tmp_path / "s.csv", Columns(Table.open(tmp_path)), evidence, rows, paths_at_once=1700, lines_at_once=1000)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADER)
    for row in rows.tolist():
        given, to = int(labels[row]), int(evidence.suggested[row])
        writer.writerow([paths[row], given, to, f"{score[row]:.4f}", names[given], [*names, ""][to]])
    assert (tmp_path / "s.csv").read_bytes() == stream.getvalue().encode()


def test_no_suspects_give_a_list_of_none(table, tmp_path):
    write_csv(tmp_path / "s.csv", Columns(table), Evidence(*np.zeros((2, 30), int), ""), np.zeros(0, int))
    assert (tmp_path / "s.csv").read_text() == ",".join(HEADER) + "\n"


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
