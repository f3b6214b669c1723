"""A command that is refused leaves neither its result nor the folder it was to be in."""

import importlib

import pytest

from urnet.core import cli

REFUSED = {
    "tools.benchmark": ["--data", "{no}", "--out", "{out}/bench"],
    "tools.convert_checkpoint": ["{no}", "{out}/a.safetensors"],
    "tools.ensemble": ["--members", "{no}.csv", "{no}.csv", "--out", "{out}/e.csv"],
    "tools.export": ["--pretrained_model", "{no}", "--out", "{out}/exported"],
    "tools.plan": ["-c", "{no}.yaml", "--json", "{out}/plan.json"],
    "tools.report": ["--run", "{no}", "--out", "{out}/report.html", "--suspects", "{out}/suspects.csv"],
    "tools.submission": ["--predictions", "{no}.csv", "--out", "{out}/s.txt"],
    "tools.transfer": ["--pretrained_model", "{no}", "--voc", "{no}", "--out", "{out}/t.json"],
    "infer": ["--img_path", "{here}", "--pretrained_model", "{no}", "--output", "{out}/p.csv"],
    "infer --save_inference": [
        "--save_inference",
        "True",
        "--pretrained_model",
        "{no}",
        "--inference_dir",
        "{out}/program",
    ],
    "eval": ["--img_path", "{here}", "--pretrained_model", "{no}", "--per_class", "{out}/c.csv"],
}


@pytest.mark.parametrize("command", REFUSED)
def test_nothing_is_left_behind(tmp_path, capsys, command):
    places = {"no": f"{tmp_path}/no", "out": f"{tmp_path}/deep/out", "here": str(tmp_path)}
    argv = [word.format(**places) for word in REFUSED[command]]
    main = importlib.import_module(command.partition(" ")[0]).main
    assert cli.run(main, argv) == cli.BAD_INPUT
    assert "/no" in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
