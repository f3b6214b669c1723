"""digits_web: the faults are there at the stated rates, the truth file tells them, a seed fixes all bytes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

from urnet.config.recipe import Data
from urnet.core import cli
from urnet.data.lists.build_table import build_table, read_validation

REPOSITORY = Path(__file__).resolve().parents[2]
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(REPOSITORY / "data"))  # as Python does for a script
    import make_digits_web
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LOOK_ALIKES = [{6, 8}, {7, 4}, {7, 3}, {8, 5}, {9, 1}, {6, 3}, {5, 0}, {1, 2}, {3, 9}, {4, 8}]  # of 0, 1, …


def make(*arguments: object) -> subprocess.CompletedProcess:
    """The script's command line in this process."""
    argv, out, err = list(map(str, arguments)), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(make_digits_web.main, argv)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())


def fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "web"
    done = make("--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def rows(made, tmp_path_factory):
    """The table, the truth in its row order."""
    folder, _ = made
    table = build_table(Data(str(folder), 10), tmp_path_factory.mktemp("table"))
    pairs = [line.rsplit(" ", 1) for line in (folder / "truth_train.txt").read_text().splitlines()]
    truth = {path: int(value) for path, value in pairs}
    paths = table.strings("path", np.arange(table.n_rows))
    assert set(truth) == set(paths) and len(paths) == len(pairs)
    return table, np.array([truth[path] for path in paths])


def test_the_table_reads_it_and_every_image_is_there(rows, made):
    table, _ = rows
    assert table.class_names == [f"{word}, digit {word}" for word in WORDS]
    for path in table.paths(np.arange(table.n_rows)):
        image = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        assert image is not None and image.shape == (32, 32)
    files = [path for path in made[0].rglob("*.jpg") if "val_" not in str(path)]
    assert len(files) == table.n_rows


def test_class_sizes_fall_tenfold(rows):
    label = rows[0].column("label")
    assert np.bincount(label).tolist() == [600, 465, 360, 278, 216, 167, 129, 100, 77, 60]


def test_fault_rates_are_as_stated_in_every_class(rows):
    label, truth = rows[0].column("label"), rows[1]
    for digit in range(10):
        own = truth[label == digit]
        assert (own == -1).sum() == round(0.07 * len(own))
        wrong = own[(own >= 0) & (own != digit)]
        assert len(wrong) == round(0.25 * len(own))
        assert set(wrong.tolist()) == LOOK_ALIKES[digit]


def test_titles_carry_evidence(rows):
    """52 % of the titles name what is shown, 15 % another digit, 33 % nothing, within 4 standard errors."""
    table, truth = rows
    texts = table.strings("text", np.arange(table.n_rows))
    titles = [text.split("\n")[0].replace("digit ", "").split() for text in texts]
    named = [next((WORDS.index(word) for word in title if word in WORDS), None) for title in titles]
    digits = truth >= 0
    n = int(digits.sum())
    right = sum(name == shown for name, shown, use in zip(named, truth, digits, strict=True) if use) / n
    nothing = sum(name is None for name, use in zip(named, digits, strict=True) if use) / n
    for share, rate in ((right, 0.52), (nothing, 0.33), (1 - right - nothing, 0.15)):
        assert abs(share - rate) < 4 * np.sqrt(rate * (1 - rate) / n)


def test_google_ranks_the_right_images_higher_and_flickr_does_not(rows):
    table, truth = rows
    label, query, rank = (table.column(name) for name in ("label", "query", "rank"))
    source = table.column("source")
    for code, low, high in ((1, 0.2, 0.7), (2, -0.1, 0.1)):
        own = source == code
        size = np.array([(own & (query == q)).sum() for q in query])
        higher = (size > 1) & own & (rank < size / 2)
        lower = own & ~higher
        right = truth == label
        assert low < right[higher].mean() - right[lower].mean() < high


def test_validation_is_clean_balanced_and_shares_no_scan(made):
    """The scripts' own split, asked directly: the two parts have no scan in common and are all there is."""
    train, val = make_digits_web.split_scans(40, np.random.default_rng(0))
    digits = load_digits()
    scans = np.round(digits.images * (255 / 16)).astype(np.uint8)
    for digit in range(10):
        both = [scan.tobytes() for scan in [*train[digit], *val[digit]]]
        assert sorted(both) == sorted(scan.tobytes() for scan in scans[digits.target == digit])
        assert len(val[digit]) == 40
        assert not {scan.tobytes() for scan in train[digit]} & {scan.tobytes() for scan in val[digit]}
    images = read_validation(Data(str(made[0]), 10))
    assert np.bincount(images.labels).tolist() == [40] * 10


def test_the_summary_states_rows_sizes_and_shares(made):
    google, flickr = (
        len((made[0] / f"info/train_filelist_{engine}.txt").read_text().splitlines()) for engine in ("google", "flickr")
    )
    assert made[1].splitlines() == [
        f"training images    2452 (google {google}, flickr {flickr})",
        "class sizes        600 465 360 278 216 167 129 100 77 60",
        "wrong digit        25.0 %, off-topic 7.0 %",
        "validation images  400, as many of each class, all right",
    ]


def test_same_seed_same_bytes_other_seed_others(tmp_path):
    small = ("--largest", 50, "--imbalance", 5, "--val_per_class", 2)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert make("--out", tmp_path / name, *small, "--seed", seed).returncode == 0
    a, b, c = (fingerprint(tmp_path / name) for name in "abc")
    assert a == b != c


def test_a_complete_folder_is_left_alone_and_another_one_refused(tmp_path):
    small = ("--largest", 50, "--imbalance", 5, "--val_per_class", 2)
    out = tmp_path / "web"
    assert make("--out", out, *small).returncode == 0
    before, times = fingerprint(out), [path.stat().st_mtime_ns for path in out.rglob("*")]
    again = make("--out", out, *small)
    assert again.returncode == 0 and again.stdout == f"{out} is complete already; nothing is written\n"
    assert times == [path.stat().st_mtime_ns for path in out.rglob("*")]
    other = make("--out", out, *small, "--seed", 9)
    assert other.returncode == 2 and other.stderr == (
        f"error: {out}: exists, made otherwise (seed 0 is there, 9 is asked); "
        f"remove it (rm -r {out}) or name another --out\n"
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    assert make("--out", tmp_path / "mine").returncode == 2
    assert fingerprint(out) == before and (tmp_path / "mine" / "thesis.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "web"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--largest", 9), "error: --largest: found 9; accepted: 50 to 5000\n"),
        (("--wrong", 1.5), "error: --wrong: found 1.5; accepted: 0 to 1\n"),
        (("--wrong", 0.9, "--off_topic", 0.2), "error: --off_topic: found 0.2; accepted: 0 to 0.1\n"),
        (("--wrong", "nan"), "error: --wrong: found nan; accepted: 0 to 1\n"),
        (("--seed", -1), "error: --seed: found -1; accepted: 0 to inf\n"),
    ],
)
def test_bad_flags(tmp_path, flags, message):
    done = make("--out", tmp_path / "web", *flags)
    assert (done.returncode, done.stderr) == (2, message)
    assert not (tmp_path / "web").exists()


def test_without_faults_every_label_is_right(tmp_path):
    out = tmp_path / "web"
    flags = ("--wrong", 0, "--off_topic", 0, "--imbalance", 1, "--title_nothing", 0, "--title_other", 0)
    assert make("--out", out, "--largest", 50, "--val_per_class", 1, *flags).returncode == 0
    assert (out / "truth_train.txt").read_text() == (out / "info" / "train_filelist_all.txt").read_text()
    for query in range(1, 21):
        for entry in json.loads((out / "google" / f"q{query:05d}.json").read_text()):
            assert WORDS[(query - 1) // 2] in entry["title"]
