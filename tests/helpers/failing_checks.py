"""A check of tools/gpu_check that makes a row and then fails in the way that its folder is called."""

import os
import signal
import subprocess
import time

from tools.gpu_check.rows import Row, attempt


def check(settings):
    yield Row("first", "ok", "found")
    how = settings.folder.name
    if how == "raises":
        raise ValueError("what was wrong\nand more of it")
    if how == "killed":
        print("Segmentation of something", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "late":
        child = subprocess.Popen(["sleep", "600"])
        (settings.folder / "child").write_text(str(child.pid))
        time.sleep(600)
    yield attempt("second", str, "done")
