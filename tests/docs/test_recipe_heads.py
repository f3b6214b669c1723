"""The recipes' heads: whole, with figures that stand in the documents and hours that follow from the recipe."""

import re

import pytest

from tests.helpers.doc_commands import PAGES, RECIPES, ROOT, head_commands
from tools.planning.counts import counts_of
from tools.planning.given import FORWARD, PUBLISHED
from tools.planning.hours import hours_of
from urnet.config.recipe import active_stages
from urnet.pipeline.recipes import load_recipe

TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
WEBVISION1 = (2_439_574, 50_000)  # rows and validation images of WebVision 1.0
COUNTED = [path for path in RECIPES if "GPU hours at" in path.read_text(encoding="utf-8")]


def head_of(recipe):
    """A recipe's head as one line of text."""
    return " ".join(recipe.read_text(encoding="utf-8").split("\n\nname: ")[0].replace("#", " ").split())


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_head_is_whole_and_its_figures_are_the_documents(recipe):
    head = head_of(recipe)
    assert all(f" {part}: " in head for part in ("source", "cost", "expected", "command"))
    assert any(recipe.relative_to(ROOT).as_posix() in command.words for command in head_commands(recipe))
    for figure in re.findall(r"\d+\.\d\d ± \d+\.\d\d", head):
        assert figure in TEXT
    for page in re.findall(r"docs/\w+\.md", head):
        assert (ROOT / page).is_file()


@pytest.mark.parametrize("recipe", COUNTED, ids=lambda path: path.stem)
def test_a_head_s_cost_follows_from_the_recipe(recipe):
    head, loaded = head_of(recipe), load_recipe(recipe)
    rows, images = PUBLISHED.get(loaded.data.format, WEBVISION1)
    millions, flop, gigas, total, hours, rate = re.search(
        r"are ([\d.]+) million images of ([\d.]+) GFLOP \(([\d.]+) G multiply-adds,.*?\), ([\d.e]+) in total: "
        r"([\d.]+) GPU hours at ([\d,]+) images/s",
        head,
    ).groups()
    per_image, rate = 2 * FORWARD * float(gigas), float(rate.replace(",", ""))
    listed = re.search(rf"\| {loaded.model.name} \|[^|]+\| ([\d.]+) \(", TEXT)[1]
    assert float(gigas) == pytest.approx(float(listed), rel=0.02)
    assert float(flop) == pytest.approx(per_image, rel=0.02)
    counts = [counts_of(loaded, stage, rows, images, 8) for stage in active_stages(loaded)]
    drawn = sum(count.images_drawn for count in counts)  # by any number of processes
    assert float(millions) == pytest.approx(drawn / 1e6, rel=0.005)
    assert float(total) == pytest.approx(drawn * per_image * 1e9, rel=0.02)
    assert float(hours) == pytest.approx(drawn / rate / 3600, rel=0.01)
    assert rate * per_image / 1e3 == pytest.approx(40, rel=0.03)  # TFLOP/s, as docs/scaling.md says
    on_eight = re.search(r"([\d.]+) hours on eight", head)
    if on_eight:
        wanted = sum(hours_of(count, 8, rate, FORWARD * rate)["total"] for count in counts)
        assert float(on_eight[1]) == round(wanted)


def test_the_example_s_figures_are_those_of_the_results_page():
    shown = re.findall(r"^stage (\w+) last top1:([\d.]+)", (ROOT / "docs/results.md").read_text(encoding="utf-8"), re.M)
    assert len(shown) == 5
    assert ", ".join(f"{stage} {top1}" for stage, top1 in shown) in head_of(ROOT / "recipes/digits_web.yaml")


def test_every_recipe_of_many_gpu_hours_is_counted_so():
    assert len(COUNTED) == 7
    assert "**The rate is an assumption**" in TEXT
