"""tools/score_suspects.py: exact figures of a small list, and cleanlab's beside ours on kept features."""

import hashlib

import numpy as np
import pytest

from tools import score_suspects
from urnet.core import cli
from urnet.data.kept.kept_features import KeptFeatures
from urnet.data.kept.pictures import ABOUT

LIST = """\
path,given,suggested,suggested_prob,label_quality,verdict,group,in_classes,same_as
a/1.jpg,a,b,0.9000,0.0100,wrong label,0,0.9000,
a/2.jpg,a,a,0.5000,0.0200,off topic,,0.1000,
a/3.jpg,a,a,0.9000,0.7000,duplicate under another label,0,0.9000,b/1.jpg
b/1.jpg,b,b,0.9000,0.8000,near duplicate,0,0.9000,a/3.jpg
b/2.jpg,b,b,0.9000,0.9000,leak from validation,,0.9000,v.jpg
b/3.jpg,b,b,0.9000,0.0300,fine,,0.9000,
b/4.jpg,b,,,0.5000,unreadable,,,
"""
TRUTH = """\
path,truth,duplicate_of,leak_of
a/1.jpg,b,,
a/2.jpg,off_topic,,
a/3.jpg,b,b/1.jpg,
b/1.jpg,b,,
b/2.jpg,b,,v.jpg
b/3.jpg,b,,w.jpg
b/4.jpg,broken,,
"""


@pytest.fixture
def score(tmp_path, capsys):
    """``score(list, truth, *arguments)`` -> exit code, stdout, stderr."""

    def run(found, truth, *arguments):
        (tmp_path / "s.csv").write_text(found)
        (tmp_path / "t.csv").write_text(truth)
        code = cli.run(score_suspects.main, [str(tmp_path / "s.csv"), "--truth", str(tmp_path / "t.csv"), *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_figures_are_exact(score):
    code, out, _ = score(LIST, TRUTH)
    assert code == cli.DONE
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "wrong or off topic: AUC 0.8889 (3 of 6)",
        "right suggestions of the wrong 0.5000",
        "off topic: AUC 1.0000",
        "off topic recall 1.0000 (1 of 1), precision 1.0000 (1 said)",
        "unreadable recall 1.0000 (1 of 1), precision 1.0000 (1 said)",
        "near duplicates, pairs recall 1.0000 (1 of 1), precision 0.3333 (3 said)",
        "leaks recall 0.5000 (1 of 2), precision 1.0000 (1 said)",
    ]


def test_another_library_is_scored_on_the_same_features_and_folds(score, tmp_path):
    pytest.importorskip("cleanlab")
    rng = np.random.default_rng(0)
    true = np.arange(120) % 3
    given = np.where(rng.random(120) < 0.2, (true + 1) % 3, true)
    features = (rng.gamma(1.0, size=(120, 8)) + 4 * np.eye(8)[true]).astype(np.float16)
    found, truth = [LIST.splitlines()[0]], ["path,truth"]
    about = np.zeros(120, ABOUT)
    for i in range(120):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(b"%d" % i)
        about["content"][i] = np.frombuffer(hashlib.sha256(path.read_bytes()).digest(), np.uint8)
        found.append(f"{i}.jpg,c{given[i]},c{true[i]},0.9,{0.1 if given[i] != true[i] else 0.9},fine,,0.9,")
        truth.append(f"{i}.jpg,c{true[i]}")
    kept = KeptFeatures(tmp_path / "kept", {"weights": "toy"})
    kept.add(about, features)
    kept.close()
    more = ["--features", str(tmp_path / "kept"), "--root", str(tmp_path), "--seeds", "0", "--strengths", "0.1"]
    code, out, err = score("\n".join(found), "\n".join(truth), *more)
    assert code == cli.DONE, err
    lines = [line for line in out.splitlines() if "seed 0" in line]
    assert [line.split("  ")[0] for line in lines] == [
        "label_quality",
        "cleanlab self_confidence C=0.1",
        "cleanlab normalized_margin C=0.1",
    ]
    assert float(lines[0].split("seed 0: ")[1].split(",")[0]) > 0.98


@pytest.mark.parametrize(
    ("found", "truth", "more", "message"),
    [
        (LIST, TRUTH.replace("a/1.jpg", "a/9.jpg"), [], "1 paths only in the truth, 1 only in the list (a/9.jpg)"),
        ("path,given\nx,y\n", TRUTH, [], "has no column suggested"),
        (LIST, "path,truth\n", [], "has no rows"),
        (LIST, TRUTH, ["--features", "x"], "--features and --root"),
        (LIST, TRUTH, ["--features", "nowhere", "--root", "."], "nowhere: is not a file"),
    ],
)
def test_bad_input_is_one_line(score, found, truth, more, message):
    code, _, err = score(found, truth, *more)
    assert code == cli.BAD_INPUT and message in err
