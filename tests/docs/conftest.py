"""The site, built once for all tests of this folder, whichever process runs them."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.doc_commands import ROOT


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "site").exists():
            build(shared / "site.part")
            (shared / "site.part").rename(shared / "site")
    return shared / "site"


def build(folder):
    folder.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", str(ROOT / "tools/build_docs.sh"), str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **os.environ,
            "PATH": path,
            "VIRTUAL_ENV": sys.prefix,
            "http_proxy": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{folder}/index.html\n"
