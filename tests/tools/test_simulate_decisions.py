"""tools/simulate_decisions.py: a table of orders, decisions files that others read, and what is refused in one line."""

import hashlib

import numpy as np
import pytest

from tools import score_classifiers, simulate_decisions
from urnet.core import cli
from urnet.data.decisions import read_decisions
from urnet.data.kept.kept_features import KeptFeatures
from urnet.data.kept.pictures import ABOUT

HEAD = "path,given,suggested,suggested_prob,label_quality,verdict,group,in_classes,same_as"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of two classes, three in ten under the wrong one, and their features as kept."""
    root = tmp_path_factory.mktemp("folder")
    rng = np.random.default_rng(0)
    true = np.arange(100) % 2
    given = np.where(np.arange(100) % 10 < 3, 1 - true, true)
    given[60:] = true[60:]  # validation
    features = (rng.gamma(1.0, size=(100, 6)) + 4 * np.eye(6)[true]).astype(np.float16)
    about, found, truth = np.zeros(100, ABOUT), [HEAD], ["path,truth"]
    for i in range(100):
        path = root / ("val" if i >= 60 else "train") / f"c{given[i]}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % i)
        about["content"][i] = np.frombuffer(hashlib.sha256(path.read_bytes()).digest(), np.uint8)
        if i < 60:
            verdict = {0: "near duplicate", 1: "leak from validation"}.get(i, "fine")
            found.append(f"c{given[i]}/{i}.jpg,c{given[i]},c0,0.9,0.5,{verdict},,0.9,")
            truth.append(f"c{given[i]}/{i}.jpg,{'off_topic' if i == 7 else f'c{true[i]}'}")
    (root / "suspects.csv").write_text("\n".join(found) + "\n")
    (root / "truth.csv").write_text("\n".join(truth) + "\n")
    kept = KeptFeatures(root / "kept", {"weights": "toy"})
    kept.add(about, features)
    kept.close()
    return root


@pytest.fixture
def simulate(folder, capsys):
    def run(*more, truth="truth.csv"):
        places = {"--truth": truth, "--features": "kept", "--root": "train", "--val": "val"}
        flags = [word for flag, place in places.items() for word in (flag, str(folder / place))]
        code = cli.run(simulate_decisions.main, [str(folder / "suspects.csv"), *flags, *more])
        return code, *capsys.readouterr()

    return run


def test_orders_are_compared_and_what_was_decided_is_written(simulate, folder, tmp_path):
    code, out, err = simulate(
        "--numbers", "0,6,59", "--seeds", "0,1", "--batch", "3", "--write", str(tmp_path / "states")
    )
    assert code == cli.BAD_INPUT and "59, but there are only 58 pictures to ask about" in err  # the copy
    code, out, err = simulate(
        "--numbers", "0,6,58", "--seeds", "0,1", "--batch", "20", "--write", str(tmp_path / "states")
    )
    assert code == cli.DONE, err
    rows = [line.split() for line in out.splitlines()[1:]]
    assert [(row[0], row[1]) for row in rows] == [
        (name, n) for name in simulate_decisions.ORDERS for n in ("0", "6", "58")
    ]
    faults = [int(row[-1]) for row in rows]
    assert faults[::3] == [0] * 4 and set(faults[2::3]) <= {17, 18} and faults[4] == 6  # by quality: all are wrong
    assert all(float(row[2]) > 90 and float(row[5]) > 80 for row in rows)
    states = {path.name: read_decisions(path) for path in (tmp_path / "states").iterdir()}
    assert len(states) == 24 and [len(states[f"worth-1-{n}.csv"]) for n in (0, 6, 58)] == [0, 6, 58]
    said = {decision.path: (decision.decision, decision.label) for decision in states["random-0-58.csv"]}
    assert said["c0/7.jpg" if "c0/7.jpg" in said else "c1/7.jpg"] == ("none", "")
    assert said["c1/2.jpg"] == ("relabel", "c0") and said["c1/5.jpg"] == ("keep", "c1")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--orders", "worth,best"], "'best'; worth, quality, uncertainty, random are accepted"),
        (["--numbers", "0,x"], "--numbers: found '0,x'"),
        (["--numbers", "100"], "100, but there are only 59 pictures"),
        (["--truth", "nowhere.csv"], "nowhere.csv: cannot be read"),
    ],
)
def test_bad_input_is_one_line(simulate, more, message):
    code, _, err = simulate(*more)
    assert code == cli.BAD_INPUT and message in err and err.count("\n") == 1


def test_classifiers_learn_from_weighted_rows_beside_another_library_s(simulate, folder, capsys):
    pytest.importorskip("cleanlab")
    places = {"--truth": "truth.csv", "--features": "kept", "--root": "train", "--val": "val"}
    flags = [word for flag, place in places.items() for word in (flag, str(folder / place))]
    call = [str(folder / "suspects.csv"), *flags]
    assert cli.run(score_classifiers.main, [*call, "--strengths", "0.1,0.01", "--seeds", "0"]) == cli.DONE
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["rows", "C=0.1", "C=0.01"]
    found = {line[:28].strip(): [float(cell) for cell in line[28:].replace("± 0.00", "").split()] for line in lines}
    assert list(found) == [
        *("all alike", "instance_weight", "relevance^1/2 in_classes"),
        *("right labels only", "all labels corrected", "cleanlab CleanLearning"),
    ]
    assert all(len(cells) == 2 and 50 < cell <= 100 for cells in found.values() for cell in cells)
    for wrong in (["--strengths", "0"], ["--seeds", "-1"], ["--strengths", "much"]):
        assert cli.run(score_classifiers.main, [*call, *wrong]) == cli.BAD_INPUT
        assert f"{wrong[0]}: found {wrong[1]!r}; " in capsys.readouterr().err
