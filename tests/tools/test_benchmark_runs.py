"""Running what is compared: child processes, what is kept and what runs again, failing and stopping."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.benchmark import finish, rows_of, write_data, write_recipe
from tools.ablation import runs
from tools.ablation.children import Children, Failed, Outcome, carry_out
from tools.ablation.methods import LADDER, make_run
from urnet.core.checks import InputError
from urnet.data.table.table import Table
from urnet.pipeline.recipes import load_recipe

ROOT = Path(__file__).parents[2]


# --- child processes


def python(children, code, log):
    return children.run([sys.executable, "-c", code], log)


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
from tools.ablation.children import Children
print(*Children(5).run([sys.executable, "-c", sys.argv[1]], Path(sys.argv[2])))
"""
    command = [sys.executable, "-c", script, code, str(tmp_path / "a/log.txt")]
    returned, seconds, peak_mb = subprocess.check_output(command, text=True, cwd=ROOT).split()
    assert returned == "3" and float(seconds) > 0 and 150 < float(peak_mb) < 2000
    assert (tmp_path / "a/log.txt").read_text().endswith("\n5 True\n")


def test_jobs_run_side_by_side_and_one_that_fails_does_not_keep_the_others(tmp_path):
    children, ends = Children(1), []

    def job(name, codes):
        for code in codes:
            found = python(children, f"exit({code})", tmp_path / name).code
            ends.append((name, found))
            if found:
                raise Failed(f"{name} ended with {found}", found)

    failed = carry_out([partial(job, "a", [0, 3, 0]), partial(job, "b", [0, 0]), partial(job, "c", [0])], 2, children)
    assert [(str(failure), failure.code) for failure in failed] == [("a ended with 3", 3)]
    assert sorted(ends) == [("a", 0), ("a", 3), ("b", 0), ("b", 0), ("c", 0)]


WAITS = """
import signal, sys, time
signal.signal(signal.SIGTERM, {at_sigterm})
print("ready", flush=True)
while True: time.sleep(1)
"""
AWAIT = """
import os, signal, time
while "ready\\n" not in open({log!r}).read():
    time.sleep(0.01)
"""


def test_at_any_other_error_all_are_asked_to_stop_and_none_follows(tmp_path, capsys):
    children, ends = Children(1), []

    def waits(name):
        ends.append(python(children, WAITS.format(at_sigterm="lambda *_: sys.exit(143)"), tmp_path / name).code)
        python(children, f"open({str(tmp_path / 'late')!r}, 'w')", tmp_path / name)

    def breaks():
        python(children, AWAIT.format(log=str(tmp_path / "a")), tmp_path / "b")
        raise OSError("no space")

    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="no space"):
        carry_out([partial(waits, "a"), breaks, partial(waits, "never")], 2, children)
    assert ends == [143]
    assert not (tmp_path / "late").exists() and not (tmp_path / "never").exists()
    assert "stopping: the trainings at work save first" in capsys.readouterr().err


PRESSES = """
for _ in range(2):
    os.kill({pid}, signal.SIGINT)
    time.sleep(1)
"""


def test_ctrl_c_asks_the_children_to_stop_and_a_second_one_ends_them(tmp_path, request):
    """The child ends at the second SIGTERM only, and what presses at neither."""
    children, log = Children(1), tmp_path / "log"
    log.touch()
    stubborn = WAITS.format(at_sigterm="lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL)")
    press = AWAIT.format(log=str(log)) + "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    press += PRESSES.format(pid=os.getpid())
    ends = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    jobs = [lambda: ends.append(python(children, stubborn, log).code), partial(python, children, press, tmp_path / "b")]
    with pytest.raises(KeyboardInterrupt):
        carry_out(jobs, 2, children)
    assert ends == [-signal.SIGTERM]


# --- a run


class Pretended:
    """Children that train nothing: a stage in ``ends`` ends with that code, ``kept`` ones stay as is."""

    def __init__(self, run, rows, ends=None, kept=()):
        self._run, self._rows, self.ends, self.kept = run, rows, ends or {}, kept
        self.started, self.finished = [], []

    def run(self, words, log):
        stage = words[words.index("--until") + 1]
        self.started.append(stage)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"well\nerror: no luck with {stage}\n")
        if stage not in self.ends and stage not in self.kept:
            finish(self._run, stage, 0.5)
        return Outcome(self.ends.get(stage, 0), 10.0, 100.0)

    def perform(self, until):
        """Carry the run out; returns the stages that were started now."""
        self.started = []
        record = runs.Record(self._run, self._rows)
        runs.perform(record, until, self, lambda run, stage, cost: self.finished.append((stage, cost)))
        return self.started


@pytest.fixture
def rows(tmp_path):
    return rows_of(write_data(tmp_path / "data"))


@pytest.fixture
def base(tmp_path, rows):
    return load_recipe(write_recipe(tmp_path), [f"data.root={tmp_path / 'data'}", "data.n_classes=3"])


@pytest.fixture
def ce(base, tmp_path):
    return make_run(base, "ce", 0, tmp_path / "out", 12)


def test_finished_stages_are_kept_and_a_changed_recipe_runs_again_from_where_it_differs(base, rows, tmp_path, capsys):
    children = Pretended(make_run(base, LADDER, 0, tmp_path, 12), rows)
    assert children.perform("cluster") == ["class", "cluster"]
    assert children.perform("instance") == ["instance"]
    assert children.perform("instance") == []
    assert children.finished == [(stage, runs.Cost(10.0, 100.0)) for stage in ("class", "cluster", "instance")]
    stages = (base.stages[0], replace(base.stages[1], batch_size=6), *base.stages[2:])
    changed = make_run(replace(base, stages=stages), LADDER, 0, tmp_path, 12)
    assert Pretended(changed, rows).perform("instance") == ["cluster", "instance"]
    assert capsys.readouterr().err.splitlines() == [
        f"ladder-seed0, stage {s}: its recipe has changed since it ran; runs again" for s in ("cluster", "instance")
    ]


def test_changed_lists_run_again_from_nothing(ce, rows, capsys):
    Pretended(ce, rows).perform("class")
    (ce.folder / "table").mkdir()
    assert Pretended(ce, replace(rows, digest="other")).perform("class") == ["class"]
    assert "ce-seed0: the lists have changed since it ran; runs again" in capsys.readouterr().err
    assert not (ce.folder / "table").exists()


def test_truth_is_given_to_the_oracle_and_another_one_matters_to_it_alone(base, rows, tmp_path):
    for kind, again in (("oracle", ["class"]), ("ce_equal", [])):
        run = make_run(base, kind, 0, tmp_path, 12)
        assert Pretended(run, rows).perform("class") == ["class"]
        assert Pretended(run, replace(rows, truth_digest="x")).perform("class") == again
    table = Table.open(tmp_path / "runs/oracle-seed0/table")
    assert table.column("right").tolist() == rows.right.astype(float).tolist()


def test_time_before_an_interruption_counts_and_that_of_a_failure_does_not(ce, rows):
    for code in (143, 1, 130):
        with pytest.raises(Failed, match="ce-seed0, stage class: error: no luck with class") as failed:
            Pretended(ce, rows, ends={"class": code}).perform("class")
        assert failed.value.code == code
    children = Pretended(ce, rows)
    children.perform("class")
    assert children.finished == [("class", runs.Cost(30.0, 100.0))]


def test_a_result_whose_cost_nobody_saw_has_none(ce, rows):
    with pytest.raises(Failed, match="signal 9"):
        Pretended(ce, rows, ends={"class": -9}).perform("class")
    finish(ce, "class", 0.5)  # the tool was killed, its child finished
    children = Pretended(ce, rows, kept=["class"])
    children.perform("class")
    assert children.finished == [("class", runs.Cost(None, None))]


def test_a_folder_of_something_else_is_left_alone(ce, rows):
    finish(ce, "class", 0.5)
    with pytest.raises(InputError, match="is not a run of this benchmark"):
        Pretended(ce, rows).perform("class")
    (ce.folder / "benchmark.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        Pretended(ce, rows).perform("class")
