"""tools/export.py: what it writes predicts like the live network, without the recipe, or is not written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import infer
from tests.helpers.predict import TRANSFORM, expected_probabilities
from tests.helpers.serve import exported_toys
from tools import export
from urnet.config.recipe import Transform
from urnet.core import cli
from urnet.core.answers import Answers
from urnet.core.checks import InputError
from urnet.data.images.decode import read_image
from urnet.data.images.transforms import eval_transform
from urnet.inference.export_readme import readme
from urnet.inference.exported_predictor import Exported
from urnet.inference.onnx_model import check_converter, onnx_predictor
from urnet.inference.signature import Signature, read_signature


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return exported_toys(tmp_path_factory.mktemp("export"))


def line(toys, out, *more):
    return ["--pretrained_model", str(toys.checkpoint), "--out", str(out), *map(str, more)]


def run(capsys, argv):
    """Exit code, stdout lines, stderr."""
    code = cli.run(export.main, argv)
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_a_runs_folder_is_enough(exported, tmp_path, capsys):
    """Its last stage is exported into it, once; asked for again it is replaced, but nothing else ever is."""
    toys, _ = exported
    home = tmp_path / "my run"
    shutil.copytree(toys.checkpoint, home / "class" / "final")
    code, lines, err = run(capsys, [str(home)])
    assert code == 0, err
    assert lines[-1] == f"{home}/exported: ResNeXt_small32, 7 classes, paddle"
    assert f"{home}: its class/final/ is used, the last weights of the run's last stage" in err
    assert f"next: python tools/serve.py '{home}/exported' serves it" in err.splitlines()[-1]
    with pytest.raises(InputError, match=r"it is a run's folder; its exported folder is .*/my run/exported$"):
        read_signature(home)
    code, _, err = run(capsys, [str(home)])
    assert (code, err) == (
        2,
        f"error: {home}/exported: exists already; --replace replaces it, or --out names a new folder\n",
    )
    (home / "exported" / "classes.txt").write_text("other\n")
    assert run(capsys, [str(home), "--replace"])[0] == 0
    assert (
        (home / "exported" / "classes.txt")
        .read_text()
        .startswith(str(read_signature(home / "exported").class_names[0]))
    )
    for argv, said in (
        ([], "PATH: found none; give the folder of one run"),
        ([home, "--pretrained_model", home], "PATH: found .* and .*; give the folder of one run"),
        ([home / "class" / "final"], "--out: found none; .*/class/final is not the folder of a finished run"),
        ([home / "nowhere"], "/nowhere: does not exist"),
        ([home, "--out", home / "class", "--replace"], "/class: was not written by this command"),
    ):
        code, _, err = run(capsys, list(map(str, argv)))
        assert code == 2 and re.search(said, err), err
    (home / "exported" / "signature.json").unlink()
    with pytest.raises(InputError, match=r"it is a run's folder; export it first: tools/export.py .*/my run$"):
        read_signature(home)
    (home / "class" / "final").rename(home / "class" / "best")
    code, _, err = run(capsys, [str(home), "--out", str(home / "exported 2")])
    assert code == 2 and "is the folder of a run; give one of its folders: class" in err


def code_of(folder):
    """The lines of Python in a folder's README.txt."""
    text = (folder / "README.txt").read_text(encoding="utf-8")
    return "".join(row[4:] + "\n" for row in text.partition("Python, with")[2].splitlines() if row[:4] == "    ")


def test_the_folder_holds_the_model_and_all_that_must_be_known(exported):
    toys, folder = exported
    names = {"README.txt", "classes.txt", "model.json", "model.pdiparams", "signature.json"}
    assert {file.name for file in folder.iterdir()} == names
    signature = read_signature(folder)
    assert (signature.model, signature.n_classes, signature.size) == ("ResNeXt_small32", 7, 32)
    assert (signature.transform.eval, signature.transform.resize_short, signature.exif) == ("short", 36, "honour")
    listed = (toys.checkpoint / "classes.txt").read_text().splitlines()
    assert list(signature.class_names) == listed == (folder / "classes.txt").read_text().splitlines()
    tree = json.loads((folder / "signature.json").read_text())
    assert tree["mean"] == list(TRANSFORM.mean) and tree["std"] == list(TRANSFORM.std)
    assert tree["largest_difference_from_live"]["paddle"] < 1e-4


def test_it_predicts_like_the_network_from_the_files_bytes(exported):
    toys, folder = exported
    model = Exported(folder, batch_size=4, threads=1)
    images = [model.signature.prepare((toys.images / name).read_bytes()) for name in toys.names]
    for i, image in enumerate(images):
        ours = eval_transform(read_image(toys.images / toys.names[i]), TRANSFORM)
        assert np.array_equal(image, ours)
    found = np.concatenate([model.probabilities(np.stack(images[i : i + 4])) for i in range(0, 11, 4)])
    assert found == pytest.approx(toys.expected, abs=1e-4)
    classes, _ = model.topk(np.stack(images[:3]), 2)
    assert np.array_equal(classes, toys.ranking[:3, :2])


@pytest.mark.parametrize("change", ["move", "plain"])
def test_the_lines_in_the_readme_run_as_they_stand(exported, tmp_path, change):
    toys, folder = exported
    if change == "plain":  # straight resize, from flags
        out = tmp_path / "plain"
        assert export.main(line(toys, out, "--resize", "straight")) == 0
        folder, transform = out, Transform(size=32, mean=TRANSFORM.mean, std=TRANSFORM.std)
    else:  # copied elsewhere
        folder, transform = shutil.copytree(folder, tmp_path / "elsewhere"), TRANSFORM
    shutil.copy(toys.images / toys.names[2], folder / "IMAGE.jpg")
    code = code_of(folder) + "np.save('found.npy', probabilities)\n"
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True, capture_output=True)
    expected = expected_probabilities(toys.network, toys.images, toys.names[2:3], transform)
    assert np.load(folder / "found.npy") == pytest.approx(expected, abs=1e-4)


def test_what_infer_save_inference_writes_is_read_as_well(exported, tmp_path, capsys):
    toys, folder = exported
    argv = toys.argv("--save_inference", "True", inference_dir=tmp_path / "served", img_path=None, img_list=None)
    assert infer.main(argv) == 0
    theirs, ours = read_signature(tmp_path / "served"), read_signature(folder)
    assert theirs.transform == ours.transform and theirs.class_names == ours.class_names
    image = ours.prepare((toys.images / toys.names[0]).read_bytes())[None]
    found = Exported(tmp_path / "served", batch_size=1, threads=1).probabilities(image)
    assert found == pytest.approx(toys.expected[:1], abs=1e-4)


def test_the_comparison_is_printed(exported, tmp_path, capsys):
    toys, _ = exported
    (tmp_path / "list").write_text("".join(f"{name} 0\n" for name in [*toys.names, "no image.png"]))
    shutil.copytree(toys.images, tmp_path / "images")
    (tmp_path / "images" / "no image.png").write_text("text")
    images = ("--images", tmp_path / "list", "--img_path", tmp_path / "images")
    code, lines, err = run(capsys, line(toys, tmp_path / "out", *images))
    assert code == 0
    said = r"paddle: largest difference from the live network \d\S*, 11 images, the same best class for 11"
    assert re.fullmatch(said, lines[0])
    assert lines[1:] == [f"{tmp_path / 'out'}: ResNeXt_small32, 7 classes, paddle"]
    assert "note: 1 of 12 images is unreadable: " in err and "no image.png" in err
    code, lines, _ = run(capsys, line(toys, tmp_path / "out2", "--images", toys.images, "--limit", "3"))
    assert code == 0 and ", 3 images, the same best class for 3" in lines[0]


def test_a_model_that_answers_otherwise_is_not_written(exported, tmp_path, capsys, monkeypatch):
    toys, _ = exported
    code, lines, err = run(capsys, line(toys, tmp_path / "strict", "--tolerance", "1e-12"))
    assert (code, lines) == (1, [])
    assert re.search(r"strict: not written; paddle: .*, 4 random images, accepted: ", err)
    monkeypatch.setattr(Exported, "answers", lambda self, images: Answers(np.full((len(images), 7), np.nan, "f4")))
    code, _, err = run(capsys, line(toys, tmp_path / "nan"))
    assert code == 1 and "difference from the live network inf" in err
    assert list(tmp_path.iterdir()) == []  # no leftovers


def test_a_signature_that_prepares_other_images_is_not_written(exported, tmp_path, capsys, monkeypatch):
    toys, _ = exported
    prepare = Signature.prepare
    monkeypatch.setattr(Signature, "prepare", lambda self, *a, **b: prepare(self, *a, **b)[:, ::-1])
    code, _, err = run(capsys, line(toys, tmp_path / "out", "--images", toys.images))
    assert code == 1 and "signature.json gives another image than the recipe" in err
    assert list(tmp_path.iterdir()) == []


def test_bad_flags_are_refused_in_a_line(exported, tmp_path, capsys):
    toys, folder = exported
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    for more, said in (
        (["--format", "tflite"], "--format: 'tflite' is not known"),
        (["--limit", "0"], "--limit: found 0"),
        (["--tolerance", "0"], "--tolerance: found 0.0"),
        (["--tolerance", "nan"], "--tolerance: found nan"),
        (["--images", tmp_path / "gone"], "gone"),
        (["--images", tmp_path], "--images: none of 2 is readable"),
        (["--class_dim", "8"], "--class_dim is 8, but"),
        (["--images", toys.images, "--img_path", tmp_path], "needs a list of images"),
        (["--out", tmp_path / "dangling.png"], "exists already"),
    ):
        code, lines, err = run(capsys, line(toys, tmp_path / "out", *more))
        assert (code, lines) == (2, []), (more, err)
        assert said in err and err.count("\n") == 1
    code, _, err = run(capsys, line(toys, folder))
    assert code == 2 and "exists already" in err
    with pytest.raises(SystemExit, match="2"):
        run(capsys, line(toys, tmp_path / "out", "--class_dim", "abc"))
    assert "error: tools/export.py: argument --class_dim" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dangling.png", "text.png"]


def test_the_readme_speaks_of_what_is_there(exported):
    _, folder = exported
    signature = read_signature(folder)
    both, onnx = readme(signature, ["paddle", "onnx"]), readme(signature, ["onnx"])
    assert "model.onnx" in both and "create_predictor" in both
    assert "model.pdiparams" not in onnx and "InferenceSession" in onnx
    assert "short side to 36" in both and "turned as it says" in both
    plain = Signature(folder, "toy", 7, (), Transform(size=8), "ignore")
    text = readme(plain, ["onnx"])
    assert "cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)" in text
    assert "straight to 8 x 8" in text and "classes.txt" not in text


# --- ONNX


def install_converter(folder, version, code):
    """A package called paddle2onnx."""
    (folder / f"paddle2onnx-{version}.dist-info").mkdir(parents=True)
    (folder / f"paddle2onnx-{version}.dist-info/METADATA").write_text(f"Name: paddle2onnx\nVersion: {version}\n")
    (folder / "paddle2onnx.py").write_text(code)


@pytest.mark.parametrize("version", [None, "2.0.1", "2.1.0", "2.10.0rc1"])
def test_without_a_converter_that_fits_the_error_says_which_do(exported, tmp_path, capsys, monkeypatch, version):
    toys, out, site = exported[0], tmp_path / "out", tmp_path / "site"
    if version is None:
        monkeypatch.setattr("sys.path", [p for p in sys.path if "site-packages" not in p])
    else:
        install_converter(site, version, "def export(*_, **__): raise SystemExit('no such operator')")
        monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    code, _, err = run(capsys, line(toys, out, "--format", "both"))
    if version in (None, "2.0.1"):
        assert code == 2 and "paddle2onnx 2.1 or later, with Paddle 3" in err
        assert (f"found paddle2onnx {version}" if version else "paddle2onnx is not installed") in err
    else:
        assert code == 1 and "paddle2onnx ended with 1: no such operator" in err
    assert not out.exists() and not [file for file in tmp_path.iterdir() if file != site]  # no leftovers


def test_the_onnx_model_answers_like_the_network(exported, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    try:
        check_converter()
    except InputError as error:
        pytest.skip(str(error))
    toys, _ = exported
    out = tmp_path / "out"
    code, lines, _ = run(capsys, line(toys, out, "--format", "onnx", "--images", toys.images))
    assert code == 0
    assert re.match(r"onnx: largest difference from the live network \S+e-0[5-9], 11 images, .* for 11", lines[0])
    assert {file.name for file in out.iterdir()} == {"README.txt", "classes.txt", "model.onnx", "signature.json"}
    answer = onnx_predictor(out / "model.onnx", 1)
    signature = read_signature(out)
    images = np.stack([signature.prepare((toys.images / name).read_bytes()) for name in toys.names])
    for some in (images, images[:1], images[:3]):  # any batch size
        assert answer(some).probabilities == pytest.approx(toys.expected[: len(some)], abs=1e-4)
    with pytest.raises(InputError, match=r"model\.json is needed; found model\.onnx"):
        Exported(out)
    shutil.copy(toys.images / toys.names[0], out / "IMAGE.jpg")
    found = {}
    here = os.getcwd()  # noqa: PTH109
    os.chdir(out)
    try:
        exec(code_of(out), found)
    finally:
        os.chdir(here)
    assert found["probabilities"] == pytest.approx(toys.expected[:1], abs=1e-4)
