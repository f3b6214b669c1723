"""The rooms of ``urnet`` and the rule between them: imports go down or sideways, never up, never in a circle.

A new module is entered in LEVELS, and its docstring starts with the same "Level N:". Imports inside
functions, under ``if TYPE_CHECKING`` and through ``importlib.import_module("...")`` count as well. Networks
(``models``) and programs are no business of ``urnet``: they arrive as arguments.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LEVELS = {
    # foundations: checks, files, recipes, the table
    0: """base_writer checks cli cores duration files image_header lifeline list_lines progress random_box
          recipe recipe_checks recipe_reweight recipe_rival_checks recipe_rivals stop table typed_yaml""",
    # lists of images, reweightings, metrics: still without Paddle and OpenCV
    1: """average_precision class_folders ensemble ensemble_judgement ensemble_weights example_flags
          image_list judge
          listing measurement metrics pickle_machine predict_flags prediction_files prediction_formats
          predictions queries report report.build report.charts report.class_sections report.columns
          report.counting report.gallery report.overview report.page report.run_state report.style
          report.suspect_sections report.suspects report.text reweight reweight.calibration
          reweight.class_shares reweight.class_similarity reweight.class_size reweight.cluster
          reweight.folds reweight.instance reweight.label reweight.label_noise reweight.out_of_fold
          reweight.posterior reweight.projection reweight.relevance reweight.trust rivals rivals.breaks
          rivals.curriculum rivals.densities rivals.gate rivals.relabel row_weights scores shards submission
          text_evidence text_vectors voc webvision webvision_metadata""",
    # images, weights, and the parts of a training step
    2: """arrays bags checkpoint convert curves dataset decode_ahead decode_worker ema fluid images loading
          losses mixed_order multi_crop normalise optimizer precision reduced_decode report.images
          robust_losses safe_pickle sampler schedule signature threads uploads worker_pool world""",
    # trainer, predictor, evaluation, export
    3: """answers attention bulletin early_memory evaluate export exported fold image_predictor library
          measure predict_cli predictor program_cache run_folder stage_inputs stage_plan task train_log
          train_step trainer update_loss urnet validation""",
    # a whole recipe
    4: "stage_checks stage_columns stage_evidence stage_rivals stages",
}

# The lowest level that may import a library. The standard library is free, everything else is refused.
LIBRARIES = {
    0: "numpy pyarrow yaml tqdm",
    1: "joblib scipy sklearn threadpoolctl",
    2: "paddle cv2 safetensors visualdl",
}

LIBRARY_LEVEL = {name: level for level, names in LIBRARIES.items() for name in names.split()}
LEVEL_OF = {
    "urnet" if name == "urnet" else f"urnet.{name}": level
    for level, names in LEVELS.items()
    for name in names.split()
}


def module_names(root: Path) -> dict[str, Path]:
    """Every module of the package below ``root``, by its dotted name."""
    found = {}
    for path in sorted((root / "urnet").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.Module, module: str, modules: dict[str, Path]) -> set[str]:
    """Dotted names of what a module imports, anywhere in it; `from a import b` is a.b if that is a module."""
    package = module if modules[module].name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                names.add(full if full in modules else base)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and node.args:
                argument = node.args[0]
                names.add(argument.value if isinstance(argument, ast.Constant) else "<a computed name>")
    return names - {"__future__"}


def fault_of(module: str, level: int, name: str, modules: dict[str, Path]) -> str:
    """What is wrong with ``module`` importing ``name``; an empty text if nothing is."""
    library = name.split(".")[0]
    if library == "urnet":
        target = LEVEL_OF.get(name)
        if name not in modules or target is None:
            return f"{module} imports {name}, which is no listed module"
        return f"{module} (level {level}) imports {name} (level {target})" if target > level else ""
    if library in LIBRARY_LEVEL:
        lowest = LIBRARY_LEVEL[library]
        return f"{module} (level {level}) imports {name}; level {lowest} may" if level < lowest else ""
    standard = getattr(sys, "stdlib_module_names", None)  # Python 3.9 cannot tell
    if library in {"models", "tools", "tests", "train", "infer", "eval", "<a computed name>"} or (
        standard is not None and library not in standard
    ):
        return f"{module} imports {name}, which no module of urnet may"
    return ""


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """One circle of imports, or an empty list: modules are taken away as long as one imports no other."""
    graph = {module: targets & graph.keys() - {module} for module, targets in graph.items()}
    while free := {module for module, targets in graph.items() if not targets}:
        graph = {module: targets - free for module, targets in graph.items() if module not in free}
    return sorted(graph)


def violations(root: Path) -> list[str]:
    """Everything that breaks the rule in the package below ``root``."""
    modules = module_names(root)
    found = [f"{name} is listed but not there" for name in sorted(LEVEL_OF.keys() - modules.keys())]
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        level = LEVEL_OF.get(module)
        if level is None:
            found.append(f"{module} is not listed in tests/test_imports.py")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if module != "urnet" and not (ast.get_docstring(tree) or "").startswith(f"Level {level}: "):
            found.append(f"{module} is listed at level {level}, but its docstring does not start so")
        graph[module] = imported(tree, module, modules)
        faults = (fault_of(module, level, name, modules) for name in sorted(graph[module]))
        found += [fault for fault in faults if fault]
    circle = circle_in(graph)
    return found + ([f"these import one another in a circle: {', '.join(circle)}"] if circle else [])


def test_imports_go_down_only():
    assert violations(ROOT) == []


def test_no_module_is_listed_twice():
    names = [name for names in LEVELS.values() for name in names.split()]
    assert len(names) == len(set(names))


@pytest.fixture
def planted(tmp_path):
    """A package that obeys, every listed module with a docstring only; returns a way to add text to one."""
    for module, level in LEVEL_OF.items():
        folder = tmp_path.joinpath(*module.split("."))
        is_package = (ROOT.joinpath(*module.split(".")) / "__init__.py").exists()
        path = folder / "__init__.py" if is_package else folder.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""Level {level}: a room."""\n')

    def plant(module: str, text: str) -> list[str]:
        path = tmp_path / "urnet" / f"{module}.py"
        path.write_text((path.read_text() if path.exists() else "") + text)
        return violations(tmp_path)

    return plant


@pytest.mark.parametrize(
    ("module", "text", "fault"),
    [
        ("checks", "from urnet.trainer import x", "urnet.checks (level 0) imports urnet.trainer (level 3)"),
        ("checks", "from urnet import listing", "urnet.checks (level 0) imports urnet.listing (level 1)"),
        ("checks", "from . import listing", "urnet.checks (level 0) imports urnet.listing (level 1)"),
        (
            "checks",
            "from .reweight.class_size import x",
            "(level 0) imports urnet.reweight.class_size (level 1)",
        ),
        ("checks", "import urnet.stages as s", "urnet.checks (level 0) imports urnet.stages (level 4)"),
        (
            "trainer",
            "def f():\n    import urnet.stages",
            "urnet.trainer (level 3) imports urnet.stages (level 4)",
        ),
        (
            "metrics",
            "def f():\n    import paddle.nn",
            "urnet.metrics (level 1) imports paddle.nn; level 2 may",
        ),
        ("recipe", "import cv2", "urnet.recipe (level 0) imports cv2; level 2 may"),
        ("table", "from sklearn.cluster import KMeans", "(level 0) imports sklearn.cluster; level 1 may"),
        ("stages", "from models import build", "urnet.stages imports models, which no module of urnet may"),
        (
            "stages",
            "def f():\n    import models.resnext",
            "imports models.resnext, which no module of urnet may",
        ),
        ("stages", 'importlib.import_module("models")', "imports models, which no module of urnet may"),
        ("stages", "__import__(name)", "imports <a computed name>, which no module of urnet may"),
        ("stages", "from urnet.nowhere import x", "imports urnet.nowhere, which is no listed module"),
        ("stray", '"""Level 0: a room."""', "urnet.stray is not listed in tests/test_imports.py"),
    ],
)
def test_the_guard_bites(planted, module, text, fault):
    assert planted("stages", "import paddle\nimport json\nfrom urnet import evaluate\n") == []
    found = planted(module, text)
    assert len(found) == 1
    assert fault in found[0]


def test_circles_and_wrong_docstrings_are_found(planted, tmp_path):
    assert planted("checks", "import urnet.files\n") == []
    assert planted("files", "def f():\n    from urnet.checks import g\n") == [
        "these import one another in a circle: urnet.checks, urnet.files"
    ]
    (tmp_path / "urnet" / "files.py").write_text('"""Level 1: a room."""\n')
    assert planted("stages", "") == ["urnet.files is listed at level 0, but its docstring does not start so"]
    (tmp_path / "urnet" / "files.py").unlink()
    assert planted("stages", "") == [
        "urnet.files is listed but not there",
        "urnet.checks imports urnet.files, which is no listed module",
    ]
