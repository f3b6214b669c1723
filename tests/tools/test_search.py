"""Settings searched alike for all methods: what is drawn, what is held out, what is kept and chosen, and its use."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from tests.helpers.benchmark import finish, rows_of, write_data, write_recipe
from tools.ablation import __main__ as ablation
from tools.ablation import search
from tools.ablation.children import Outcome
from tools.ablation.held_out import write_held_out
from tools.ablation.methods import LADDER, ROOT, Run, make_run
from tools.ablation.runs import write_recipe as write_run
from tools.ablation.spaces import Dimension, applied, check_settings, draw, space_of, text_of
from urnet.config.duration import Duration
from urnet.config.recipe import Data
from urnet.config.remedies import CoTeaching, Elr
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.pipeline.recipes import load_recipe


@pytest.fixture
def base(tmp_path):
    return load_recipe(write_recipe(tmp_path))


# --- settings


def test_trials_begin_with_the_recipe_and_more_of_them_with_fewer():
    space = space_of("elr")
    few, many = draw(space, 4, 7), draw(space, 12, 7)
    assert (few[0], len(few), len(many)) == ({}, 4, 12)
    assert many[:4] == few and draw(space, 4, 8)[1:] != few[1:]
    assert len({text_of(settings) for settings in many}) == 12
    for settings in many[1:]:
        assert 0.5 <= settings["*.elr.weight"]["value"] <= 10 and 0.25 <= settings["*.schedule.lr"]["times"] <= 4
        assert settings["*.elr.momentum"]["value"] in (0.5, 0.7, 0.9, 0.99)
    assert draw(space, 1, 7) == [{}]
    log = Dimension("a", range=(1.0, 100.0), log=True)
    assert [log.at(place)["value"] for place in (0, 0.5, 0.25)] == [1, 10, 3.16]
    assert Dimension("a", times=(1.0, 3.0)).at(0.5) == {"times": 2.0}


@pytest.mark.parametrize("kind", search.SEARCHED)
def test_every_method_has_ranges_that_its_recipe_accepts(tmp_path, kind):
    base = load_recipe(ROOT / "recipes/benchmark32.yaml")
    assert len(space_of(kind)) >= 2
    for number, settings in enumerate(draw(space_of(kind), 4, 0)):
        run = make_run(base, kind, 0, tmp_path / str(number), 7040, {kind: settings})
        assert write_run(run, "a test") == run
        stages = run.recipe.stages
        assert (stages == make_run(base, kind, 0, tmp_path / str(number), 7040).recipe.stages) == (number == 0)


def test_settings_multiply_or_replace_where_the_key_is(base):
    first = replace(base.stages[0], elr=Elr(2.0), co_teaching=CoTeaching(0.4, Duration(3, "epochs")))
    stages = [first, *base.stages[1:]]
    made = applied(
        stages,
        {
            "*.schedule.lr": {"times": 0.5},
            "cluster.schedule.lr": {"times": 3},
            "*.elr.weight": {"value": 7.0},
            "*.co_teaching.ramp": {"times": 2},
        },
    )
    assert [stage.schedule.lr for stage in made] == pytest.approx([0.025, 0.075, 0.025, 0.025, 0.025])
    assert made[0].elr == Elr(7.0) and made[0].co_teaching.ramp == Duration(6, "epochs")
    assert all(stage.elr is None for stage in made[1:])
    assert applied(stages, {}) == tuple(stages)
    with pytest.raises(InputError, match=r"settings: \*\.gate\.threshold: none of the stages class, cluster"):
        applied(stages, {"*.gate.threshold": {"value": 0.5}})
    with pytest.raises(InputError, match=r"settings: class\.name: 'class' cannot be multiplied"):
        applied(stages, {"class.name": {"times": 2}})


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ([], "has no methods; the search.json of"),
        ({"methods": {"elf": {"settings": {}}}}, "'elf' is not known; nearest: elr"),
        ({"methods": {"elr": {}}}, r"methods.elr.settings: found None"),
        ({"methods": {"elr": {"settings": {"a.b": 3}}}}, r"found {'a.b': 3}"),
        ({"methods": {"elr": {"settings": {"a.b": {"times": -1}}}}}, "STAGE.KEY with times or value"),
    ],
)
def test_other_files_of_settings_are_refused(tree, said):
    with pytest.raises(InputError, match=said):
        check_settings(tree, ("elr", LADDER), "--settings: x.json")


def test_a_file_of_other_ranges_is_refused(tmp_path):
    file = tmp_path / "spaces.yaml"
    for text in ("[1]", "elr: [{key: a, rang: [1, 2]}]", "elr: [{key: a}]", "elr: 3", "{"):
        file.write_text(text)
        with pytest.raises(InputError, match="is not a file of ranges"):
            space_of("elr", file)


# --- rows held out


def web(tmp_path, copies=12) -> Data:
    """Toy data with ``copies`` of every training image under further names, each a byte longer or the same."""
    root = write_data(tmp_path / "web")
    for engine in ("google", "flickr"):
        file = root / f"info/train_filelist_{engine}.txt"
        lines = file.read_text().splitlines()
        for line in list(lines):
            path, label = line.split()
            for i in range(copies):
                own = path.replace(".png", f"x{i}.png")
                shutil.copyfile(root / path, root / own)
                with (root / own).open("ab") as stream:
                    stream.write(bytes(i // 2))  # two of each the same
                lines.append(f"{own} {label}")
        file.write_text("".join(f"{line}\n" for line in lines))
    (root / "truth_train.txt").unlink()
    return Data(root=str(root), n_classes=3)


def test_held_out_rows_are_some_of_the_given_ones_and_copies_are_on_one_side(tmp_path):
    data = web(tmp_path)
    whole = rows_of(Path(data.root))
    (Path(data.root) / "truth_train.txt").write_text("nothing that could be read\n")
    for _ in range(2):  # the second time it is written anew
        root, listed = write_held_out(data, tmp_path / "out/data")
    assert root == tmp_path / "out/data"
    assert not (root / "truth_train.txt").exists() and not (root / "val_images_resized").exists()
    held = dict(line.rsplit(" ", 1) for line in listed.read_text().splitlines())
    train = rows_of(root)
    labels = dict(zip(whole.paths.to_pylist(), map(str, whole.labels.tolist()), strict=True))
    trained = dict(zip(train.paths.to_pylist(), map(str, train.labels.tolist()), strict=True))
    assert held.items() | trained.items() == labels.items() and not held.keys() & trained.keys()
    assert 0.05 * len(labels) < len(held) < 0.3 * len(labels)
    contents = [{(root / path).read_bytes() for path in side} for side in (held, trained)]
    assert not contents[0] & contents[1]


def test_too_few_rows_to_hold_out_are_refused(tmp_path):
    root = write_data(tmp_path / "web", truth=False)
    images = []
    for name in ("google", "flickr"):
        file = root / f"info/train_filelist_{name}.txt"
        first = file.read_text().splitlines(keepends=True)[0]
        images.append(root / first.split()[0])
        file.write_text(first)
    write_held_out(Data(root=str(root), n_classes=3), tmp_path / "out")  # two pictures: one is held out
    images[1].write_bytes(images[0].read_bytes())
    with pytest.raises(InputError, match=r"search: class 0 has 2 training rows, all held out to choose by"):
        write_held_out(Data(root=str(root), n_classes=3), tmp_path / "out")


def test_metadata_go_with_their_rows(tmp_path):
    data = web(tmp_path)
    info = Path(data.root) / "info"
    lines = (info / "train_filelist_google.txt").read_text().splitlines()
    (info / "train_meta_list_google.txt").write_text("".join(f"google/q1.json {i + 1}\n" for i in range(len(lines))))
    write_held_out(data, tmp_path / "out")
    kept, meta = ((tmp_path / f"out/info/train_{name}_google.txt").read_text() for name in ("filelist", "meta_list"))
    rows = [int(line.split()[1]) - 1 for line in meta.splitlines()]
    assert [lines[row] for row in rows] == kept.splitlines()
    (info / "train_meta_list_google.txt").write_text("google/q1.json 1\n")
    with pytest.raises(InputError, match=r"train_meta_list_google.txt: has 1 lines, its list of files 117"):
        write_held_out(data, tmp_path / "out")


# --- trials


class Pretended:
    """Children that train nothing: a trial's score is in ``scores`` by its name, 50 elsewhere; None fails."""

    scores: ClassVar[dict] = {}
    started: ClassVar[list] = []

    def __init__(self, threads):
        self.stopped = False

    def run(self, words, log):
        file, stage = Path(words[words.index("-c") + 1]), words[words.index("--until") + 1]
        self.started.append(f"{file.stem} {stage}")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("error: not finite\n")
        score = self.scores.get(file.stem, 50)
        if score is None:
            return Outcome(1, 1.0, 1.0)
        state = file.parent.parent / "trials" / file.stem / stage / "final/state.json"
        state.parent.mkdir(parents=True)
        last = {"top1": score / 100, "top5": 1.0}
        state.write_text(json.dumps({"epoch": 1, "last": last, "passes": {"forward": 50, "backward": 20}}))
        return Outcome(0, 1.0, 1.0)


@pytest.fixture
def command(tmp_path, base, monkeypatch):
    """A search of two methods of three trials each: the words of its command, and a call of it with further words."""
    data = web(tmp_path)
    monkeypatch.setattr(search, "Children", Pretended)
    words = ["--data", data.root, "--out", tmp_path / "out", "--recipe", tmp_path / "toy.yaml"]

    def call(*more, scores=None):
        Pretended.scores, Pretended.started = scores or {}, []
        return cli.run(ablation.main, ["search", *map(str, words), "--methods", "elr,ladder", *map(str, more)])

    return call


def test_as_many_trials_for_every_method_and_the_best_is_chosen(command, tmp_path, capsys):
    scores = {"elr-1": 61, "ladder-0": 60, "ladder-2": 60}
    assert command("--trials", 3, scores=scores) == 0
    assert [name for name in Pretended.started if name.startswith("elr")] == [f"elr-{i} elr" for i in range(3)]
    assert sum(name.startswith("ladder") for name in Pretended.started) == 3 * 5
    tree = json.loads((tmp_path / "out/search.json").read_text())
    elr, ladder = tree["methods"]["elr"], tree["methods"]["ladder"]
    assert (elr["chosen"], elr["score"], ladder["chosen"], ladder["settings"]) == (1, 61, 0, {})
    assert elr["settings"] == draw(space_of("elr"), 3, 0)[1] == elr["trials"][1]["settings"]
    assert [one["cost"] for one in ladder["trials"]] == [150, 150, 150]  # five stages of (50 + 2 20) / 3
    trial = json.loads((tmp_path / "out/trials/elr-1/trial.json").read_text())
    assert (trial["method"], trial["trial"], trial["score"]) == ("elr", 1, 61)
    page = (tmp_path / "out/search.md").read_text()
    assert f"| {text_of(elr['settings'])} |" in page and "## elr" in page
    out = capsys.readouterr().out
    assert "3 of 3" in out and out.splitlines()[-1] == f"results {tmp_path / 'out/search.md'}"
    # what trains never sees validation images or truth
    recipe = load_recipe(tmp_path / "out/recipes/elr-1.yaml")
    assert recipe.data.root == str(tmp_path / "out/data")
    assert recipe.data.val_list == str(tmp_path / "out/data/info/val_filelist.txt")

    assert command("--trials", 3, scores={"elr-1": 0}) == 0 and Pretended.started == []  # kept
    assert "finished already, kept: " in capsys.readouterr().err
    assert command("--trials", 4) == 0  # the fourth of each
    assert sorted({name.split()[0] for name in Pretended.started}) == ["elr-3", "ladder-3"]
    assert json.loads((tmp_path / "out/search.json").read_text())["methods"]["elr"]["chosen"] == 1


def test_a_trial_that_fails_has_no_score_and_the_recipe_must_not(command, tmp_path, capsys):
    assert command("--trials", 2, "--methods", "elr", scores={"elr-1": None}) == 0
    found = json.loads((tmp_path / "out/search.json").read_text())["methods"]["elr"]
    assert (found["chosen"], found["of"], found["trials"][1]["trial"]) == (0, 2, 1)
    assert "not finite" in found["trials"][1]["failed"] and "1 of 2" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "out")
    assert command("--trials", 2, "--methods", "elr", scores={"elr-0": None}) == 1
    assert "1 of 2 trials failed: elr-0, stage elr: error: not finite" in capsys.readouterr().err.splitlines()[-1]


def test_unknown_methods_and_keys_that_are_set_are_refused(command, tmp_path, capsys):
    for words, said in (
        (("--methods", "oracle"), "--methods: 'oracle' is not known"),
        (("-o", "data.val_list=x"), "-o data.val_list=x: the search sets this itself"),
        (("-o", "stages.class.batch_size=8"), "-o stages.class.batch_size=8: the search sets this itself"),
    ):
        assert command(*words) == 2
        err = capsys.readouterr().err
        assert said in err.splitlines()[-1]


# --- their use


def test_the_benchmark_trains_with_what_was_chosen(tmp_path, base, capsys):
    file = tmp_path / "search.json"
    chosen = {"elr": {"settings": {"*.elr.weight": {"value": 7.0}}}, LADDER: {"settings": {}}}
    file.write_text(json.dumps({"methods": chosen}))
    settings = ablation.read_settings(file, ["ce", "class", "images_only", "elr", "pci"])
    said = f"note: --settings: {file} has none for pci; trained as its recipe says"
    assert capsys.readouterr().err.splitlines() == [said]
    (stage,) = make_run(base, "elr", 0, tmp_path, 12, settings).recipe.stages
    assert stage.elr.weight == 7.0
    assert make_run(base, "pci", 0, tmp_path, 12, settings) == make_run(base, "pci", 0, tmp_path, 12)
    assert ablation.said_settings(settings) == "- `elr`: *.elr.weight = 7.0\n- `ladder`: as its recipe\n"
    faster = {LADDER: {"cluster.schedule.lr": {"times": 2}}}
    for kind in (LADDER, "images_only"):
        assert make_run(base, kind, 0, tmp_path, 12, faster).recipe.stages[1].schedule.lr == 0.1
    assert ablation.read_settings(None, ["elr"]) == {}
    file.write_text("{")
    with pytest.raises(InputError, match=r"--settings: .* cannot be read"):
        ablation.read_settings(file, ["elr"])


def test_the_page_lists_what_methods_were_trained_with(tmp_path, base, monkeypatch, capsys):
    class Finished(Pretended):
        def run(self, words, log):
            file, stage = Path(words[words.index("-c") + 1]), words[words.index("--until") + 1]
            finish(Run("elr", 0, load_recipe(file), {stage: "elr"}), stage, 0.5)
            return Outcome(0, 1.0, 1.0)

    monkeypatch.setattr(ablation, "Children", Finished)
    data, file, out = write_data(tmp_path / "data", truth=False), tmp_path / "search.json", tmp_path / "out"
    file.write_text(json.dumps({"methods": {"elr": {"settings": {"*.elr.weight": {"value": 7.0}}}}}))
    words = ["--data", data, "--out", out, "--methods", "elr", "--settings", file, "--seeds", "0"]
    command = [*map(str, words), "--recipe", str(tmp_path / "toy.yaml")]
    assert cli.run(ablation.main, command) == 0
    page = (out / "result.md").read_text()
    assert "\n- `elr`: *.elr.weight = 7.0\n" in page.split("## Settings")[1].split("## Cost")[0]
    assert f"--settings {file}" in (out / "recipes/elr-seed0.yaml").read_text().splitlines()[1]
    assert load_recipe(out / "recipes/elr-seed0.yaml").stages[0].elr.weight == 7.0
    capsys.readouterr()
    assert cli.run(ablation.main, command) == 0
    assert "elr-seed0: finished already, kept: elr" in capsys.readouterr().err
    del words[6:8]
    assert cli.run(ablation.main, [*map(str, words), "--recipe", str(tmp_path / "toy.yaml")]) == 0
    assert "elr-seed0, stage elr: its recipe has changed since it ran; runs again" in capsys.readouterr().err
