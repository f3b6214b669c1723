"""tools/gpu_check: each check runs here without a GPU, small; one that fails is told and does not end the others."""

import multiprocessing
import os
import re
import subprocess
import time
from pathlib import Path

import paddle
import pytest

from tests.helpers.forked import PRELOAD
from tools.gpu_check import __main__ as gpu_check
from tools.gpu_check import engines, machine_facts
from tools.gpu_check.isolated import run_apart
from tools.gpu_check.rows import FAILED, OK, SKIPPED, Row, Settings, Skipped, attempt, first_line
from tools.gpu_check.training_loop import Trained, compared
from tools.speed.reads import reads
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.inference import predictor
from urnet.inference.program import cpu_has_bf16
from urnet.runtime.device_to_host import Downloads

ROOT = Path(__file__).parents[2]


def dry(tmp_path, *names):
    """Exit code, rows by check, and the file, of a dry run of these checks."""
    file = tmp_path / "table.txt"
    command = ["sh", str(ROOT / "tools/gpu_check.sh"), "--cpu", "--out", str(file), "--only", *names]
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**environment, "OMP_NUM_THREADS": "1"}
    )
    assert file.exists(), done.stderr
    text = file.read_text()
    head, *lines, last = done.stdout.splitlines()
    assert re.match("check +what +result +s +found", head) and "dry run on the CPU" in last
    rows = [re.match(r"(\S+)  +(\S.*?)  +(ok|failed|skipped) *(?:\d+)?(?:  (.*))?$", line).groups() for line in lines]
    return done.returncode, rows, text


def test_what_trains_in_memory(tmp_path):
    names = "machine", "amp", "steps", "layouts", "layouts-fp32", "decode", "compile", "infer"
    code, rows, text = dry(tmp_path, *names)
    assert code == 0, text
    assert list(dict.fromkeys(row[0] for row in rows)) == list(names)
    skipped = {row[1] for row in rows if row[2] == SKIPPED} - {"cards", "number formats", "nvidia-dali"}
    of_processor = set() if cpu_has_bf16() else {"inference, bf16"}
    assert skipped == {"dygraph, fp16", "dygraph, bf16", "inference, fp16"} | of_processor
    found = {row[1]: row[3] for row in rows}
    assert found["fp16, a step that overflows"].endswith("scale [32768.0, 16384.0, 16384.0]")
    assert re.search(r" reads that wait for the device, reads +ok +0$", text, re.M)
    assert sum("NHWC" in row[1] and "images/s" in row[3] for row in rows) == 4


@pytest.mark.slow
def test_programs_and_processes(tmp_path):
    code, rows, text = dry(tmp_path, "tests", "stages", "processes")
    assert code == 0, text
    skipped = {row[1] for row in rows if row[2] == SKIPPED}
    assert skipped and all(what.startswith("runtime/") for what in skipped)
    found = {row[1]: row[3] for row in rows}
    assert [word.split()[0] for word in found["train.py, five stages"].split(", ")][-1] == "label"
    assert "process 0 of 2" in found["one of them killed"]
    assert re.match(r"from step [1-9]\d*; class top1:0\.\d+$", found["resumed"])


# --- what fails


def test_a_number_format_that_the_processor_lacks_is_skipped_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "cpu_has_bf16", lambda: False)
    flags = ["--engine", "inference", "--precision", "bf16"]
    row = attempt("inference, bf16", engines._beside, Settings(0, tmp_path), flags, tmp_path / "a", tmp_path / "b")
    assert (row.state, row.found.split(";")[0]) == (SKIPPED, "this CPU does not have it")


def apart(folder, limit=60.0):
    folder.mkdir()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    log = folder / "log.txt"
    return run_apart(context, "tests.helpers.failing_checks", Settings(0, folder), {}, limit, log)


@pytest.mark.parametrize(
    ("how", "row"),
    [
        ("ends", Row("second", OK, "done")),
        ("raises", Row("the rest", FAILED, "ValueError: what was wrong")),
        ("killed", Row("the rest", FAILED, "its process ended with signal SIGSEGV")),
    ],
)
def test_rows_that_were_made_are_kept(tmp_path, how, row):
    first, last = apart(tmp_path / how)
    assert first == Row("first", OK, "found")
    assert (last.what, last.state) == (row.what, row.state) and last.found.startswith(row.found)


def test_a_late_check_ends_with_all_it_started(tmp_path):
    rows = apart(tmp_path / "late", limit=3.0)
    assert rows[-1] == Row("the rest", FAILED, "did not end within 3 s")
    file = tmp_path / "late/child"
    while file.exists() and _alive(int(file.read_text())):  # a busy machine may not have come to it
        time.sleep(0.05)


def _alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_failed_row_is_the_exit_code_and_what_was_said_is_in_the_file(tmp_path, capsys, monkeypatch):
    def run_check(name, settings, log):
        log.write_text("much\nand more\n")
        return [Row("a", OK, "1"), Row("b", FAILED if name == "amp" else SKIPPED, f"why\nof {name}")], 3.2

    monkeypatch.setattr(gpu_check, "run_check", run_check)
    file = tmp_path / "table.txt"
    assert gpu_check.main(["--cpu", "--only", "amp", "steps", "--out", str(file)]) == cli.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:5]] == [
        ["amp", "a", "ok", "3", "1"],
        ["amp", "b", "failed", "why", "of", "amp"],
        ["steps", "a", "ok", "3", "1"],
        ["steps", "b", "skipped", "why", "of", "steps"],
    ]
    assert lines[5].startswith("2 ok, 1 failed, 1 skipped; ")
    assert file.read_text().splitlines() == [*lines, "--- amp said", "much", "and more"]
    assert gpu_check.main(["--cpu", "--only", "steps", "--out", str(file)]) == cli.DONE
    assert "failed" not in file.read_text().replace("0 failed", "")


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="would run on the GPU")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "this Paddle is a build without CUDA; --cpu tries"),
        ("--cpu --only stepz", "--only: 'stepz' is not known; nearest: steps"),
        ("--cpu --out no/where.txt", "--out: no is not a folder"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(message)):
        gpu_check.main(words.split())
    assert not list(tmp_path.iterdir())


def test_of_an_error_the_line_that_says_what_happened():
    frames = "\n\n---\nC++ Traceback (most recent call last):\n---\n0 f()\n\n---\n"
    paddles = f"{frames}Error Message Summary:\n---\nExternalError: x\n  [Hint]"
    assert first_line(OSError(paddles)) == "OSError: ExternalError: x"
    assert first_line(ValueError("")) == "ValueError"

    def skip():
        raise Skipped("no card")

    assert attempt("a", skip) == Row("a", SKIPPED, "no card")


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([3.0, 2.9, float("nan"), 2.0, 1.0, 1.0], "loss nan at step 2"),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 2.0], "the loss did not fall"),
        ([3.0, 2.0, 2.0, 2.0, 2.0, 1.5], r"apart by 25 % \(at most 75 %\)"),
    ],
)
def test_losses_that_are_not_the_same_training(losses, message):
    expected = Trained([3.0, 2.0, 2.0, 2.0, 2.0, 1.0])
    assert "apart by 0 %" in compared(expected, expected)
    if "25" in message:
        losses = [2.5 * value / 2 for value in expected.losses]
        message = r"apart by 25 % \(at most 37.5 %\)"
    with pytest.raises(AssertionError, match=message):
        compared(Trained(losses), expected)


def test_cards_of_one_kind_are_counted(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text(
        '#!/bin/sh\ncase "$*" in\n*query*) printf "A, 80 MiB, 550\\nA, 80 MiB, 550\\nB, 8 MiB, 550\\n" ;;\n'
        '*) echo "| Driver Version: 550   CUDA Version: 12.4 |" ;;\nesac\n'
    )
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    said = machine_facts.cards()
    assert said.startswith("2 x A, 80 MiB, 550; 1 x B, 8 MiB, 550 (")
    assert said.endswith("the driver takes CUDA up to 12.4")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Skipped, match="nvidia-smi was not found"):
        machine_facts.cards()


def test_reads_are_counted_but_for_downloads():
    x = paddle.ones([])
    with reads() as found:
        float(x)
        x.numpy()
        Downloads()(x).value()
        x + 1
    assert len(found) == 2 and found[1] == "numpy"
    assert float(x) == 1 and len(found) == 2
