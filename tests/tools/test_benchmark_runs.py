"""Running what is compared: child processes, what is kept and what runs again, failing and stopping."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.benchmark import finish, lists_and_truth, write_data, write_recipe
from tools.ablation import runs
from tools.ablation.children import Command, Failed, Outcome, carry_out
from tools.ablation.methods import LADDER, make_run
from urnet.core.checks import InputError
from urnet.data.table.table import Table
from urnet.pipeline.recipes import load_recipe

ROOT = Path(__file__).parents[2]


# --- child processes


def python(code, log):
    return Command([sys.executable, "-c", code], log)


def test_a_child_is_measured_and_logged(tmp_path):
    code = """
import os
x = bytearray(150 << 20)
print(os.environ["OMP_NUM_THREADS"], os.getsid(0) == os.getpid())
exit(3)
"""
    # In a process of its own: a child begins with its parent's memory, and this one may hold large networks.
    script = """
import sys
from pathlib import Path
from tools.ablation.children import Command, carry_out
def job():
    print(*(yield Command([sys.executable, "-c", sys.argv[1]], Path(sys.argv[2]))))
carry_out([job()], 1, 5)
"""
    command = [sys.executable, "-c", script, code, str(tmp_path / "a/log.txt")]
    returned, seconds, peak_mb = subprocess.check_output(command, text=True, cwd=ROOT).split()
    assert returned == "3"
    assert float(seconds) > 0
    assert 150 < float(peak_mb) < 2000
    assert (tmp_path / "a/log.txt").read_text().endswith("\n5 True\n")


def test_jobs_run_side_by_side_and_one_that_fails_does_not_keep_the_others(tmp_path):
    ends = []

    def job(name, codes):
        for code in codes:
            outcome = yield python(f"exit({code})", tmp_path / name)
            ends.append((name, outcome.code))
            if outcome.code:
                raise Failed(f"{name} ended with {outcome.code}", outcome.code)

    failed = carry_out([job("a", [0, 3, 0]), job("b", []), job("c", [0, 0]), job("d", [0])], 2, 1)
    assert [(str(failure), failure.code) for failure in failed] == [("a ended with 3", 3)]
    assert sorted(ends) == [("a", 0), ("a", 3), ("c", 0), ("c", 0), ("d", 0)]


WAITS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
def test_at_any_other_error_all_are_asked_to_stop_and_none_follows(tmp_path, error, capsys):
    ends = []

    def waits(name):
        ends.append((yield python(WAITS, tmp_path / name)).code)
        yield python(f"open({str(tmp_path / 'late')!r}, 'w')", tmp_path / name)

    def breaks():
        ready = f"while 'ready\\n' not in open({str(tmp_path / 'a')!r}).read(): pass"
        yield python(ready, tmp_path / "b")
        raise error

    with pytest.raises(type(error)):
        carry_out([waits("a"), breaks(), waits("never")], 2, 1)
    assert ends == [143]
    assert not (tmp_path / "late").exists() and not (tmp_path / "never").exists()
    assert "stopping: the trainings at work save first" in capsys.readouterr().err


PRESSES = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while "ready\\n" not in open({log!r}).read():
    pass
for _ in range(2):
    os.kill({pid}, signal.SIGINT)
    time.sleep(1)
"""


def test_ctrl_c_reaches_the_children_as_a_wish_and_a_second_one_does_not_wait(tmp_path):
    """The child ends at the second SIGTERM only."""
    stubborn = WAITS.replace("lambda *_: sys.exit(143)", "lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL)")
    stubborn = stubborn.replace("time.sleep(600)", "while True: time.sleep(1)")

    def job():
        yield python(stubborn, tmp_path / "log")

    def press():
        yield python(PRESSES.format(log=str(tmp_path / "log"), pid=os.getpid()), tmp_path / "press")

    with pytest.raises(KeyboardInterrupt):
        carry_out([job(), press()], 2, 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- a run


class Pretended:
    """Children that train nothing: a stage in ``ends`` ends with that code, ``kept`` ones stay as is."""

    def __init__(self, given, run, ends=None, kept=()):
        self.given, self.run, self.ends, self.kept, self.finished = given, run, ends or {}, kept, []

    def perform(self, until):
        """Carry the run out; returns the stages that were started."""
        record, started = runs.Record(self.run, *self.given[2:]), []
        job = runs.perform(record, until, lambda run, stage, cost: self.finished.append((stage, cost)))
        command = next(job, None)
        while command is not None:
            stage = command.words[command.words.index("--until") + 1]
            started.append(stage)
            command.log.parent.mkdir(parents=True, exist_ok=True)
            command.log.write_text(f"well\nerror: no luck with {stage}\n")
            if stage not in self.ends and stage not in self.kept:
                finish(self.run, stage, 0.5)
            try:
                command = job.send(Outcome(self.ends.get(stage, 0), 10.0, 100.0))
            except StopIteration:
                break
        return started


@pytest.fixture
def given(tmp_path):
    root = write_data(tmp_path / "data")
    base = load_recipe(write_recipe(tmp_path), [f"data.root={root}", "data.n_classes=3"])
    return base, tmp_path / "out", *lists_and_truth(root)


def test_stages_run_one_by_one_and_finished_ones_are_kept(given):
    children = Pretended(given, make_run(given[0], LADDER, 0, given[1], 12))
    assert children.perform("cluster") == ["class", "cluster"]
    assert children.perform("instance") == ["instance"]
    assert children.perform("instance") == []
    assert children.finished == [(stage, runs.Cost(10.0, 100.0)) for stage in ("class", "cluster", "instance")]


def test_a_changed_recipe_runs_again_from_where_it_differs(given, capsys):
    base, out, *_ = given
    Pretended(given, make_run(base, LADDER, 0, out, 12)).perform("instance")
    stages = (base.stages[0], replace(base.stages[1], batch_size=6), *base.stages[2:])
    changed = make_run(replace(base, stages=stages), LADDER, 0, out, 12)
    capsys.readouterr()
    assert Pretended(given, changed).perform("instance") == ["cluster", "instance"]
    assert capsys.readouterr().err.splitlines() == [
        f"ladder-seed0, stage {s}: its recipe has changed since it ran; runs again" for s in ("cluster", "instance")
    ]


def test_changed_lists_run_again_from_nothing(given, capsys):
    base, out, lists, truth = given
    run = make_run(base, "ce", 0, out, 12)
    Pretended(given, run).perform("class")
    (run.folder / "table").mkdir()
    capsys.readouterr()
    assert Pretended((base, out, replace(lists, digest="other"), truth), run).perform("class") == ["class"]
    assert "ce-seed0: the lists have changed since it ran; runs again" in capsys.readouterr().err
    assert not (run.folder / "table").exists()


def test_another_truth_matters_to_the_oracle_alone(given):
    base, out, lists, truth = given
    for kind, same in (("oracle", False), ("ce_equal", True)):
        run = make_run(base, kind, 0, out, 12)
        one, other = (runs.Record(run, lists, t).made_of("class") for t in (truth, replace(truth, digest="x")))
        assert (one == other) == same


def test_the_oracle_is_given_its_column(given):
    run = make_run(given[0], "oracle", 0, given[1], 12)
    Pretended(given, run).perform("class")
    assert Table.open(run.folder / "table").column("right").tolist() == given[3].right.astype(float).tolist()


def test_time_before_an_interruption_counts_and_that_of_a_failure_does_not(given):
    run = make_run(given[0], "ce", 0, given[1], 12)
    for code in (143, 1, 130):
        with pytest.raises(Failed, match="ce-seed0, stage class: error: no luck with class") as failed:
            Pretended(given, run, ends={"class": code}).perform("class")
        assert failed.value.code == code
    children = Pretended(given, run)
    children.perform("class")
    assert children.finished == [("class", runs.Cost(30.0, 100.0))]


def test_a_result_whose_cost_nobody_saw_has_none(given):
    run = make_run(given[0], "ce", 0, given[1], 12)
    with pytest.raises(Failed, match="signal 9"):
        Pretended(given, run, ends={"class": -9}).perform("class")
    finish(run, "class", 0.5)  # the tool was killed, its child finished
    children = Pretended(given, run, kept=["class"])
    children.perform("class")
    assert children.finished == [("class", runs.Cost(None, None))]


def test_a_folder_of_something_else_is_left_alone(given):
    run = make_run(given[0], "ce", 0, given[1], 12)
    finish(run, "class", 0.5)
    with pytest.raises(InputError, match="is no run of this benchmark"):
        Pretended(given, run).perform("class")
    (run.folder / runs.RECORD).write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        Pretended(given, run).perform("class")
