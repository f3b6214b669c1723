"""The kept results: taken up from a folder of the benchmark, compared with another, and written into the pages."""

import json

import pytest

from tools import results
from urnet.core.checks import InputError


def folder(tmp_path, name, top1, weights):
    """A folder as tools/benchmark.py leaves it: one method, two seeds."""
    out = tmp_path / name
    entries = [dict.fromkeys(results.FIGURES) | {"method": "mixup", "seed": s, "top1_last": top1 + s} for s in (0, 1)]
    for seed in (0, 1):
        final = out / "runs" / f"mixup-seed{seed}" / "mixup" / "final"
        final.mkdir(parents=True)
        (final / "model.safetensors").write_bytes(weights + bytes([seed]))
    (out / "result.json").write_text(json.dumps(entries))
    (out / "result.md").write_text("# B\n\n- not: this\n\n## Made with\n\n- command: `secret/place`\n- Paddle: 3.3.1\n")
    return out


@pytest.fixture
def kept(tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(results, "KEPT", tmp_path / "kept")
    out = folder(tmp_path, "first", 50.0, b"a")
    results.main(["keep", str(out), "some", "--commit", "abc", "--command", "python x"])
    return tmp_path / "kept" / "some.json"


def test_what_was_measured_is_kept_without_the_machine_s_paths(kept):
    (run,) = json.loads(kept.read_text())
    assert (run["commit"], run["command"], run["machine"]) == ("abc", "python x", {"Paddle": "3.3.1"})
    assert [entry["top1_last"] for entry in run["entries"]] == [50.0, 51.0]
    assert list(run["weights"]) == ["mixup-seed0/mixup", "mixup-seed1/mixup"]
    assert "secret" not in kept.read_text()


def test_a_rung_s_weights_are_the_ladder_s_and_other_runs_of_the_folder_are_left_out(tmp_path):
    out = folder(tmp_path, "both", 50.0, b"a")
    rungs = [dict.fromkeys(results.FIGURES) | {"method": name, "seed": 0} for name in ("first", "+second")]
    (out / "result.json").write_text(json.dumps(rungs))
    for stage in ("first", "second"):
        (out / f"runs/ladder-seed0/{stage}/final").mkdir(parents=True)
        (out / f"runs/ladder-seed0/{stage}/final/model.safetensors").write_bytes(stage.encode())
    assert list(results.read(out)["weights"]) == ["ladder-seed0/first", "ladder-seed0/second"]


def test_a_later_result_takes_the_place_of_the_older_one(kept, tmp_path):
    later = folder(tmp_path, "later", 60.0, b"b")
    results.main(["keep", str(later), "some", "--commit", "def", "--command", "python y"])
    (run,) = json.loads(kept.read_text())
    assert (run["commit"], [entry["top1_last"] for entry in run["entries"]]) == ("def", [60.0, 61.0])


def test_other_measurements_are_set_next_to_it(kept, tmp_path, capsys):
    before = kept.read_bytes()
    results.main(["compare", str(folder(tmp_path, "same", 50.0, b"a")), "some"])
    assert "2 of 2 weights are the same to the byte" in capsys.readouterr().out
    results.main(["compare", str(folder(tmp_path, "other", 51.5, b"c")), "some"])
    said = capsys.readouterr().out
    assert "+1.50" in said and "0 of 2 weights" in said
    assert kept.read_bytes() == before


def test_nothing_in_common_and_unknown_tables_are_refused(kept, tmp_path):
    out = folder(tmp_path, "same", 50.0, b"a")
    (out / "result.json").write_text((out / "result.json").read_text().replace("mixup", "elr"))
    with pytest.raises(InputError, match=r"no method and seed is in both: measured elr; kept mixup$"):
        results.main(["compare", str(out), "some"])
    with pytest.raises(InputError, match=r"'nope' is not known; nearest: runs, weights"):
        results.render("<!-- results: nope -->\n<!-- end -->\n")


def test_weights_go_with_the_result_that_was_replaced(kept, tmp_path):
    later = folder(tmp_path, "later", 60.0, b"b")
    (later / "runs/mixup-seed0/mixup/final/model.safetensors").unlink()
    (later / "result.json").write_text(json.dumps(json.loads((later / "result.json").read_text())[:1]))
    results.main(["keep", str(later), "some", "--commit", "def", "--command", "python y"])
    old, new = json.loads(kept.read_text())
    assert list(old["weights"]) == ["mixup-seed1/mixup"] and new["weights"] == {}


@pytest.mark.parametrize(
    "words", [["compare", "nowhere", "some"], ["keep", "nowhere", "x", "--commit", "a", "--command", "b"]]
)
def test_a_folder_without_results_is_refused(kept, words):
    with pytest.raises(InputError, match=r"nowhere: no result\.json and result\.md"):
        results.main(words)


def test_a_set_that_is_not_kept_is_refused(kept, tmp_path):
    with pytest.raises(InputError, match=r"there is some$"):
        results.main(["compare", str(folder(tmp_path, "same", 50.0, b"a")), "other"])


def test_a_table_has_mean_and_deviation_over_the_kept_seeds(kept, monkeypatch):
    monkeypatch.setattr(results, "SHORT", {"a": (("some:mixup", "mixup"),)})
    monkeypatch.setattr(results, "LONG", {})
    monkeypatch.setattr(results, "GAINS", {"b": (("some:mixup", "some:mixup"),)})
    monkeypatch.setattr(results, "GROWN", ())
    page = results.render("x\n<!-- results: a -->\nold\n<!-- end -->\n<!-- results: b -->\n<!-- end -->\ny\n")
    assert "50.50 ± 0.71" in page and "old" not in page and "+0.00 ± 0.00" in page
    assert results.render(page) == page


def test_a_size_of_the_training_set_has_the_results_of_all_its_sets(kept, tmp_path, monkeypatch):
    results.main(["keep", str(folder(tmp_path, "plain", 40.0, b"c")), "base", "--commit", "a", "--command", "python z"])
    base = tmp_path / "kept" / "base.json"
    base.write_text(base.read_text().replace('"mixup"', '"ce_equal"'))
    monkeypatch.setattr(results, "GROWN", (("half", 3520, 43.2, ("some", "base")), ("all", 7040, 43.2, ("nowhere",))))
    half, empty = results.grown(results.kept_runs())
    assert (half.name, half.rows, half.wrong, empty.entries) == ("half", 3520, 43.2, [])
    monkeypatch.setattr(results, "GROWN_METHODS", ("mixup", "ce_equal"))
    page = results.render("<!-- results: growth -->\n<!-- end -->\n")
    assert [line.replace(" ", "").split("|")[1:8] for line in page.splitlines() if "half" in line] == [
        ["half", "3,520", "43.2%", "`mixup`", "2", "50.50±0.71", "+10.00±0.00"],
        ["half", "3,520", "43.2%", "`ce_equal`", "2", "40.50±0.71", ""],
    ]


def test_the_shares_of_wrong_labels_are_what_the_class_stage_s_even_weights_found():
    for one in results.grown(results.kept_runs()):
        shares = {e["weight_on_wrong"] for e in one.entries if e["method"] == "urnet_images/class"}
        assert {round(share, 1) for share in shares} == {one.wrong}, one.name
