"""Every command of README.md and docs/ is accepted by its program and run by a test; the site builds."""

import importlib
import importlib.util
import re
import subprocess
import sys

import pytest

import train
import urnet
from tests.helpers.doc_commands import (
    LAUNCHER,
    PAGES,
    RECIPES,
    ROOT,
    Command,
    commands,
    head_commands,
    parsed,
    parser_of,
    read_command,
)
from tools import loop_picture, results
from urnet.config import se_resnext_flags
from urnet.config.recipe import active_stages
from urnet.core.checks import InputError
from urnet.pipeline.recipes import load_recipe

# The test that runs a command of this program and these flags, on data of its own; or "not run" and why. A
# command of another shape in the documents needs a line here; synopses, and commands named inside a sentence,
# need none.
RUN_BY = {
    "tools/score_classifiers.py --features --root --truth --val": "tools/test_simulate_decisions.py::test_classifiers_learn_from_weighted_rows_beside_another_library_s",
    "tools/score_suspects.py --truth": "tools/test_score_suspects.py::test_figures_are_exact",
    "tools/score_suspects.py --features --root --strengths --truth": "tools/test_score_suspects.py::test_another_library_is_scored_on_the_same_features_and_folds",
    "tools/simulate_decisions.py --batch --features --root --truth --val": "tools/test_simulate_decisions.py::test_orders_are_compared_and_what_was_decided_is_written",
    "tools/suspects.py --next --val": "suspects/test_suspects_command.py::test_what_is_worth_asking_is_a_list_of_its_own",
    "tools/review.py --root --val": "tools/test_review.py::test_it_runs_until_ctrl_c_and_the_next_start_goes_on",
    "tools/bench.py step --batch_size --classes --model --steps": "tools/test_bench.py::test_the_host_s_own_work_is_a_few_dozen_operations_for_any_number_of_parameters",
    "tools/bench.py step --steps": "tools/test_bench.py::test_the_host_s_own_work_is_a_few_dozen_operations_for_any_number_of_parameters",
    "sh tools/gpu_check.sh": "tools/test_gpu_check.py::test_what_trains_in_memory",
    "tools/review.py": "tools/test_review.py::test_it_runs_until_ctrl_c_and_the_next_start_goes_on",
    "tools/export.py": "tools/test_export.py::test_a_runs_folder_is_enough",
    "tools/export.py --images": "tools/test_export.py::test_the_comparison_is_printed",
    "tools/serve.py": "tools/test_serve.py::test_the_answers_are_the_live_network_s",
    "tools/transfer.py --batch_size --image_shape --pretrained_model --voc": "tools/test_transfer.py::test_figures_are_those_of_a_plain_computation",
    "train.py --stage -c -o": "pipeline/test_run.py::test_until_and_stage_cut_the_recipe",
    "sh run.sh": "scripts/test_run_scripts.py::test_the_embedded_example",
    "sh run.sh recipes/NAME.yaml -o KEY=VALUE": "scripts/test_run_scripts.py::test_a_recipe_and_its_options_go_to_train",
    "sh tests/run.sh": "scripts/test_run_scripts.py::test_every_check_runs_and_arguments_go_to_pytest",
    "sh tests/run.sh -m ": "scripts/test_run_scripts.py::test_every_check_runs_and_arguments_go_to_pytest",
    ". ./set_env.sh": "scripts/test_set_env.py::test_sourced_twice_installs_once",
    "export OMP_NUM_THREADS=8": "not run: a variable of the shell",
    "pip install -e .[benchmark]": "not run: installs; tools/test_benchmark_scores.py uses it",
    "pip install -e .[pretrained,serve]": "not run: installs; end_to_end/test_photos_loop.py uses both",
    "pip install -e .[pretrained]": "not run: installs; checkpoints/test_published.py does without",
    "train.py --init -c -o": "pipeline/test_start_weights.py::test_a_run_from_the_word",
    "pip install -e .[peer]": "not run: installs; checkpoints/test_foreign.py does without",
    "pip install --no-deps paddleclas": "not run: installs; checkpoints/test_foreign.py does without",
    "pytest -s": "not run: models/test_peer.py itself",
    "pytest --hypothesis-profile": "not run: robustness/test_fuzz.py itself, for long",
    "pytest --hypothesis-profile --hypothesis-seed -k": "not run: robustness/test_fuzz.py itself, for long",
    "sh data/download_webvision2018.sh": "scripts/test_download.py::test_without_arguments_the_validation_set_lands_under_the_release_names",
    "sh data/download_webvision2018.sh info train val": "scripts/test_download.py::test_training_archives_are_unpacked_one_by_one_and_the_recipes_read_them",
    "sh data/download_webvision2018.sh --help": "scripts/test_download.py::test_help_needs_nothing",
    "visualdl --logdir output/digits_seed1/curves --language en": "not run: a server; end_to_end/test_train_cli.py reads its files",
    "curl -F image=@cat.jpg http://127.0.0.1:8000/predict?topk=3": "tools/test_serve_app.py::test_curl_is_understood",
    "curl -F file=@cat.jpg -F file=@dog.jpg http://127.0.0.1:8000/predict": "tools/test_serve_app.py::test_curl_is_understood",
    "curl --data-binary @cat.jpg http://127.0.0.1:8000/predict": "tools/test_serve_app.py::test_curl_is_understood",
    "data/make_cifar10n_web.py --cifar --labels --out": "scripts/test_cifar10n_web.py::test_all_forms_of_the_downloads_give_the_same_set",
    "data/make_cifar10n_web.py --rates": "scripts/test_cifar10n_web.py::test_without_metadata_it_is_the_same_set",
    "data/make_digits_web.py --out": "scripts/test_digits_web.py::test_same_seed_same_bytes_other_seed_others",
    "eval.py --class_dim --img_list --img_path --model --pretrained_model --resize": "inference/test_infer.py::test_flags_go_before_the_recipe",
    "eval.py --class_dim --img_list --img_path --model --pretrained_model --use_gpu": "scripts/test_run_scripts.py::test_the_embedded_example",
    "eval.py --confusion --img_path --pretrained_model": "inference/test_eval.py::test_the_report_on_classes",
    "eval.py --img_path --per_class --pretrained_model": "inference/test_eval.py::test_without_a_list_sub_folders_are_classes_by_name",
    "launch eval.py --img_path --pretrained_model": "end_to_end/test_launched.py::test_accuracy_is_that_of_one_process_to_the_digit",
    "infer.py --batch_size --model --num_layers --test_list": "end_to_end/test_se_resnext_commands.py::test_the_inference_command_predicts",
    "infer.py --class_dim --img_list --img_path --model --pretrained_model --use_gpu": "inference/test_infer.py::test_the_release_s_checkpoint_and_command",
    "eval.py --batch_size --crops --img_list --img_path --pretrained_model": "inference/test_views.py::test_eval_counts_the_mean_s_best_classes",
    "eval.py --flip --img_path --pretrained_model": "inference/test_views.py::test_eval_counts_the_mean_s_best_classes",
    "infer.py --crops --img_path --output --pretrained_model --topk": "inference/test_views.py::test_infer_averages_what_the_network_says_of_the_views",
    "tools/ensemble.py --class_dim --members --out": "evaluation/test_ensemble.py::test_the_tool_joins_and_reports",
    "infer.py --crops --img_path --pretrained_model --scales": "inference/test_views.py::test_infer_averages_what_the_network_says_of_the_views",
    "eval.py --crops --flip --img_list --img_path --pretrained_model": "inference/test_views.py::test_eval_counts_the_mean_s_best_classes",
    "infer.py --img_path --output --pretrained_model": "inference/test_infer.py::test_images_without_a_list_and_one_image",
    "infer.py --img_path --max_bad --output --pretrained_model": "inference/test_infer.py::test_unreadable_images_are_marked_up_to_max_bad",
    "launch train.py -c": "end_to_end/test_launched.py::test_train_py_itself",
    "launch train.py -c -o": "end_to_end/test_launched.py::test_train_py_itself",
    "train.py -c": "end_to_end/test_recipes.py::test_all_stages_finish",
    "train.py -c -o": "end_to_end/test_train_cli.py::test_a_changed_recipe_runs_again_and_says_why_and_loses_nothing",
    "train.py --debug -c -o": "end_to_end/test_train_cli.py::test_debug_shows_a_traceback",
    "train.py --tiny -c -o": "end_to_end/test_recipes.py::test_all_stages_finish",
    "train.py --dry-run -c -o": "end_to_end/test_train_cli.py::test_a_changed_recipe_runs_again_and_says_why_and_loses_nothing",
    "train.py --finetune --init -c -o": "pipeline/test_finetune.py::test_the_flags_and_the_recipe_that_was_saved_give_the_same_bytes",
    "train.py --resume -c": "training/test_resume.py::test_killed_at_random_moments",
    "train.py --resume -c -o": "training/test_resume.py::test_other_workers_and_another_folder_give_the_same_weights",
    "train.py --until -c -o": "pipeline/test_stage_by_stage.py::test_stage_by_stage_is_the_same_as_at_once",
    "train.py --batch_size --num_layers --parallel_exe --with_mem_opt": "end_to_end/test_se_resnext_commands.py::test_the_training_command_trains",
    "tools.ablation --methods --out --seeds --sets": "tools/test_growth.py::test_the_command_runs_the_benchmark_on_every_set_and_gathers",
    "tools.ablation --out --seeds --sets --shares": "tools/test_growth.py::test_the_command_runs_the_benchmark_on_every_set_and_gathers",
    "tools.ablation --data --jobs --methods --out --trials": "tools/test_search.py::test_as_many_trials_for_every_method_and_the_best_is_chosen",
    "tools/benchmark.py --data --methods --out --recipe --seeds": "tools/test_benchmark_photos.py::test_one_comparison_shares_what_is_frozen_and_costs_what_was_predicted",
    "tools/benchmark.py --data --methods --out --settings": "tools/test_search.py::test_the_page_lists_what_methods_were_trained_with",
    "tools/benchmark.py --data --out --seeds": "tools/test_benchmark.py::test_the_whole_tool_once",
    "tools/benchmark.py --data --jobs --methods --out --recipe --seeds": "tools/test_benchmark.py::test_the_whole_tool_once",
    "tools/benchmark.py --data --jobs --methods --out --seeds": "tools/test_benchmark.py::test_the_whole_tool_once",
    "tools/benchmark.py --data --methods --out --seeds": "tools/test_benchmark.py::test_the_whole_tool_once",
    "tools/benchmark.py --data --out --seeds -o": "tools/test_benchmark.py::test_bad_input_is_one_line",
    "tools/table.py --column -c -o": "pipeline/test_own_columns.py::test_the_command_builds_adds_and_shows",
    "tools/check.py": "tools/test_check.py::test_a_good_tree_is_accepted",
    "tools/check.py --val": "tools/test_check.py::test_a_good_tree_is_accepted",
    "tools/check.py -c -o": "tools/test_check.py::test_lists_and_recipes",
    "tools/convert_checkpoint.py": "checkpoints/test_convert.py::test_there_and_back_on_the_command_line",
    "tools/convert_checkpoint.py --class_dim --model": "checkpoints/test_convert.py::test_released_folder_and_back",
    "tools/plan.py --evaluation-images --images-per-second --no-files --processes --rows -c": "tools/test_plan.py::test_the_page_shows_what_the_tool_prints",
    "tools/plan.py --cores --images-per-second --no-files --processes --views-per-core -c": "tools/test_plan.py::test_cores_and_views_a_core_are_given",
    "tools/benchmark.py --data --jobs --methods --out --recipe --seeds -o": "tools/test_benchmark.py::test_the_whole_tool_once",
    "tools/benchmark.py --data --jobs --methods --out --seeds -o": "tools/test_benchmark.py::test_the_whole_tool_once",
    "tools/benchmark.py --data --methods --out --recipe --seeds -o": "tools/test_benchmark.py::test_the_whole_tool_once",
    "tools.results": "tools/test_results.py::test_other_measurements_are_set_next_to_it",
    "tools/plan.py --images-per-second --no-files --processes -c": "tools/test_plan.py::test_webvision_on_eight_processes_and_on_thirty_two",
    "tools/plan.py --measure --no-files -c": "tools/test_plan.py::test_what_was_timed_is_printed_and_written",
    "tools/plan.py --measure --no-files -c -o": "tools/test_plan.py::test_what_was_timed_is_printed_and_written",
    "tools/plan.py --evaluation-images --rows -c": "tools/test_plan.py::test_webvision_on_eight_processes_and_on_thirty_two",
    "tools/suspects.py --val": "end_to_end/test_photos_loop.py::test_from_a_folder_to_a_service",
    "tools/suspects.py --decisions --val": "end_to_end/test_photos_loop.py::test_from_a_folder_to_a_service",
    "tools/suspects.py --report --val": "suspects/test_suspects_command.py::test_planted_faults_are_found_and_named",
    "tools/suspects.py --decisions": "suspects/test_suspects_command.py::test_decisions_leave_the_head_of_the_list_and_judge_the_others",
    "tools/suspects.py": "suspects/test_suspects_command.py::test_one_class_one_picture_and_pictures_without_a_sub_folder",
    "tools/suspects.py --list --root": "suspects/test_suspects_command.py::test_a_list_is_read_like_a_recipe_s",
    "tools/report.py --run --suspects": "tools/test_report_command.py::test_the_tool_writes_page_and_list",
}
ALL = commands()
WHOLE = [command for command in ALL if not command.synopsis]
IN_HEADS = [command for recipe in RECIPES for command in head_commands(recipe)]
STANDS_FOR = {"S": "0", "N": "1"}  # a value in capitals that has to be a number


def test_the_picture_of_the_loop_is_what_its_script_draws():
    assert (ROOT / "docs/assets/loop.svg").read_text(encoding="utf-8") == loop_picture.picture()


def test_the_tables_of_results_are_what_the_kept_runs_say():
    for page in results.PAGES:
        text = page.read_text(encoding="utf-8")
        assert results.render(text) == text, f"{page.name}: python -m tools.results writes it anew"


def of_python(found):
    return [command for command in found if command.program.endswith(".py")]


def test_the_documents_hold_commands_and_the_table_no_others():
    assert len(WHOLE) > 40 and len(ALL) > 60
    assert {command.shape for command in WHOLE} - RUN_BY.keys() == set(), "give them a test in RUN_BY"
    assert RUN_BY.keys() - {command.shape for command in ALL} == set(), "no longer in the documents"


@pytest.mark.parametrize("run_by", sorted({test for test in RUN_BY.values() if "not run: " not in test}))
def test_what_runs_a_command_is_there(run_by):
    file, _, name = run_by.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("python train.py -c recipes/folder.yaml --resme", SystemExit),
        ("python eval.py --batch_size many", SystemExit),
        ("python train.py -c recipes/folder.yaml -o stages.clas.batch_size=4", InputError),
        ("python train.py -c recipes/folder.yaml -o data.n_classes=few", InputError),
        ("python tools/plan.py -c recipes/folders.yaml --rows 9", AssertionError),
        ("python tools/plans.py --rows 9", ModuleNotFoundError),
    ],
)
def test_a_wrong_command_would_be_found(text, error, capsys):
    command = read_command("page", 1, text)
    with pytest.raises(error):
        check_recipe(command, parsed(command))


@pytest.mark.parametrize("command", of_python([*WHOLE, *IN_HEADS]), ids=str)
def test_the_program_accepts_the_command(command: Command, capsys):
    try:
        args = parsed(command)
    except SystemExit:
        pytest.fail(f"{command}\n{capsys.readouterr().err}")
    if args is not None:
        check_recipe(command, args)


def check_recipe(command: Command, args) -> None:
    """The recipe is there, and takes every key that the command sets."""
    if command.program == "train.py":
        se_resnext_flags.translate_training(args, ROOT)
    file = getattr(args, "config", None) or getattr(args, "recipe", None)
    if file is None:
        return
    assert (ROOT / file).is_file(), f"{command}: there is no {file}"
    override = [with_numbers(text) for text in getattr(args, "override", [])]
    if command.program == "train.py":
        args.config, args.override = str(ROOT / file), override
        override = [*train.start_overrides(args), *override]
    load_recipe(ROOT / file, override)


def with_numbers(override: str) -> str:
    key, _, value = override.partition("=")
    return f"{key}={STANDS_FOR.get(value, value)}"


@pytest.mark.parametrize("command", of_python(command for command in ALL if command.synopsis), ids=str)
def test_a_synopsis_names_flags_that_the_program_has(command: Command):
    parser = parser_of(command)
    known = set(parser._option_string_actions)
    for action in parser._actions:
        if action.__class__.__name__ == "_SubParsersAction":
            name = command.arguments[0]
            assert name in action.choices, f"{command}: there is {', '.join(action.choices)}"
            known |= set(action.choices[name]._option_string_actions)
    assert set(command.flags) - known == set()


def test_shell_scripts_and_requirement_files_are_there():
    for command in [*ALL, *IN_HEADS]:
        if command.words[0] in ("sh", "."):
            assert (ROOT / command.words[1]).is_file(), str(command)
        if command.words[:3] == ("pip", "install", "-r"):
            assert (ROOT / command.words[3]).is_file(), str(command)
        if command.words[:3] == ("python", "-m", "pytest"):
            assert (ROOT / command.words[3]).is_file(), str(command)
        elif command.words[:2] == ("python", "-m"):
            module = command.words[2]
            assert module == LAUNCHER or importlib.util.find_spec(module), str(command)


def test_the_launcher_takes_its_flags(monkeypatch):
    module = importlib.import_module(f"{LAUNCHER}.context.args_envs")
    launched = [command for command in [*WHOLE, *IN_HEADS] if LAUNCHER in command.words]
    assert launched
    for command in launched:
        monkeypatch.setattr(sys, "argv", ["launch", *command.words[3:]])
        args, unknown = module.parse_args()
        assert (args.training_script, unknown) == (command.program, []), str(command)


# --- the site


def test_every_page_is_on_the_site_and_fetches_nothing(site):
    for page in PAGES:
        name = page.relative_to(ROOT).with_suffix(".html").as_posix()
        place = name[5:] if name.startswith("docs/") else f"repository/{name}".replace("README", "index")
        text = (site / place).read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|link)[^>]*?(?:src|href)=[\"']?(?!#)([^\"' >]+)", text)
        assert fetched
        assert [address for address in fetched if re.match(r"(https?:)?//", address)] == []


def test_links_into_the_repository_lead_to_copies_of_its_files(site):
    text = (site / "faq.html").read_text(encoding="utf-8")
    assert re.search(r'href="?repository/recipes/folder\.yaml"?[ >]', text)
    copied = (site / "repository/recipes/folder.yaml").read_bytes()
    assert copied == (ROOT / "recipes/folder.yaml").read_bytes()
    assert re.search(r'href="?\.\./cli\.html"?[ >]', (site / "repository/index.html").read_text(encoding="utf-8"))


def test_the_reference_has_every_public_name_with_its_docstring(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    listed = re.findall(r"^::: (\S+)$", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted(f"{home}.{name}" for name, home in urnet._HOMES.items())
    for place in listed:
        assert re.search(rf'id="?{re.escape(place)}"?[ >]', text), place


def test_formulas_are_drawn_by_a_copy_that_comes_along(site):
    text = (site / "method.html").read_text(encoding="utf-8")
    assert text.count('class="arithmatex"') > 40
    assert re.search(r'<script defer src="?assets/javascripts/mathjax\.js"?>', text)
    assert (site / "assets/javascripts/mathjax.js").stat().st_size > 1_000_000
    assert "mathjax" not in (site / "cli.html").read_text(encoding="utf-8")  # a page without formulas does without


def test_checkpoints_that_pages_name_are_of_a_recipe_s_stages():
    """output/NAME/STAGE/final where a recipe is called NAME."""
    stages = {path.stem: [stage.name for stage in active_stages(load_recipe(path))] for path in RECIPES}
    found = [
        (page.name, *place)
        for page in PAGES
        for place in re.findall(r"output/(\w+)/(\w+)/(?:final|best)\b", page.read_text(encoding="utf-8"))
        if place[0] in stages
    ]
    assert len(found) > 5
    assert [place for place in found if place[2] not in stages[place[1]]] == []


def test_links_are_named_by_what_they_lead_to():
    """Not by a file's name, which says little on the site."""
    for page in PAGES:
        found = re.findall(r"\[[\w/]+\.md\]\([^)]+\)", page.read_text(encoding="utf-8"))
        assert found == [], page.name


def test_dead_links_end_the_build(tmp_path):
    for folder in ("docs", "tools"):
        (tmp_path / folder).mkdir()
    for hook in ("tools/docs_links.py", "tools/docs_math.py"):
        (tmp_path / hook).write_bytes((ROOT / hook).read_bytes())
    settings, _, _ = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")
    (tmp_path / "mkdocs.yml").write_text(settings)
    (tmp_path / "docs/cli.md").write_text("# Commands\n\n[a](index.md) [b](../mkdocs.yml)\n")
    links = "[a](../recipes/nowhere.yaml) [b](cli.md#nowhere) [c](../../etc/passwd)"
    (tmp_path / "docs/index.md").write_text(f"# Start\n\n{links}\n")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1
    warnings = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 3, done.stderr
    for words in ("'../recipes/nowhere.yaml'", "an anchor '#nowhere'", "'../../etc/passwd'"):
        assert words in done.stderr
