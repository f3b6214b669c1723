"""Running the benchmark: children, what is kept and what runs again, failing and stopping."""

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.benchmark import finish, lists_and_truth, write_data, write_recipe
from tools.ablation import runs as runs
from tools.ablation.children import Children, Stopping
from tools.ablation.methods import LADDER, make_run
from tools.ablation.work import Work, carry_out
from urnet.core.checks import InputError
from urnet.data.table.table import Table
from urnet.pipeline.recipes import load_recipe

ROOT = Path(__file__).parents[2]


def test_a_child_is_measured_and_logged(tmp_path):
    code = "import os; x = bytearray(150 << 20); print(os.environ['OMP_NUM_THREADS'], len(os.getcwd())); exit(3)"
    # In a process of its own: a child begins with its parent's memory, and this one may hold large networks.
    script = (
        "import sys; from pathlib import Path; from tools.ablation.children import Children; "
        "print(*Children(5).run([sys.executable, '-c', sys.argv[1]], Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", script, code, str(tmp_path / "a/log.txt")]
    returned, seconds, peak_mb = subprocess.check_output(command, text=True, cwd=ROOT).split()
    assert returned == "3"
    assert 0 < float(seconds) < 60
    assert 150 < float(peak_mb) < 2000
    assert (tmp_path / "a/log.txt").read_text().splitlines()[1].startswith("5 ")


def test_all_children_are_asked_to_stop_and_none_follows(tmp_path):
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("rea" + "dy", flush=True)
time.sleep(60)
"""
    children, outcomes = Children(1), []

    def work(number):
        outcomes.append(children.run([sys.executable, "-c", code], tmp_path / f"{number}.txt"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 30
    while time.monotonic() < until and not all("ready" in _text(tmp_path / f"{n}.txt") for n in range(2)):
        time.sleep(0.05)
    children.stop()
    for thread in threads:
        thread.join(30)
    assert [outcome.code for outcome in outcomes] == [143, 143]
    with pytest.raises(Stopping):
        children.run([sys.executable, "-c", "pass"], tmp_path / "late.txt")


def _text(path):
    return path.read_text() if path.exists() else ""


class Pretended:
    """Children that train nothing: a stage in ``ends`` ends with that code, ``kept`` ones stay as is."""

    def __init__(self, run, ends=None, kept=()):
        self.run_, self.ends, self.kept, self.stages = run, ends or {}, kept, []

    def run(self, command, log):
        stage = command[command.index("--until") + 1]
        self.stages.append(stage)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"well\nerror: no luck with {stage}\n")
        if stage not in self.ends and stage not in self.kept:
            finish(self.run_, stage, 0.5)
        return runs_outcome(self.ends.get(stage, 0))


def runs_outcome(code):
    from tools.ablation.children import Outcome

    return Outcome(code, 10.0, 100.0)


@pytest.fixture
def given(tmp_path):
    root = write_data(tmp_path / "data")
    base = load_recipe(write_recipe(tmp_path), [f"data.root={root}", "data.n_classes=3"])
    return base, tmp_path / "out", *lists_and_truth(root)


def perform(given, run, until, children):
    told = []
    record = runs.Record(run, *given[2:])
    runs.perform(run, until, record, children, given[3], lambda run, stage, cost: told.append((stage, cost)))
    return told


def test_stages_run_one_by_one_and_finished_ones_are_kept(given):
    run = make_run(given[0], LADDER, 0, given[1], 12)
    children = Pretended(run)
    told = perform(given, run, "cluster", children)
    assert told == [("class", runs.Cost(10.0, 100.0)), ("cluster", runs.Cost(10.0, 100.0))]
    assert [stage for stage, _ in perform(given, run, "instance", children)] == ["instance"]
    assert perform(given, run, "instance", children) == []
    assert children.stages == ["class", "cluster", "instance"]


def test_a_changed_recipe_runs_again_from_where_it_differs(given, capsys):
    base, out, *_ = given
    run = make_run(base, LADDER, 0, out, 12)
    perform(given, run, "instance", Pretended(run))
    stages = (base.stages[0], replace(base.stages[1], batch_size=6), *base.stages[2:])
    changed = make_run(replace(base, stages=stages), LADDER, 0, out, 12)
    assert runs.Record(changed, *given[2:]).cost("class") == runs.Cost(10.0, 100.0)
    capsys.readouterr()
    told = perform(given, changed, "instance", Pretended(changed))
    assert [stage for stage, _ in told] == ["cluster", "instance"]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"ladder-seed0, stage {s}: its recipe has changed since it ran; runs again" for s in ("cluster", "instance")
    ]


def test_changed_lists_run_again_from_nothing(given, capsys):
    base, out, lists, truth = given
    run = make_run(base, "ce", 0, out, 12)
    perform(given, run, "class", Pretended(run))
    (run.folder / "table").mkdir()
    other = (base, out, replace(lists, digest="other"), truth)
    capsys.readouterr()
    assert len(perform(other, run, "class", Pretended(run))) == 1
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
    perform(given, run, "class", Pretended(run))
    assert Table.open(run.folder / "table").column("right").tolist() == given[3].right.astype(float).tolist()


def test_time_before_an_interruption_counts_and_that_of_a_failure_does_not(given):
    run = make_run(given[0], "ce", 0, given[1], 12)
    for code in (143, 1, 130):
        with pytest.raises(runs.ChildFailed, match="ce-seed0, stage class: error: no luck with class") as failed:
            perform(given, run, "class", Pretended(run, ends={"class": code}))
        assert failed.value.code == code
    assert perform(given, run, "class", Pretended(run)) == [("class", runs.Cost(30.0, 100.0))]


def test_a_result_whose_cost_nobody_saw_has_none(given):
    run = make_run(given[0], "ce", 0, given[1], 12)
    with pytest.raises(runs.ChildFailed, match="signal 9"):
        perform(given, run, "class", Pretended(run, ends={"class": -9}))
    finish(run, "class", 0.5)  # the tool was killed, its child finished
    assert perform(given, run, "class", Pretended(run, kept=["class"])) == [("class", runs.Cost(None, None))]


def test_a_folder_of_something_else_is_left_alone(given):
    run = make_run(given[0], "ce", 0, given[1], 12)
    finish(run, "class", 0.5)
    with pytest.raises(InputError, match="is no run of this benchmark"):
        perform(given, run, "class", Pretended(run))
    (run.folder / runs.RECORD).write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        perform(given, run, "class", Pretended(run))


class Told:
    """Results that only remember what they were told."""

    def __init__(self, given, error=None):
        self.lists, self.truth, self.error, self.added = *given[2:], error, []

    def add(self, run, stage, cost):
        if self.error:
            raise self.error
        self.added.append((run.name, stage))


@pytest.mark.parametrize(("code", "kind"), [(1, RuntimeError), (2, InputError)])
def test_a_run_that_fails_does_not_keep_the_others_from_going_on(given, code, kind):
    bad, good = (make_run(given[0], kind, 0, given[1], 12) for kind in ("ce", "ce_equal"))
    children, results = Several(Pretended(bad, ends={"class": code}), Pretended(good)), Told(given)
    with pytest.raises(kind, match="1 of 2 runs failed: ce-seed0, stage class: error: no luck"):
        carry_out([Work(bad, "class"), Work(good, "class")], results, children, 1)
    assert results.added == [("ce_equal-seed0", "class")]


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
def test_any_other_error_stops_all_in_good_order(given, error):
    both = [make_run(given[0], kind, 0, given[1], 12) for kind in ("ce", "ce_equal")]
    children = Several(*map(Pretended, both))
    with pytest.raises(type(error)):
        carry_out([Work(run, "class") for run in both], Told(given, error), children, 1)
    assert children.stopped


class Several:
    """The pretended children of several runs behind one door."""

    def __init__(self, *children):
        self.children, self.stopped = {child.run_.name: child for child in children}, False

    def run(self, command, log):
        if self.stopped:
            raise Stopping
        return self.children[log.parent.name].run(command, log)

    def stop(self):
        self.stopped = True
