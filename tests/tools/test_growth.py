"""Gains against rows and wrong labels: shares of a data set, which sets make a line, the command around it."""

import json
from fractions import Fraction
from functools import partial

import cv2
import numpy as np
import pytest

from tests.helpers.benchmark import rows_of, write_data, write_recipe
from tests.helpers.webvision import N_CLASSES, write_web
from tools import growth_picture, results
from tools.ablation import __main__ as benchmark
from tools.ablation import growth, growth_plot
from tools.ablation.rows import read_rows
from tools.ablation.subset import write_subset
from urnet.config.recipe import Data
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.data.lists.build_table import build_table


def test_a_share_has_the_same_part_of_each_class_and_holds_the_smaller_ones(tmp_path):
    root = write_data(tmp_path / "data")
    whole = rows_of(root)
    found = [rows_of(write_subset(root, share, tmp_path / "sets/x")) for share in (Fraction(1, 4), Fraction(1, 2))]
    for rows, counts in zip(found, ([2, 1, 1], [3, 2, 2]), strict=True):  # of 5, 4 and 3, rounded up
        assert np.bincount(rows.labels).tolist() == counts
        places = [whole.paths.to_pylist().index(path) for path in rows.paths.to_pylist()]
        assert places == sorted(places) and rows.labels.tolist() == whole.labels[places].tolist()
        assert rows.right.tolist() == whole.right[places].tolist()
    small, large = (set(rows.paths.to_pylist()) for rows in found)
    assert small < large
    again = rows_of(write_subset(root, Fraction(1, 2), tmp_path / "sets/x"))
    assert (again.digest, again.truth_digest) == (found[1].digest, found[1].truth_digest)
    assert (tmp_path / "sets/x/val_images_resized/v0.png").is_file()


def test_titles_and_ranks_follow_their_rows(tmp_path):
    root, half = tmp_path / "web", tmp_path / "half"
    write_web(root, 2)
    write_subset(root, Fraction(1, 2), half)
    tables = [
        build_table(Data(root=str(folder), n_classes=N_CLASSES), tmp_path / f"table-{folder.name}")
        for folder in (root, half)
    ]
    known = []
    for table in tables:
        columns = [table.column(name).tolist() for name in ("label", "query", "rank", "source")]
        rows = np.arange(table.n_rows)
        texts = zip(table.strings("text", rows), *columns, strict=True)
        known.append(dict(zip(table.strings("path", rows), texts, strict=True)))
    assert 0 < len(known[1]) < len(known[0]) and known[1].items() <= known[0].items()
    assert read_rows(Data(root=str(half), n_classes=N_CLASSES)).has_metadata


def test_metadata_that_does_not_go_with_its_list_is_refused_and_leaves_nothing(tmp_path):
    root = tmp_path / "web"
    write_web(root, 2)
    meta = root / "info/train_meta_list_google.txt"
    meta.write_text(meta.read_text().split("\n", 1)[1])
    with pytest.raises(InputError, match=r"train_meta_list_google.txt: has \d+ lines, its list of files \d+"):
        write_subset(root, Fraction(1, 2), tmp_path / "half")
    assert not (tmp_path / "half").exists()


def measured(name, rows, wrong, **tops):
    entries = [{"method": m, "seed": s, "top1_last": top} for m, values in tops.items() for s, top in enumerate(values)]
    return growth.Measured(name, rows, wrong, entries)


SETS = [
    measured("quarter", 1760, 43.4, ce_equal=[40.0], balanced_equal=[41.0], urnet_images=[44.0]),
    measured("low", 7040, 20.0, ce_equal=[60.0], balanced_equal=[61.0], urnet_images=[62.0]),
    measured("all", 7041, 43.0, ce_equal=[50.0, 52.0], balanced_equal=[51.0, 52.0], urnet_images=[55.0, 58.0]),
    measured("high", 7040, 60.0, ce_equal=[30.0], balanced_equal=[30.0], urnet_images=[31.0]),
    measured("twice", 14080, 43.9, ce_equal=[60.0], balanced_equal=[61.0], urnet_images=[66.0]),
]


def test_a_panel_varies_one_thing():
    names = {what: [one.name for one in chosen] for what, chosen in growth_plot.panels(SETS).items()}
    assert names == {"rows": ["quarter", "all", "twice"], "wrong": ["low", "all", "high"]}
    assert growth_plot.panels(SETS[:1]) == {}
    unknown = [measured("a", 10, None), measured("b", 20, None)]
    assert list(growth_plot.panels(unknown)) == ["rows"]
    mixed = growth_plot.panels([*unknown, measured("c", 30, 1.5)])
    assert [one.name for one in mixed["rows"]] == ["a", "b"]
    drifting = [measured(f"{wrong:g}", rows, wrong) for rows, wrong in ((10, 40.0), (20, 41.5), (40, 43.0))]
    assert [one.name for one in growth_plot.panels(drifting)["rows"]] == ["40", "41.5"]


def test_the_table_and_the_figure(tmp_path):
    lines = growth.growth_table(SETS[2:3], ("urnet_images", "ce_equal", "balanced_equal")).splitlines()[2:]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines] == [
        ["all", "7,041", "43.0 %", "`urnet_images`", "2", "56.50 ± 2.12", "+5.50 ± 0.71", "+5.00 ± 1.41"],
        ["all", "7,041", "43.0 %", "`ce_equal`", "2", "51.00 ± 1.41", "", "-0.50 ± 0.71"],
        ["all", "7,041", "43.0 %", "`balanced_equal`", "2", "51.50 ± 0.71", "+0.50 ± 0.71", ""],
    ]
    pytest.importorskip("matplotlib")
    for sets in (SETS, SETS[:1], SETS[1:4]):
        growth_plot.draw(sets, ("urnet_images", "ce_equal", "balanced_equal"), tmp_path / ".picture.tmp")
        assert (tmp_path / ".picture.tmp").read_bytes()[:4] == b"\x89PNG"


def test_the_command_runs_the_benchmark_on_every_set_and_gathers(tmp_path, capsys):
    data, recipe = write_data(tmp_path / "toy set"), write_recipe(tmp_path)
    calls, out = [], tmp_path / "out"

    def pretended(argv):
        args = benchmark.parse(argv)
        calls.append((args.data, args.methods, args.seeds))
        args.out.mkdir(parents=True)
        top = 50.0 + len(calls)
        found = [{"method": m, "seed": 0, "top1_last": top} for m in ("class", "ce_equal")]
        (args.out / "result.json").write_text(json.dumps(found))
        print("a table of its own")
        if len(calls) == 1:
            raise RuntimeError("1 of 3 runs failed")

    argv = ["--sets", data, "--shares", "1,1/2", "--out", out, "--methods", "class"]  # needs no cleanlab
    assert (
        cli.run(partial(growth.main, compare=pretended), [*map(str, argv), "--recipe", str(recipe), "--seeds", "0"])
        == 1
    )
    half = out / "sets/toy set-1of2"
    assert calls == [(half, "class,ce_equal,balanced_equal", [0]), (data, "class,ce_equal,balanced_equal", [0])]
    said, err = capsys.readouterr()
    assert "a table of its own" not in said and said.count("`class`") == 2
    assert "1 of 2 sets failed: toy set-1of2" in err
    page = (out / "growth.md").read_text()
    assert page.index("| toy set-1of2 |") < page.index("| toy set      |") and "33.3 %" not in page.splitlines()[0]


def test_results_of_an_earlier_call_are_not_those_of_a_set_that_was_refused(tmp_path, capsys):
    data, recipe = write_data(tmp_path / "data"), write_recipe(tmp_path)
    kept = tmp_path / "out/data/result.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps([{"method": "class", "seed": 0, "top1_last": 99.0}]))

    def refused(argv):
        raise InputError("its costs differ")

    argv = ["--sets", data, "--out", tmp_path / "out", "--methods", "class", "--recipe", recipe, "--seeds", "0"]
    assert cli.run(partial(growth.main, compare=refused), [*map(str, argv)]) == 1
    said, err = capsys.readouterr()
    assert "failed: set data: its costs differ" in err and "99.00" not in said


def test_bad_input_is_one_line_and_nothing_is_trained(tmp_path, capsys):
    data, recipe = write_data(tmp_path / "data"), write_recipe(tmp_path)
    other = write_data(tmp_path / "b/data")
    start = ["growth", "--out", str(tmp_path / "out"), "--recipe", str(recipe), "--sets"]
    for arguments, message in (
        ([f"{data},{other}"], "--sets: two are called data"),
        ([str(tmp_path / "none")], "none is not a folder"),
        ([str(data), "--methods", "+labl"], "'+labl' is not known"),
        ([f"{data},{tmp_path}/none2", "--methods", "class"], "none2 is not a folder"),
    ):
        assert cli.run(benchmark.main, [*start, *arguments]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1) and message in err
    for arguments, message in (
        (["--shares", "0"], "argument --shares: found '0'"),
        (["--shares", "1/2,0.5"], "each once"),
        (["--shares", "1/0"], "found '1/0'"),
        (["--data", "x"], "argument --data: not accepted here; give the sets with --sets"),
        (["--seedz", "1"], "--seedz"),
    ):
        with pytest.raises(SystemExit, match="2"):
            benchmark.main([*start, str(data), *arguments])
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and message in err
    assert not (tmp_path / "out").exists()


def test_the_documents_figure_is_drawn_from_the_kept_runs(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = []

    def watched(sets, methods, path, bases):
        drawn.append((sets, methods))
        growth_plot.draw(sets, methods, path, bases)

    monkeypatch.setattr(growth_picture, "draw", watched)
    monkeypatch.setattr(growth_picture, "ROOT", tmp_path)
    (tmp_path / "docs/assets").mkdir(parents=True)
    assert growth_picture.main([]) is None
    ((sets, methods),) = drawn
    assert all(one.entries for one in sets) and {"ce_equal", "urnet_images"} <= set(methods)
    assert list(growth_plot.panels(sets)) == ["rows", "wrong"]
    made, kept = (cv2.imread(str(root / "docs/assets/growth.png")) for root in (tmp_path, results.ROOT))
    assert made.shape == kept.shape
