"""Ensembles against their formulas over all classes, their laws, fitted weights, and tools/ensemble.py."""

import re

import numpy as np
import pytest
from scipy.special import softmax

from tests.helpers.prediction_files import block, part, probabilities, write, write_list
from tools import ensemble as tool
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.evaluation.ensemble import METHODS, make_ensemble, missing_probability
from urnet.evaluation.ensemble_weights import fit_weights, label_probability, log_loss
from urnet.evaluation.leave_one_out import LeaveOneOut
from urnet.evaluation.prediction_reader import read_predictions

N, C, M = 60, 11, 4
WEIGHTS = (0.5, 0.0, 2.0, 1.0)
LABELS = np.random.default_rng(9).integers(0, C, N)


def members(k, unreadable=0.0, seed=0):
    """M blocks of k listed classes; the first three rows are readable for none, all, and one."""
    rng, blocks = np.random.default_rng(seed), []
    for m in range(M):
        good = rng.random(N) >= unreadable
        if unreadable:
            good[:3] = False, True, m == 2
        blocks.append(block(probabilities(N, C, seed * 10 + m, LABELS), k, good, f"member{m}"))
    return blocks


def make(method, n=M, votes=3):
    return make_ensemble(method, n, C, weights=WEIGHTS[:n] if method == "weighted" else None, votes=votes)


def ranking(scores):
    """Class numbers, best first, equal ones in order."""
    return np.argsort(-scores.round(12), axis=-1, kind="stable")


def by_formula(blocks, method, weights, votes):
    """Scores (N, C) from whole arrays of each member; nan where no member has a prediction."""
    weight = np.array(weights)[:, None] * [b.readable for b in blocks]
    with np.errstate(invalid="ignore"):
        weight /= weight.sum(axis=0)
    terms = []
    for b in blocks:
        k = b.classes.shape[1]
        rest = np.maximum(1 - b.scores.sum(axis=1, dtype=np.float64), 1e-10 * (C - k)) / max(C - k, 1)
        p = np.minimum(rest, b.scores[:, -1])[:, None].repeat(C, axis=1)
        np.put_along_axis(p, b.classes, b.scores.astype(np.float64), axis=1)
        points = np.zeros((N, C))
        np.put_along_axis(points, b.classes[:, :votes], np.arange(votes, 0, -1) / (votes * (votes + 1) / 2), axis=1)
        with np.errstate(divide="ignore"):
            term = {"geometric": np.log(p), "vote_prob": np.where(points > 0, p, 0), "vote": points}.get(method, p)
        terms.append(np.where(b.readable[:, None], term, 0))
    found = np.einsum("mn,mnc->nc", weight, terms)
    return softmax(found, axis=1) if method == "geometric" else found


@pytest.mark.parametrize("unreadable", [0.0, 0.3])
@pytest.mark.parametrize("k", [5, C])
@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_its_formula(method, k, unreadable):
    blocks, ensemble = members(k, unreadable), make(method)
    sums = ensemble.sums(blocks)
    classes, scores = ensemble.best(sums, 3)
    expected = by_formula(blocks, method, ensemble.weights, 3)
    np.testing.assert_array_equal(sums.predicted, ~np.isnan(expected[:, 0]))
    assert sums.predicted.all() == (not unreadable)
    expected = expected[sums.predicted]
    np.testing.assert_array_equal(classes[sums.predicted], ranking(expected)[:, :3])
    best = np.take_along_axis(expected, classes[sums.predicted], axis=1)
    np.testing.assert_allclose(scores[sums.predicted], best, rtol=1e-5)
    assert not scores[~sums.predicted].any()


@pytest.mark.parametrize("method", METHODS)
def test_laws(method):
    blocks, ensemble = members(5), make(method)
    classes, scores = ensemble.best(ensemble.sums(blocks), 3)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert (scores >= 0).all()
    assert (scores.sum(axis=1) <= 1 + 1e-6).all()
    same = make_ensemble(method, 3, C, weights=(1, 2, 5) if method == "weighted" else None, votes=5)
    alike, of_one = same.best(same.sums([blocks[0]] * 3), 3)  # agreeing members change nothing
    np.testing.assert_array_equal(alike, blocks[0].classes[:, :3])
    if method not in ("vote", "geometric"):
        np.testing.assert_allclose(of_one, blocks[0].scores[:, :3], rtol=1e-6)
    if method != "weighted":  # nobody comes first
        np.testing.assert_array_equal(ensemble.best(ensemble.sums(blocks[::-1]), 3)[0], classes)


def test_missing_classes_share_what_is_left():
    p = np.array([[0.5, 0.3, 0.1, 0.06, 0.04], [0.3, 0.3, 0.2, 0.1, 0.1], [1, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(missing_probability(block(p, 2), 5), [0.2 / 3, 0.4 / 3, 0], atol=1e-7)
    assert missing_probability(block(p, 5), 5).tolist() == [0, 0, 0]
    uneven = block(np.array([[0.4, 0.05, 0.05]], np.float32), 2)  # leaves more than its smallest
    assert missing_probability(uneven, 3) == pytest.approx(0.05)
    np.testing.assert_allclose(label_probability(block(p, 2), np.array([1, 4, 3]), 5), [0.3, 0.4 / 3, 1e-10], atol=1e-7)


@pytest.mark.parametrize("unreadable", [0.0, 0.3])
@pytest.mark.parametrize("method", METHODS)
def test_leaving_out_is_joining_the_others(method, unreadable):
    blocks, ensemble = members(6, unreadable, seed=3), make(method)
    counted = LeaveOneOut(ensemble)
    for rows in (slice(0, 7), slice(7, N)):
        these = [part(b, rows.start, rows.stop) for b in blocks]
        counted.update(these, ensemble.sums(these), LABELS[rows])

    def expected(chosen):
        scores = by_formula([blocks[m] for m in chosen], method, [ensemble.weights[m] for m in chosen], 3)
        good = ~np.isnan(scores[:, 0])
        right = ranking(scores[good]) == LABELS[good, None]
        return good.sum(), right[:, 0].sum(), right[:, :5].sum()

    assert tuple(counted.together.counters.sum(axis=1)) == expected(range(M))
    for m in range(M):
        assert tuple(counted.without[m].counters.sum(axis=1)) == expected([j for j in range(M) if j != m])
        right = (blocks[m].classes[:, 0] == LABELS) & blocks[m].readable
        assert counted.members[m].count.sum() == blocks[m].readable.sum()
        np.testing.assert_array_equal(counted.members[m].hit1, np.bincount(LABELS[right], minlength=C))


def test_fitted_weights_are_the_best_on_a_grid():
    rng = np.random.default_rng(0)
    p = rng.random((500, 3)) ** [0.5, 1.0, 2.0]
    weights, excess = fit_weights(p)
    assert weights.sum() == pytest.approx(1)
    grid = [(a, b, 1 - a - b) for a in np.linspace(0, 1, 51) for b in np.linspace(0, 1 - a, 51)]
    best = min(log_loss(p, np.maximum(w, 0)) for w in grid)
    assert log_loss(p, weights) <= best + 1e-5
    assert 0 <= excess < 1e-5


def test_fitted_weights_laws():
    p = np.random.default_rng(1).random((300, 4)) * 0.5
    p[:, 2] += 0.5  # better everywhere: it takes all
    weights, _ = fit_weights(p)
    assert weights[2] > 0.999
    order = [3, 1, 0, 2]
    np.testing.assert_allclose(fit_weights(p[:, order])[0], weights[order], atol=1e-9)
    np.testing.assert_allclose(fit_weights(np.repeat(p[:, :1], 3, axis=1))[0], [1 / 3] * 3)
    with pytest.raises(InputError, match="no row"):
        fit_weights(p[:0])


@pytest.mark.parametrize("weights", [None, [1, -1], [0, 0], [1, np.nan], [1]])
def test_make_ensemble_refuses(weights):
    with pytest.raises(InputError, match=r"weights"):
        make_ensemble("weighted", 2, C, weights=weights)
    with pytest.raises(InputError, match="only --method weighted takes weights"):
        make_ensemble("mean", 2, C, weights=weights or [1, 1])
    with pytest.raises(InputError, match=r"--votes: found 0; 1\.\.11"):
        make_ensemble("vote", 2, C, votes=0)


# --- the tool


def call(*arguments):
    return cli.run(tool.main, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path):
    """Three members in three formats, and the list."""
    suffixes = (".csv", ".arrow", ".jsonl")
    made = [write(tmp_path / f"m{m}{s}", probabilities(N, C, m, LABELS), 5) for m, s in enumerate(suffixes)]
    return [*made, write_list(tmp_path / "list.txt", LABELS)]


def test_the_tool_joins_and_reports(files, tmp_path, capsys):
    *made, labels = files
    assert call("--members", *made, "--out", tmp_path / "a.arrow", "--list", labels, "--class_dim", C) == 0
    head, *rows, whole, last = capsys.readouterr().out.splitlines()
    assert last == f"{tmp_path / 'a.arrow'}: {N} images, mean of 3 members"
    assert head.startswith(f"{N} images of {len(set(LABELS))} classes")
    blocks = [next(read_predictions(file, C)) for file in made]
    ensemble = make_ensemble("mean", 3, C)
    classes, scores = ensemble.best(ensemble.sums(blocks), 5)
    (written,) = read_predictions(tmp_path / "a.arrow", C)
    np.testing.assert_array_equal(written.classes, classes)
    np.testing.assert_array_equal(written.scores, scores)
    top1 = np.mean(classes[:, 0] == LABELS)
    assert whole.split()[2] == f"{top1:.4f}"
    assert whole.endswith("mean of 3")
    assert [row.split()[-1] for row in rows] == [str(file) for file in made]
    pair = make_ensemble("mean", 2, C)
    left = np.mean(pair.best(pair.sums(blocks[1:]), 1)[0][:, 0] == LABELS)
    own = np.mean(blocks[0].classes[:, 0] == LABELS)
    assert [float(rows[0].split()[i]) for i in (2, 6)] == pytest.approx([own, top1 - left], abs=1e-4)


def test_the_tool_fits_weights_and_names_classes(files, tmp_path, capsys):
    *made, labels = files
    names = tmp_path / "names.txt"
    names.write_text("".join(f"class {c}\n" for c in range(C)))
    out = tmp_path / "a.csv"
    fit = ["--method", "weighted", "--fit", *made, "--fit_list", labels, "--class_dim", C]
    assert call("--members", *made, "--out", out, "--class_names", names, *fit) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0].startswith(f"weights fitted to {N} images of {labels}: log loss ")
    weights = [float(line.split()[0]) for line in lines[1:4]]
    blocks = [next(read_predictions(file, C)) for file in made]
    probability = np.stack([label_probability(b, LABELS, C) for b in blocks], axis=1)
    np.testing.assert_allclose(weights, fit_weights(probability)[0], atol=1e-4)
    (written,) = read_predictions(out, C)
    assert out.read_text().splitlines()[1].split(",")[3] == "; ".join(f"class {c}" for c in written.classes[0])
    given = ["--method", "weighted", "--weights", *weights, "--class_dim", C]
    assert call("--members", *made, "--out", tmp_path / "b.csv", *given) == 0
    (again,) = read_predictions(tmp_path / "b.csv", C)
    np.testing.assert_allclose(again.scores, written.scores, atol=1e-3)
    assert call("--members", *made, *fit, "--list", labels) == 0
    assert capsys.readouterr().err == "note: the weights are fitted to the same images that measure them\n"


def test_images_that_no_member_has(tmp_path, capsys):
    p = probabilities(6, C, 0)
    made = [write(tmp_path / f"{m}.csv", p, 5, unreadable={3, m}) for m in range(2)]
    out = tmp_path / "a.jsonl"
    assert call("--members", *made, "--out", out, "--class_dim", C, "--topk", 2) == 0
    assert "6 images, mean of 2 members, 1 without a prediction in any member" in capsys.readouterr().out
    (written,) = read_predictions(out, C)
    assert np.flatnonzero(~written.readable).tolist() == [3]
    assert '"error": "no member has a prediction"' in out.read_text().splitlines()[3]
    np.testing.assert_allclose(written.scores[0], np.sort(p[0])[::-1][:2], rtol=1e-6)  # of one member


ONE = "--members {one} --out {out} --class_dim 11"
BAD = [
    (f"{ONE} --members {{one}} {{others}}", r"60 of 60 images of \S+m0\.csv are not in \S+others\.csv"),
    (f"{ONE} --excel --out {{list}}.arrow", r"--excel only affects a CSV file; it needs --out FILE\.csv"),
    (f"{ONE} --topk 6", r"m0\.csv: lists 5 classes per image, 6 are needed for --topk 6"),
    (f"{ONE} --class_dim 10", r"row \d+ .*outside 0\.\.9"),
    ("--members {one}", "nothing to do: give --out FILE, --list LIST or both"),
    (f"{ONE} --topk 0", r"--topk: found 0; 1\.\.11"),
    (f"{ONE} --method vote --votes 2", r"--votes: found 2; 5\.\.11 \(--topk to"),
    (f"{ONE} --votes 5", "--votes: --method mean takes none"),
    ("--members {none} --out {out} --class_dim 11 --list {list}", r"none\.csv: no image has a prediction"),
    (f"{ONE} --method weighted", "--method weighted needs --weights, or --fit"),
    (f"{ONE} --method weighted --weights 1 1", "weights: found 2 for 1 members"),
    (f"{ONE} --method weighted --fit {{one}}", "--fit and --fit_list go together"),
    (f"{ONE} --method weighted --fit {{one}} --fit_list {{list}} --weights 1", "--weights and --fit: found both"),
    (f"{ONE} --members {{one}} gone.csv", r"gone\.csv: cannot be read"),
    (f"{ONE} --out a.txt", r"--out a\.txt: names that end in"),
    (f"{ONE} --list {{short}}", r"1 of 60 rows of .* are not in .*short\.txt \(the first: '59\.jpg', number 60\)"),
    (
        f"{ONE} --list {{one_more}} --class_dim 12",
        r"images have labels above 10, .*; no image has label 0: the "
        r"labels seem",
    ),
    ("--members {one} --list {one_more}", r"images have labels above 10, .*; labels seem to count from 1"),
    ("--members {one} --out {out} --method weighted --fit {one} --fit_list {one_more}", "labels seem to count from 1"),
    (f"{ONE} --method median", "--method: 'median' is not known; nearest: mean"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_bad_input_is_one_line_and_writes_nothing(files, tmp_path, capsys, line, message):
    p, names = probabilities(N, C, 0), [f"{i}.jpg" for i in range(N)]
    places = {
        "one": files[0],
        "list": files[3],
        "others": write(tmp_path / "others.csv", p, 5, [f"other/{name}" for name in names]),
        "short": write_list(tmp_path / "short.txt", LABELS[:-1]),
        "one_more": write_list(tmp_path / "one_more.txt", probabilities(N, C, 0, LABELS).argmax(axis=1) + 1),
        "none": write(tmp_path / "none.csv", p, 5, names, range(N)),
        "out": tmp_path / "o.csv",
    }
    places["out"].write_text("precious")
    before = sorted(tmp_path.iterdir())
    assert call(*line.format(**places).split()) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err), captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert sorted(tmp_path.iterdir()) == before
    assert places["out"].read_text() == "precious"
