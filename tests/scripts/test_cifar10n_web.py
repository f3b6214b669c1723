"""cifar10n_web: from the published files' bytes to a set whose rates are as stated; no pickle of a stranger is run."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.cifar_files import array, binary_batch, items, number, pickled, python_batch, text
from tests.helpers.torch_file import MACHINE, MAGIC, VERSION, torch_file
from urnet.config.recipe import Data
from urnet.core import cli
from urnet.data.lists.build_table import build_table, read_validation

REPOSITORY = Path(__file__).resolve().parents[2]
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(REPOSITORY / "data"))  # as Python does for a script
    import cifar_files
    import make_cifar10n_web
N = 1500  # training pictures, 300 a file
SMALL = ("--scale", 0.05, "--val", 20)  # 353 rows
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def make(*arguments: object) -> tuple[int, str, str]:
    """The script's command line in this process: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.run(make_cifar10n_web.main, list(map(str, arguments)))
        except SystemExit as end:  # argparse's
            code = int(end.code or 0)
    return code, out.getvalue(), err.getvalue()


def files(folder: Path, besides: str = "") -> dict[str, bytes]:
    """Every file's bytes by its path."""
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return {name: data for name, data in found.items() if name != besides}


def pairs(file: Path) -> dict[str, int]:
    return {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in file.read_text().splitlines()}


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    """CIFAR-10 in both versions and as an archive, the labels in all forms; every picture has one colour."""
    place, rng = tmp_path_factory.mktemp("cifar"), np.random.default_rng(0)
    labels = rng.permutation(np.arange(N + 100) % 10)
    colours = np.stack([np.arange(N + 100) // 40, np.arange(N + 100) % 40, labels], axis=1) * (6, 6, 25)
    images = np.broadcast_to(colours[:, None, None], (N + 100, 32, 32, 3)).astype(np.uint8)
    for folder in ("py/cifar-10-batches-py", "bin/cifar-10-batches-bin"):
        (place / folder).mkdir(parents=True)
    for i, name in enumerate(BATCHES):
        own = slice(300 * i, 300 * (i + 1))
        (place / "py/cifar-10-batches-py" / name).write_bytes(python_batch(images[own], labels[own]))
        (place / f"bin/cifar-10-batches-bin/{name}.bin").write_bytes(binary_batch(images[own], labels[own]))
    with tarfile.open(place / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(place / "py/cifar-10-batches-py", "cifar-10-batches-py")
    clean = labels[:N]
    each = np.where(rng.random((N, 3)) < 0.2, rng.integers(0, 10, (N, 3)), clean[:, None])
    wrong = each != clean[:, None]
    worst = np.where(wrong.any(1), each[np.arange(N), wrong.argmax(1)], clean)
    people = {"clean_label": clean, "aggre_label": clean, "worse_label": worst}
    people.update({f"random_label{i + 1}": each[:, i] for i in range(3)})
    write_labels(place, people)
    return place, people, images


def write_labels(place: Path, people: dict) -> None:
    """The dict as torch.save wrote it in both of its forms, NumPy's arrays and tensors, and as numpy.save wrote it."""
    (place / "human.pt").write_bytes(torch_file(people))
    parts = [MAGIC, VERSION, MACHINE, people, []]
    (place / "chain.pt").write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    (place / "tensors.pt").write_bytes(torch_file(people))
    np.save(place / "human.npy", np.array(people, dtype=object), allow_pickle=True)


def arguments(place: Path, out: Path, *more: object) -> tuple:
    return ("--cifar", place / "py", "--labels", place / "human.npy", "--out", out, *SMALL, *more)


@pytest.fixture(scope="module")
def made(downloads, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "web"
    code, said, err = make(*arguments(downloads[0], out))
    assert code == 0, err
    return out, said


def test_the_table_reads_it_and_the_truth_is_the_picture_s(downloads, made, tmp_path):
    _, people, images = downloads
    out = made[0]
    table = build_table(Data(str(out), 10), tmp_path / "table")
    truth, listed = pairs(out / "truth_train.txt"), pairs(out / "info/train_filelist_all.txt")
    assert set(truth) == set(listed) == set(table.strings("path", np.arange(table.n_rows)))
    assert np.bincount(list(listed.values())).tolist() == [8, 18, 40, 24, 11, 66, 52, 86, 14, 31]
    assert sum(shown == -1 for shown in truth.values()) == round(350 * 500 / 7040)
    used = []
    for path, shown in truth.items():
        if shown >= 0:
            blue, green, red = cv2.imread(str(out / path))[16, 16]
            i = int(np.abs(images[:N, 0, 0].astype(int) - (red, green, blue)).sum(axis=1).argmin())
            used.append(i)
            assert people["clean_label"][i] == shown and people["worse_label"][i] == listed[path]
    assert len(set(used)) == len(used)


def test_validation_is_of_the_test_pictures_with_their_own_labels(downloads, made):
    images = downloads[2]
    found = read_validation(Data(str(made[0]), 10))
    assert np.bincount(found.labels).tolist() == [2] * 10
    for path, label in pairs(made[0] / "info/val_filelist.txt").items():
        blue, green, red = cv2.imread(str(made[0] / "val_images_resized" / path))[16, 16].astype(int)
        distance = np.abs(images[:, 0, 0].astype(int) - (red, green, blue)).sum(axis=1)
        assert distance.argmin() >= N and round(blue / 25) == label


def test_titles_and_ranks_are_what_people_said(downloads, tmp_path):
    """With everybody right about everything, titles err at the stated rate, and ranks know the open-set pictures."""
    place, people, _ = downloads
    agreed = dict.fromkeys(people, people["clean_label"])
    np.save(tmp_path / "agreed.npy", np.array(agreed, dtype=object), allow_pickle=True)
    code, said, _ = make(*arguments(place, tmp_path / "web", "--labels", tmp_path / "agreed.npy", "--scale", 0.08))
    assert code == 0
    cells = [cell.strip() for cell in said.splitlines()[-1].strip("|").split("|")]
    _, rows, right, other, opened, nothing, shown, wrong, _, before, _, _ = cells
    n = int(rows)
    assert n == 564 and (right, other, opened) == ("92.9", "0.0", "7.1")
    for found, share in ((nothing, 0.35 * 0.929 + 0.071), (shown, 0.65 * 0.929 * 0.937)):
        assert abs(float(found) / 100 - share) < 4 * np.sqrt(share * (1 - share) / n)
    assert float(wrong) == 0 and float(before) > 65


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_flipped_labels_are_wrong_exactly_as_often_as_asked(downloads, tmp_path, share):
    code, _, err = make(*arguments(downloads[0], tmp_path / "web", "--wrong", share))
    assert code == 0, err
    truth, listed = pairs(tmp_path / "web/truth_train.txt"), pairs(tmp_path / "web/info/train_filelist_all.txt")
    assert sum(truth[path] != label for path, label in listed.items()) == round(share * 350)
    assert sum(shown == -1 for shown in truth.values()) == 25


def test_all_forms_of_the_downloads_give_the_same_set(downloads, made):
    place = downloads[0]
    for cifar in ("py", "py/cifar-10-batches-py", "bin", "cifar-10-python.tar.gz"):
        for labels in ("human.pt", "chain.pt", "human.npy"):
            code, said, err = make("--cifar", place / cifar, "--labels", place / labels, "--out", made[0], *SMALL)
            assert (code, said) == (0, f"{made[0]} is complete already; nothing is written\n"), err


def test_same_seed_same_bytes_other_seed_others_and_another_set_is_left_alone(downloads, made, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        assert make(*arguments(downloads[0], tmp_path / name, "--seed", seed))[0] == 0
    assert files(tmp_path / "a") == files(made[0])
    assert files(tmp_path / "a").keys() != files(tmp_path / "b").keys()
    code, _, err = make(*arguments(downloads[0], tmp_path / "a", "--seed", 1))
    assert code == 2 and err == (
        f"error: {tmp_path}/a: exists, made otherwise (seed 0 is there, 1 is asked); "
        f"remove it (rm -r {tmp_path}/a) or name another --out\n"
    )
    assert files(tmp_path / "a") == files(made[0])


def test_without_metadata_it_is_the_same_set(downloads, made, tmp_path):
    assert make(*arguments(downloads[0], tmp_path / "bare", "--no-metadata"))[0] == 0
    bare, whole = files(tmp_path / "bare"), files(made[0])
    assert {name for name in whole if name not in bare} == {
        name for name in whole if name.startswith(("google/", "flickr/", "info/train_meta_list"))
    }
    assert all(bare[name] == data for name, data in whole.items() if name.endswith(".jpg"))
    for name in ("truth_train.txt", "info/train_filelist_google.txt"):
        lines = bare[name].splitlines()
        assert lines == sorted(lines) == sorted(whole[name].splitlines()) and lines != whole[name].splitlines()
    code, said, _ = make("--rates", tmp_path / "bare")
    assert code == 0 and said.splitlines()[-1].split("| ")[6:9] == ["- "] * 3
    table = build_table(Data(str(tmp_path / "bare"), 10), tmp_path / "table")
    assert not any(table.strings("text", np.arange(table.n_rows)))


def test_a_smaller_scale_takes_a_part_of_a_larger_one_s_pictures(downloads, made, tmp_path):
    assert make(*arguments(downloads[0], tmp_path / "half", "--scale", 0.025, "--open", "none"))[0] == 0

    def pictures(folder: Path) -> set[bytes]:
        return {(folder / path).read_bytes() for path, shown in pairs(folder / "truth_train.txt").items() if shown >= 0}

    assert pictures(tmp_path / "half") < pictures(made[0]) and len(pictures(tmp_path / "half")) == 176


# --- open-set pictures


def test_collages_are_the_default_and_none_is_said(downloads, made, tmp_path):
    opened = [path for path, shown in pairs(made[0] / "truth_train.txt").items() if shown == -1]
    for path in opened:
        quarters = cv2.imread(str(made[0] / path)).reshape(2, 16, 2, 16, 3)[:, 8, :, 8].reshape(4, 3)
        assert len({round(int(blue) / 25) for blue in quarters[:, 0]}) == 4  # four classes
    code, _, err = make(*arguments(downloads[0], tmp_path / "web", "--open", "none"))
    assert code == 0 and err == "note: --open none: the set has no open-set pictures\n"
    assert -1 not in pairs(tmp_path / "web/truth_train.txt").values()


def test_open_set_pictures_of_a_folder_and_of_cifar_100(downloads, tmp_path):
    for i in range(30):
        (tmp_path / "other/oak_tree").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f"other/oak_tree/{i}.png"), np.full((40, 50, 3), (0, 255, 0), np.uint8))
    green = np.broadcast_to(np.array([0, 255, 0], np.uint8), (30, 32, 32, 3))
    words = ["oak_tree"] * 100
    (tmp_path / "c100").mkdir()
    (tmp_path / "c100/train").write_bytes(python_batch(green, np.full(30, 7), "fine_labels"))
    (tmp_path / "c100/meta").write_bytes(pickled({"fine_label_names": items([text(word) for word in words])}))
    (tmp_path / "bin").mkdir()
    record = bytes([1, 7]) + green[0].transpose(2, 0, 1).tobytes()
    (tmp_path / "bin/train.bin").write_bytes(30 * record)
    (tmp_path / "bin/fine_label_names.txt").write_text("\n".join(words))
    for name in ("other", "c100", "bin"):
        out = tmp_path / f"web_{name}"
        code, _, err = make(*arguments(downloads[0], out, "--open", tmp_path / name))
        assert code == 0, err
        opened = [path for path, shown in pairs(out / "truth_train.txt").items() if shown == -1]
        assert all((abs(cv2.imread(str(out / path)).astype(int) - (0, 255, 0)) < 6).all() for path in opened)
        entries = [entry for file in out.glob("*/q*.json") for entry in json.loads(file.read_text())]
        titles = {entry["title"] for entry in entries if f"{entry['id']}.jpg" in {Path(path).name for path in opened}}
        assert any("oak tree" in title for title in titles)
    few = tmp_path / "few"
    few.mkdir()
    (few / "1.png").write_bytes((tmp_path / "other/oak_tree/1.png").read_bytes())
    code, _, err = make(*arguments(downloads[0], tmp_path / "x", "--open", few))
    assert (code, err) == (2, f"error: --open: {few} has 1 pictures; 25 are needed\n")


# --- what is refused


def test_more_rows_than_the_pictures_allow(downloads, tmp_path):
    place, people, _ = downloads
    code, _, err = make(*arguments(place, tmp_path / "web", "--scale", 0.5))
    assert code == 2 and "the largest possible is 0.0" in err and err.count("\n") == 1
    largest = float(err.split("largest possible is ")[1].split(",")[0])
    assert make(*arguments(place, tmp_path / "most", "--scale", largest))[0] == 0
    assert make(*arguments(place, tmp_path / "over", "--scale", largest + 0.01))[0] == 2
    assert make(*arguments(place, tmp_path / "cut", "--scale", 0.5, "--cap"))[0] == 0
    sizes = np.bincount(list(pairs(tmp_path / "cut/info/train_filelist_all.txt").values()))
    shown = np.array(list(pairs(tmp_path / "cut/truth_train.txt").values()))
    assert sizes[0] == 85 and sizes[7] < 860 and abs((shown < 0).mean() - 500 / 7040) < 0.002
    closed = pairs(tmp_path / "cut/truth_train.txt")
    of_seven = [p for p, c in pairs(tmp_path / "cut/info/train_filelist_all.txt").items() if c == 7 and closed[p] >= 0]
    assert len(of_seven) == (people["worse_label"] == 7).sum()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--val", 101), "--val: found 101; CIFAR-10's test pictures allow 1 to"),
        (("--wrong", 0.01), "--wrong: found 0.01; open-set pictures alone are 0.0714 of all"),
        (("--wrong", 1.5), "--wrong: found 1.5; a share of at most 1 is accepted"),
        (("--wrong", 0.5, "--cap"), "--wrong: found --cap; "),
        (("--scale", "nan"), "--scale"),
        (("--seed", -1), "--seed"),
        (("--open", "nowhere"), "nowhere: is not a folder"),
        (("--cifar", "nowhere"), "nowhere: does not exist; CIFAR-10's folder or its .tar.gz archive is needed"),
        (("--rates", "nowhere"), "nowhere/info/synsets.txt: does not exist"),
    ],
)
def test_bad_flags(downloads, tmp_path, flags, message):
    code, _, err = make(*arguments(downloads[0], tmp_path / "web", *flags))
    assert code == 2 and message in err and err.startswith("error: ")
    assert not list(tmp_path.iterdir())


class Runs:
    """What pickle turns into a call."""

    def __reduce__(self):
        return print, ("run!",)


def hostile_labels(people: dict) -> dict[str, tuple[bytes, str]]:
    """File name -> bytes that are refused, and a part of the message."""
    labels = {name: values.astype(np.int64) for name, values in people.items()}

    def npy(tree: object) -> bytes:
        stream = io.BytesIO()
        np.save(stream, np.array(tree, dtype=object), allow_pickle=True)
        return stream.getvalue()

    def changed(**columns: np.ndarray) -> bytes:
        return torch_file({**labels, **columns})

    plain = io.BytesIO()
    np.save(plain, labels["clean_label"])
    high = np.where(np.arange(N) == 3, 10, labels["worse_label"])
    return {
        "call.npy": (npy(Runs()), "asks for 'builtins.print'"),
        "call.pt": (torch_file({"clean_label": Runs()}), "asks for '"),
        "inner.npy": (npy({**labels, "worse_label": Runs()}), "asks for 'builtins.print'"),
        "cut.pt": (torch_file(labels)[:-3000], "broken or cut off"),
        "cut.npy": (npy(labels)[:-500], "ends early"),
        "text.pt": (b"<html>404", "is neither a file of torch.save nor .npy"),
        "empty.npy": (b"", "is neither a file of torch.save nor .npy"),
        "plain.npy": (plain.getvalue(), "it is an array of <i8"),
        "list.npy": (npy([1, 2]), "an array of objects; a single one is accepted"),
        "lacks.pt": (torch_file({"clean_label": labels["clean_label"]}), "has no worse_label"),
        "high.pt": (changed(worse_label=high), "worse_label: found 10; 0 to 9 is accepted"),
        "low.pt": (changed(worse_label=-labels["worse_label"]), "0 to 9 is accepted"),
        "short.pt": (changed(random_label2=labels["worse_label"][:-1]), "random_label2: is int64 of shape (1499,)"),
        "real.pt": (changed(random_label2=np.zeros(N)), "random_label2: is float64"),
        "order.pt": (changed(clean_label=np.roll(labels["clean_label"], 1)), "in another order"),
    }


def test_label_files_that_are_refused(downloads, tmp_path, capfd):
    for name, (data, message) in hostile_labels(downloads[1]).items():
        (tmp_path / name).write_bytes(data)
        code, _, err = make(*arguments(downloads[0], tmp_path / "web", "--labels", tmp_path / name))
        assert code == 2 and message in err and err.count("\n") == 1, (name, err)
        assert err.startswith(f"error: {tmp_path / name}")
    assert not (tmp_path / "web").exists() and "run!" not in capfd.readouterr().out


def hostile_batches() -> dict[str, tuple[bytes, str]]:
    """What data_batch_2 may be, and a part of the message."""
    images, labels = np.zeros((3, 32, 32, 3), np.uint8), np.arange(3)
    whole, few = python_batch(images, labels), items([number(1)])
    flat = array(np.zeros((3, 3000), np.uint8))
    deep = pickled({"data": b"cos\nsystem\n" + text("echo run!") + b"\x85R", "labels": few})
    return {
        "call": (deep, "asks for 'os.system'"),
        "cut": (whole[: len(whole) // 2], "ends early"),
        "empty": (b"", "ends early"),
        "page": (b"<html>404", "unknown opcode"),
        "labels": (pickled({"data": flat}), "has no array 'data' and list 'labels'"),
        "shape": (
            pickled({"data": flat, "labels": items([number(1)] * 3)}),
            "is uint8 of shape (3, 3000) for 3 labels",
        ),
        "rows": (pickled({"data": array(np.zeros((3, 3072), np.uint8)), "labels": few}), "for 1 labels"),
        "class": (python_batch(images, np.array([0, 1, 10])), "a label is not a number from 0 to 9"),
        "list": (few.replace(b"]", b"\x80\x02]") + b".", "it holds a list"),
    }


def test_pictures_that_are_refused(downloads, tmp_path, capfd):
    place = downloads[0]
    for name, (data, message) in hostile_batches().items():
        folder = tmp_path / name
        folder.mkdir()
        for batch in BATCHES:
            (folder / batch).write_bytes((place / "py/cifar-10-batches-py" / batch).read_bytes())
        (folder / "data_batch_2").write_bytes(data)
        code, _, err = make(*arguments(place, tmp_path / "web", "--cifar", folder))
        assert code == 2 and message in err and err.count("\n") == 1, (name, err)
        assert err.startswith(f"error: {folder}: data_batch_2: ")
    (folder / "data_batch_2").unlink()
    code, _, err = make(*arguments(place, tmp_path / "web", "--cifar", folder))
    assert (code, err) == (
        2,
        f"error: {folder}: data_batch_2 missing, but data_batch_1 is there; all files are needed\n",
    )
    assert not (tmp_path / "web").exists() and "run!" not in capfd.readouterr().out


def test_binary_files_and_archives_that_are_refused(downloads, tmp_path, monkeypatch):
    place = downloads[0]
    archive = (place / "cifar-10-python.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(archive[: len(archive) // 2])
    (tmp_path / "page.tar.gz").write_bytes(b"<html>404")
    with tarfile.open(tmp_path / "other.tar", "w") as other:
        other.add(place / "human.pt", "human.pt")
    (tmp_path / "bin").mkdir()
    for name in BATCHES:
        (tmp_path / f"bin/{name}.bin").write_bytes((place / f"bin/cifar-10-batches-bin/{name}.bin").read_bytes()[:-1])
    (tmp_path / "nothing").mkdir()
    expected = {
        "cut.tar.gz": "is not a tar archive, or is damaged or cut off",
        "page.tar.gz": "is not a tar archive, or is damaged or cut off",
        "other.tar": "is an archive without CIFAR-10's files",
        "bin": "a multiple of 3073 is accepted, so it is cut off",
        "nothing": "holds no CIFAR-10; accepted: a folder with",
    }
    for name, message in expected.items():
        code, _, err = make(*arguments(place, tmp_path / "web", "--cifar", tmp_path / name))
        assert code == 2 and message in err and err.count("\n") == 1, (name, err)
    with pytest.raises(Exception, match="CIFAR-100"):
        cifar_files.read_cifar100(place / "py")
    assert not (tmp_path / "web").exists()
    digest = hashlib.sha256(archive).hexdigest()
    assert digest == hashlib.sha256((place / "cifar-10-python.tar.gz").read_bytes()).hexdigest()
