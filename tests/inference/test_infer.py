"""infer.py: the release's command and output, engines, files, preprocessing, and every bad input."""

import csv
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import eval as evaluation
import infer
from tests.helpers.predict import (
    N_CLASSES,
    NAMES,
    RELEASE,
    TRANSFORM,
    Toys,
    answers,
    make_network,
    save_fluid,
    weights_of,
)
from urnet.checkpoints import safetensors_io
from urnet.core import cli
from urnet.runtime.precision import has_gpu

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return Toys(tmp_path_factory.mktemp("toys"))


def run(capsys, argv):
    """Exit code, argument block, result lines, stderr."""
    code = cli.run(infer.main, argv)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    rule = "-" * 52
    end = lines.index(rule) + 1 if rule in lines else 0
    return code, lines[:end], lines[end:], err


def numbers(lines):
    """Classes and scores of result lines, each (n, k); the lines must be the release's to the letter."""
    classes, scores = [], []
    for i, line in enumerate(lines):
        found = re.fullmatch(rf"Test-{i}-score: \[([-+.e\d ]+)\], class \[([\d ]+)\]", line)
        assert found, line
        scores.append([float(word) for word in found[1].split()])
        classes.append([int(word) for word in found[2].split()])
    return np.array(classes), np.array(scores)


def test_predictions_are_those_worked_out_plainly(toys, capsys):
    code, block, lines, err = run(capsys, toys.argv())
    assert code == 0
    classes, scores = numbers(lines)
    np.testing.assert_array_equal(classes[:, 0], toys.labels)
    np.testing.assert_allclose(scores[:, 0], toys.expected.max(axis=1), atol=2e-5)
    assert len(set(toys.labels.tolist())) >= 4  # the toys are not all one class
    assert block[0] == "-------------  Configuration Arguments -------------"
    assert f"{'class_dim':>25} : {N_CLASSES}" in block
    assert f"{'image_shape':>25} : 3,32,32" in block
    assert [line.split(":")[0].strip() for line in block[1:-1]] == sorted(vars(infer.parser().parse_args([])))
    assert "11 images in" in err


def test_both_engines_worker_processes_and_topk(toys, capsys):
    code, _, lines, _ = run(capsys, toys.argv(engine="inference", topk=5, workers=2))
    assert code == 0
    classes, scores = numbers(lines)
    np.testing.assert_array_equal(classes, toys.ranking[:, :5])
    np.testing.assert_allclose(scores, np.take_along_axis(toys.expected, classes, 1), atol=2e-5)


def test_csv_and_json_lines(toys, capsys, tmp_path):
    names = tmp_path / "synsets.txt"
    names.write_text("".join(f"n{c:08d} other {c}, name\n" for c in range(N_CLASSES)))
    assert run(capsys, toys.argv(output=tmp_path / "new" / "a.csv", topk=2))[0] == 0
    assert run(capsys, toys.argv(output=tmp_path / "a.jsonl", topk=2, class_names=names))[0] == 0
    with (tmp_path / "new" / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    objects = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == [item["path"] for item in objects] == toys.names
    for i, (row, item) in enumerate(zip(rows, objects, strict=True)):
        best = toys.ranking[i, :2].tolist()
        assert row["classes"] == f"{best[0]} {best[1]}"
        assert item["classes"] == best
        assert row["names"] == f"{NAMES[best[0]]}; {NAMES[best[1]]}"
        assert item["names"] == [f"other {c}, name" for c in best]
        np.testing.assert_allclose(item["scores"], toys.expected[i, best], atol=2e-5)
        assert [float(word) for word in row["scores"].split()] == item["scores"]
        assert row["error"] == item["error"] == ""


def test_images_without_a_list_and_one_image(toys, capsys):
    order = sorted(range(len(toys.names)), key=lambda i: toys.names[i])
    code, _, lines, _ = run(capsys, toys.argv(img_list=None))
    assert code == 0
    np.testing.assert_array_equal(numbers(lines)[0][:, 0], toys.labels[order])
    code, _, lines, _ = run(capsys, toys.argv(img_list=None, img_path=toys.images / "some dir" / "3.png"))
    assert code == 0
    np.testing.assert_array_equal(numbers(lines)[0], [[toys.labels[3]]])


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        ({"resize": "straight"}, {"eval": "straight"}),
        ({"image_shape": "3,24,24"}, {"size": 24}),
        ({"resize_short_size": 50}, {"resize_short": 50}),
        ({"image_shape": "3, 40, 40", "resize": "short", "resize_short_size": 48}, {"size": 40, "resize_short": 48}),
    ],
)
def test_flags_go_before_the_recipe(toys, capsys, flags, changes):
    code, _, lines, _ = run(capsys, toys.argv(**flags))
    assert code == 0
    expected = answers(toys.network, toys.images, toys.names, dataclasses.replace(TRANSFORM, **changes))
    assert np.abs(expected.max(1) - toys.expected.max(1)).max() > 1e-3  # the flag makes a difference
    np.testing.assert_allclose(numbers(lines)[1][:, 0], expected.max(axis=1), atol=2e-5)


def test_the_release_s_checkpoint_and_command(toys, capsys, tmp_path):
    """Its folder of variables, its flags; straight resize by default, its earlier one by flag."""
    name = "ResNeXt50_32x4d"
    network = make_network(toys.images, toys.names, RELEASE, name)
    folder = save_fluid(tmp_path / "ckpt", network)
    argv = f"--model {name} --pretrained {folder}/ --class_dim {N_CLASSES} --img_list {toys.list}".split()
    argv += f"--img_path {toys.images}/ --image_shape 3,32,32 --use_gpu True --engine dygraph".split()
    for resize, more in (("straight", []), ("short", ["--resize", "short"])):
        code, _, lines, err = run(capsys, argv + more)
        assert code == 0
        assert err.count("note: --use_gpu True, but this Paddle") == (0 if has_gpu() else 1)
        expected = answers(network, toys.images, toys.names, dataclasses.replace(RELEASE, eval=resize))
        classes, scores = numbers(lines)
        np.testing.assert_array_equal(classes[:, 0], expected.argmax(axis=1))
        np.testing.assert_allclose(scores[:, 0], expected.max(axis=1), atol=1e-4)


def test_prefixes_of_the_release_s_flags_still_work():
    line = "--use False --class 5 --image_s 3,32,32 --pre a --mod b --save True --resize_s 99"
    args = infer.parser().parse_args([*line.split(), "--img_l", "c", "--img_p", "d"])
    found = (args.use_gpu, args.class_dim, args.image_shape, args.pretrained_model, args.model)
    assert found == (False, 5, "3,32,32", "a", "b")
    assert (args.save_inference, args.resize_short_size, args.img_list, args.img_path) == (True, 99, "c", "d")
    for prefix in ("--p", "--pret", "--pretrained"):
        assert infer.parser().parse_args([prefix, "a"]).pretrained_model == "a"


def test_resize_with_a_number_is_the_release_s_prefix(toys, capsys):
    code, block, _, _ = run(capsys, toys.argv(resize=50))
    assert code == 0
    assert f"{'resize_short_size':>25} : 50" in block


def test_unreadable_images_are_marked_up_to_max_bad(toys, capsys, tmp_path):
    (tmp_path / "b.png").write_bytes((toys.images / "4.png").read_bytes()[:-20])
    (tmp_path / "a.png").write_bytes((toys.images / "4.png").read_bytes())
    names = ["a.png", "b.png", "gone.png", "a.png"]
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in names))
    flags = {"img_path": tmp_path, "img_list": tmp_path / "list.txt", "output": tmp_path / "out.jsonl"}
    code, _, lines, err = run(capsys, toys.argv(**flags, max_bad=2))
    assert code == 0
    assert lines[1] == "Test-1-score: [nan], class []"
    assert f"class [{toys.labels[4]}]" in lines[3]
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [len(row["classes"]) for row in rows] == [1, 0, 0, 1]
    assert "cut off" in rows[1]["error"]
    assert rows[2]["error"].startswith("cannot be read")
    assert "2 unreadable" in err
    before = (tmp_path / "out.jsonl").read_text()
    code, _, _, err = run(capsys, toys.argv(**flags, max_bad=1))
    assert code == 2
    assert re.fullmatch(r"error: \S+/b\.png: .*cut off \(and 1 more\); at most 1 unreadable images .*\n", err)
    assert (tmp_path / "out.jsonl").read_text() == before  # the failed run wrote nothing


def test_an_inference_model_is_written_and_checked(toys, capsys, tmp_path):
    folder = tmp_path / "served"
    argv = toys.argv("--save_inference", "True", inference_dir=folder, img_path=None, img_list=None)
    code, _, lines, _ = run(capsys, argv)
    assert code == 0
    assert lines[0] == "model:  ResNeXt_small32  is already saved"
    assert re.fullmatch(r".*served: largest difference from the live network \d\S*", lines[1])
    signature = json.loads((folder / "signature.json").read_text())
    assert signature["class_names"] == NAMES
    assert (signature["resize"], signature["resize_short_size"]) == ("short", 36)
    code, _, _, err = run(capsys, argv)
    assert code == 2
    assert "served: exists already" in err


def bad_files(toys, folder):
    """Checkpoints and images that are wrong in one way each."""
    weights = weights_of(toys.network)
    safetensors_io.write_safetensors(folder / "bare.safetensors", weights)
    whole = (folder / "bare.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    del weights["fc.bias"]
    safetensors_io.write_safetensors(folder / "other.safetensors", {**weights, "head.bias": np.zeros(3, np.float32)})
    (folder / "empty").mkdir()
    (folder / "pictures").mkdir()
    (folder / "pictures" / "bad.png").write_text("this is no picture")
    (folder / "empty.txt").write_text("\n# nothing\n")
    (folder / "missing.txt").write_text(f"{toys.names[0]} 1\ngone.png 2\nalso gone.png 2\n")
    (folder / "names.txt").write_text("one\ntwo\n")
    (folder / "file").write_text("")
    shutil.copytree(toys.checkpoint, folder / "names")
    (folder / "names" / "classes.txt").write_text("one\ntwo\n")


BARE = {
    "pretrained_model": "{bad}/bare.safetensors",
    "model": "ResNeXt_small32",
    "class_dim": 7,
    "image_shape": "3,32,32",
}
BAD = {
    "no checkpoint": ({"pretrained_model": None}, r"--pretrained_model: found none"),
    "checkpoint missing": ({"pretrained_model": "{bad}/no"}, r"bad/no: does not exist"),
    "checkpoint empty": ({**BARE, "pretrained_model": "{bad}/empty"}, r"bad/empty"),
    "checkpoint truncated": ({**BARE, "pretrained_model": "{bad}/cut.safetensors"}, r"cut\.safetensors"),
    "other parameters": (
        {**BARE, "pretrained_model": "{bad}/other.safetensors"},
        r"1 missing \(fc\.bias\); 1 unexpected \(head\.bias\)",
    ),
    "other network": ({**BARE, "model": "ResNeXt50_32x4d"}, r"bare\.safetensors: does not fit the network"),
    "other class_dim": ({**BARE, "class_dim": 9}, r"has 7 classes .* class_dim is 9"),
    "recipe's network": (
        {"model": "ResNeXt50_32x4d"},
        r"--model is ResNeXt50_32x4d, but \S+ was trained with ResNeXt_sm",
    ),
    "recipe's classes": ({"class_dim": 9}, r"--class_dim is 9, but \S+ was trained with 7"),
    "unknown model": (
        {**BARE, "model": "ResNext_small"},
        r"--model: 'ResNext_small' is not known; nearest: ResNet8_small32, ResNeXt_small32, ResNet50",
    ),
    "shape words": ({"image_shape": "3,a,b"}, r"--image_shape: found '3,a,b'; accepted: 3,S,S"),
    "shape of two": ({"image_shape": "3,224"}, r"--image_shape: found '3,224'"),
    "shape of 1 channel": ({"image_shape": "1,32,32"}, r"--image_shape: found '1,32,32'"),
    "shape not square": ({"image_shape": "3,32,48"}, r"--image_shape: found '3,32,48'"),
    "shape negative": ({"image_shape": "3,-32,-32"}, r"--image_shape: found"),
    "shape huge": ({"image_shape": "3,99999,99999"}, r"--image_shape: found .* S from 8 to 2048"),
    "resize unknown": ({"resize": "long"}, r"--resize: 'long' is not known"),
    "short side too short": ({"resize_short_size": 20}, r"--resize_short_size: found 20; 32 or more"),
    "topk zero": ({"topk": 0}, r"--topk: found 0; 1\.\.7"),
    "topk too large": ({"topk": 8}, r"--topk: found 8; 1\.\.7"),
    "batch size": ({"batch_size": 0}, r"--batch_size: found 0; 1 or more"),
    "class_dim": ({"class_dim": 0}, r"--class_dim: found 0; 1 or more"),
    "workers": ({"workers": -1}, r"--workers: found -1; 0 or more"),
    "engine": ({"engine": "dynamic"}, r"--engine: 'dynamic' is not known"),
    "precision": ({"precision": "fp16"}, r"--precision: 'fp16' is not known"),
    "bf16 in dygraph": ({"precision": "bf16"}, r"--precision bf16: on the CPU --engine inference is needed"),
    "class names": ({"class_names": "{bad}/names.txt"}, r"names\.txt: has 2 class names, but n_classes is 7"),
    "checkpoint's class names": (
        {"pretrained_model": "{bad}/names"},
        r"names/classes\.txt: has 2 class names, but class_dim is 7",
    ),
    "no images": ({"img_path": None}, r"--img_path: found none"),
    "folder missing": ({"img_path": "{bad}/no"}, r"bad/no: is no folder"),
    "folder missing, no list": ({"img_path": "{bad}/no", "img_list": None}, r"bad/no: is no folder"),
    "folder without images": ({"img_path": "{bad}/empty", "img_list": None}, r"bad/empty: has no image"),
    "list missing": ({"img_list": "{bad}/no.txt"}, r"bad/no\.txt: cannot be read"),
    "list empty": ({"img_list": "{bad}/empty.txt"}, r"empty\.txt: lists no image"),
    "image missing": ({"img_list": "{bad}/missing.txt"}, r"missing\.txt:2: \S+/gone\.png is not there \(2 of 3"),
    "image no image": (
        {"img_path": "{bad}/pictures", "img_list": None},
        r"pictures/bad\.png: is no readable image: .*; at most 0 unreadable",
    ),
    "output in a file": ({"output": "{bad}/file/a.csv"}, r"file/a\.csv: cannot be written"),
    "output a folder": ({"output": "{bad}/folder.csv"}, r"--output \S+folder\.csv: is a folder"),
    "output of another kind": (
        {"output": "{bad}/a.xlsx"},
        r"--output \S+a\.xlsx: accepted are names that end in \.csv or",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(toys, capsys, tmp_path, case):
    bad = tmp_path / "bad"
    bad.mkdir()
    bad_files(toys, bad)
    (bad / "folder.csv").mkdir()
    flags, message = BAD[case]
    flags = {name: value.format(bad=bad) if isinstance(value, str) else value for name, value in flags.items()}
    before = sorted(tmp_path.rglob("*"))
    code, _, lines, err = run(capsys, toys.argv(**{"output": bad / "out.csv", **flags}))
    assert code == 2, err
    assert err.count("\n") == 1, err
    assert re.search(message, err), err
    assert lines == []
    assert sorted(tmp_path.rglob("*")) == before


def test_usage_errors_leave_with_2(capsys):
    for argv in (["--nonsense"], ["--use_gpu", "perhaps"], ["--topk", "many"]):
        with pytest.raises(SystemExit) as left:
            infer.main(argv)
        assert left.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_stdout_holds_results_only(toys, tmp_path):
    """A process of its own, with the engine whose C++ code writes to stdout; and bad input's exit code."""
    command = [sys.executable, str(ROOT / "infer.py")]
    done = subprocess.run(
        command + toys.argv(engine="inference"), capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("Configuration Arguments -------------")
    np.testing.assert_array_equal(numbers(lines[-11:])[0][:, 0], toys.labels)
    assert len(lines) == len(vars(infer.parser().parse_args([]))) + 2 + 11
    assert re.fullmatch(r"11 images in .* engine inference\n", done.stderr)  # and nothing of Paddle's own
    failed = subprocess.run(
        command + toys.argv(img_list="no.txt"), capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: no.txt: cannot be read")


HELP = """
import contextlib, io, sys
import infer, eval
for program in (infer, eval):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        program.main(["--help"])
    assert "--img_path" in said.getvalue()
print(sorted({"paddle", "cv2", "pyarrow", "sklearn", "scipy", "visualdl", "safetensors"} & set(sys.modules)))
"""


def test_help_does_not_wait_for_heavy_imports():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_exif_orientation_is_honoured_as_the_release_s_reader_did(toys, capsys, tmp_path):
    """A JPEG and the same one with orientation 6 get the answers of the upright and the turned image."""
    rng = np.random.default_rng(8)
    image = cv2.resize(rng.integers(0, 256, (3, 4, 3), np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "a.jpg"), image)
    data = (tmp_path / "a.jpg").read_bytes()
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
    exif = b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\x00\x00" + tiff
    (tmp_path / "b.jpg").write_bytes(data[:2] + exif + data[2:])
    code, _, lines, _ = run(capsys, toys.argv(img_path=tmp_path, img_list=None))
    assert code == 0
    expected = answers(toys.network, tmp_path, ["a.jpg", "b.jpg"], TRANSFORM)  # cv2.imread turns it
    assert abs(expected[0].max() - expected[1].max()) > 1e-3
    np.testing.assert_allclose(numbers(lines)[1][:, 0], expected.max(axis=1), atol=2e-5)


def test_every_flag_is_documented():
    text = (ROOT / "docs" / "cli.md").read_text()
    parsers = (infer.parser(), evaluation.parser())
    flags = {flag for parser in parsers for action in parser._actions for flag in action.option_strings}
    assert {flag for flag in flags if f"`{flag}`" not in text} == {"-h"}
