"""What every test shares: threads, caches, and that child processes import this very tree."""

import gc
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
os.environ["URNET_CACHE"] = ""  # no test writes into a real home
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
os.environ.setdefault("OMP_NUM_THREADS", "2")  # Paddle's own default of 1 would make the suite slow

LONG = ("end_to_end", "robustness", "tools", "models", "training", "pipeline", "inference")  # whose files take longest


def pytest_collection_modifyitems(items):
    """Long files first (`--no-loadscope-reorder` keeps the order), so that short ones fill up what is left."""
    items.sort(key=lambda item: LONG.index(item.path.parent.name) if item.path.parent.name in LONG else len(LONG))


def pytest_collection_finish():
    """Modules and tests stay: no later search for garbage need look at a million objects."""
    gc.freeze()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium; a file that asks for it is skipped without one."""
    from tests.helpers.browser import Browser

    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
