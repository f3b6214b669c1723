"""What the tests of this folder share."""

import subprocess

import pytest

import train
from urnet.core import cli


@pytest.fixture
def call(capfd):
    """train.py's command line in this process, which has imported Paddle already: its outcome as of a process."""

    def outcome(*arguments):
        argv = list(map(str, arguments))
        capfd.readouterr()
        try:
            code = cli.run(train.main, argv)
        except SystemExit as left:  # argparse
            code = left.code
        return subprocess.CompletedProcess(argv, code, *capfd.readouterr())

    return outcome
