"""The Dockerfile and the systemd unit of the service: their flags are tools/serve.py's, and what they name is there."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import serve
from urnet.core import cli

ROOT = Path(serve.__file__).parents[1]
DEPLOY = ROOT / "tools" / "service" / "deploy"
DOCKERFILE, UNIT = DEPLOY / "Dockerfile", DEPLOY / "urnet-serve.service"


def instructions(name):
    """The arguments of each instruction of this name in the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    return [line.split(maxsplit=1)[1] for line in text.splitlines() if line.split(maxsplit=1)[:1] == [name]]


@pytest.fixture
def unit():
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    return parser


def test_the_container_calls_the_service_with_flags_it_has():
    (entry,) = map(json.loads, instructions("ENTRYPOINT"))
    assert entry[:2] == ["python", "tools/serve.py"]
    args = serve.parse(entry[2:])
    assert (args.model, args.host) == ("/model", "0.0.0.0")
    (port,), (check,) = instructions("EXPOSE"), instructions("HEALTHCHECK")
    assert int(port) == args.port and f"'http://127.0.0.1:{port}/health'" in check
    shown = [line.split() for line in DOCKERFILE.read_text().splitlines() if line.startswith("#   docker ")]
    files = [ROOT / words[words.index("-f") + 1] for words in shown if "-f" in words]
    assert files == [DOCKERFILE] and "/model:ro" in DOCKERFILE.read_text()
    (more,) = re.findall(r"… urnet-serve (.*)", DOCKERFILE.read_text())
    serve.parse([*entry[2:], *more.split()])


def test_the_container_is_pinned_without_root_and_holds_what_it_needs_only():
    assert [re.fullmatch(r"python:3\.\d+-slim-\w+", image) is not None for image in instructions("FROM")] == [True]
    *_, user = instructions("USER")
    assert int(user) > 0
    copied = [name for line in instructions("COPY") for name in line.split()[:-1]]
    assert {"urnet", "models", "tools", "pyproject.toml", "requirements.txt"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in lines and {line[1:] for line in lines if line.startswith("!")} == set(copied)


def test_the_unit_calls_the_service_with_flags_it_has(unit):
    service = unit["Service"]
    python, script, *flags = shlex.split(service["ExecStart"])
    assert Path(python).name == "python" and (ROOT / Path(script).relative_to(service["WorkingDirectory"])).is_file()
    args = serve.parse(flags)
    assert args.host == "127.0.0.1"
    assert service["Restart"] == "on-failure"
    assert int(service["SuccessExitStatus"]) == cli.TERMINATED
    assert int(service["RestartPreventExitStatus"]) == cli.BAD_INPUT
    assert int(service["TimeoutStopSec"]) > args.timeout + 5  # as long as it may take to answer what has begun


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_understands_the_unit(tmp_path):
    text = UNIT.read_text().replace("/opt/urnet/.venv/bin/python", sys.executable).replace("/opt/urnet", str(ROOT))
    (tmp_path / UNIT.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / UNIT.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    about = [line for line in done.stderr.splitlines() if UNIT.name in line]  # not the machine's own units
    assert about == []
