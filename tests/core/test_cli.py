"""Error texts, exit codes, files that are whole or absent, durations, progress lines."""

import contextlib
import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest

from urnet.config.duration import parse_duration
from urnet.core import cli, progress
from urnet.core.checks import InputError, check_choice, check_labels, check_same_rows
from urnet.core.signals import signals_deferred

ROOT = Path(__file__).parents[2]


def test_check_choice_names_the_nearest():
    assert check_choice("--model", "a", ["a", "b"]) == "a"
    with pytest.raises(InputError, match=r"--model: 'ResNext50' is not known; nearest: ResNeXt50"):
        check_choice("--model", "ResNext50", ["ResNeXt50", "DPN92"])


def test_check_same_rows_shows_both_counts():
    assert check_same_rows(labels=[1, 2], features=[3, 4]) == 2
    with pytest.raises(InputError, match="labels has 2 rows but features has 3"):
        check_same_rows(labels=[1, 2], features=[3, 4, 5])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 3, 1]), "label 3 in row 1 is outside 0..2"),
        (np.array([0, -1]), "label -1 in row 1"),
        (np.array([1, 3, 2]), r"label 3 in row 1 is outside 0\.\.2; labels seem to count from 1 instead of 0$"),
        (np.array([0, 3, 2]), r"is outside 0\.\.2$"),
        (np.array([0.0, 1.0]), "integer array is needed, found float64"),
        (np.zeros((2, 2), int), r"found int64 \(2, 2\)"),
    ],
)
def test_check_labels_refuses(labels, message):
    with pytest.raises(InputError, match=message):
        check_labels(labels, 3)


def raising(error):
    def main(_):
        raise error

    return main


DENIED = PermissionError(errno.EACCES, "Permission denied", "ckpt/best")
READ_ONLY = OSError(errno.EROFS, "Read-only file system", "ckpt/best")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            InputError("list.txt:3: found\n'x'; a label is accepted"),
            2,
            "error: list.txt:3: found 'x'; a label is accepted",
        ),
        (DENIED, 2, "error: ckpt/best: no permission to read or write it (Permission denied)"),
        (READ_ONLY, 2, "error: ckpt/best: no permission to read or write it (Read-only file system)"),
        (RuntimeError("no more memory"), 1, "failed: RuntimeError: no more memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_codes_and_their_line(capsys, error, code, said):
    assert cli.run(raising(error), []) == code
    assert capsys.readouterr().err == f"{said}\n"


def test_what_main_returns_is_the_exit_code_and_debug_shows_a_traceback():
    assert cli.run(lambda argv: None, []) == 0
    assert cli.run(lambda argv: 143, []) == 143
    with pytest.raises(RuntimeError, match="no more memory"):
        cli.run(raising(RuntimeError("no more memory")), ["--debug"])


ON_A_FULL_DISK = """
import sys
from pathlib import Path
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.core.atomic_files import atomic_file

def main(argv):
    if argv[1] == "bad":
        raise InputError("list.txt: not found")
    with atomic_file(Path(argv[0])) as part, cli.results_only() as results:
        print("a result", file=results)
        part.write_text("all of it")

sys.exit(cli.run(main))
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize(("stream", "what", "code"), [("stdout", "good", 1), ("stderr", "bad", 2)])
def test_output_that_goes_to_a_full_disk(tmp_path, stream, what, code):
    """It is told from the disk of a file that is written at the same time; the exit code stays what it is."""
    command = [sys.executable, "-c", ON_A_FULL_DISK, tmp_path / "a.csv", what]
    with Path("/dev/full").open("w") as full:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        done = subprocess.run(command, cwd=ROOT, text=True, check=False, **streams)
    assert done.returncode == code
    if stream == "stdout":
        assert done.stderr == "failed: OSError: [Errno 28] No space left on device: 'standard output'\n"
    assert list(tmp_path.iterdir()) == []


def test_closed_streams_are_no_failure(monkeypatch):
    """`command >&- 2>&-`: Python then has None for both."""

    def talk(_):
        with cli.results_only() as results:
            print("a result", file=results)
        with progress.Progress("talk", 1) as display:
            display.update()

    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.run(talk, []) == 0


TERMINATED = """
import os, signal, sys
from pathlib import Path
from urnet.core import cli
from urnet.core.atomic_files import atomic_file
from urnet.runtime.threads import import_paddle

def main(argv):
    with atomic_file(Path(argv[0])) as part:
        if "late" in argv:
            import_paddle()  # Paddle puts a handler of its own
        os.kill(os.getpid(), signal.SIGTERM)
        part.write_text("all of it")

sys.exit(cli.run(main))
"""


@pytest.mark.parametrize("when", ["early", "late"])
def test_sigterm_leaves_no_half_written_file(tmp_path, when):
    command = [sys.executable, "-c", TERMINATED, tmp_path / "a.csv", when]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "terminated\n")
    assert list(tmp_path.iterdir()) == []


def test_signals_wait_until_the_block_ends():
    """As around the import of Paddle: an exception raised inside may be swallowed there, and the signal with it."""
    seen = []

    def note(number, frame):
        seen.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with signals_deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            assert seen == []
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Paddle puts a handler of its own
        assert sorted(seen) == [signal.SIGINT, signal.SIGTERM]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_boolean_words():
    assert [cli.boolean_word(word) for word in ("True", "false", "1", "no")] == [True, False, True, False]
    with pytest.raises(Exception, match="True or False is accepted"):
        cli.boolean_word("maybe")


def test_usage_errors_are_one_line_and_exit_2(capsys):
    with pytest.raises(SystemExit) as left:
        cli.Parser(prog="infer.py").parse_args(["--nonsense"])
    error = capsys.readouterr().err
    assert left.value.code == 2
    assert error.count("\n") == 1
    assert "--nonsense" in error


def test_an_unknown_flag_is_named_with_what_it_may_mean(capsys):
    parser = cli.Parser(prog="infer.py")
    parser.add_argument("--img_path")
    parser.add_argument("--img_list")
    parser.explain = {"--weights": "it is --pretrained_model here"}.get
    for argument, said in {
        "--img-path": "unrecognized arguments: --img-path; nearest: --img_path",
        "--im_list": "; nearest: --img_list",
        "--weights": "; it is --pretrained_model here",
        "--nonsense": "unrecognized arguments: --nonsense (see",
    }.items():
        with pytest.raises(SystemExit):
            parser.parse_args([argument])
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_argument_block_is_sorted_and_right_aligned(capsys):
    cli.print_arguments(cli.argparse.Namespace(use_gpu=True, class_dim=5000))
    assert capsys.readouterr().out.splitlines() == [
        "-------------  Configuration Arguments -------------",
        "                class_dim : 5000",
        "                  use_gpu : True",
        "----------------------------------------------------",
    ]


def test_durations_convert_in_one_place():
    assert parse_duration("30 epochs").steps(100, 256) == 3000
    assert parse_duration("1 epoch") == parse_duration("1 epochs")
    assert parse_duration("0.5 epochs").steps(7, 1) == 4
    assert parse_duration("500 steps").steps(7, 1) == 500
    assert parse_duration("1_000_000 images").steps(7, 256) == 3906
    assert str(parse_duration("2.5 epochs")) == "2.5 epochs"


@pytest.mark.parametrize("text", ["30", 30, "x epochs", "-1 epochs", "3 weeks", "inf steps", "nan steps", ""])
def test_durations_refuse(text):
    with pytest.raises(InputError, match=r"stages\.a\.duration: found .*; accepted is a number and epochs"):
        parse_duration(text, "stages.a.duration")


def test_progress_off_a_terminal_is_lines_at_intervals(capsys):
    with progress.Progress("quick", 3) as display:
        display.update(3)
    assert capsys.readouterr().err == ""
    with progress.Progress("train", 4, line_seconds=0.0) as display:
        display.update(2, loss="0.5")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("train: 2/4 (50 %), ")
    assert lines[0].endswith("images/s loss 0.5")


ON_A_TERMINAL = """
from urnet.core.progress import Progress
with Progress("stage", 100) as display:
    for i in range(10):
        display.update(10, loss="0.5")
        display.say(f"evaluation at step {i}")  # draws the bar anew
"""


@pytest.mark.parametrize("columns", [100, 0])  # a container's terminal may not know its width
def test_progress_on_a_terminal_is_a_bar_and_lines_stay_apart(columns):
    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    child = subprocess.Popen([sys.executable, "-c", ON_A_TERMINAL], cwd=ROOT, stderr=theirs)
    os.close(theirs)
    text = ""
    with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
        while block := os.read(ours, 4096):
            text += block.decode(errors="replace")
    assert child.wait() == 0
    os.close(ours)
    assert "stage:   0%|" in text
    assert "images/s, loss 0.5]" in text
    shown = [part.strip() for part in text.replace("\n", "\r").split("\r")]
    assert {f"evaluation at step {i}" for i in range(10)} <= set(shown)
