"""All stages of a recipe on made digits, a few steps each, then evaluation and prediction with the last weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tools.gpu_check.programs import digits, ended_stages, line_like, run_here, tiny_run
from tools.gpu_check.rows import Row, Settings, attempt

STAGES = ("class", "cluster", "instance", "bag", "label")


def check(settings: Settings) -> Iterator[Row]:
    """train.py, eval.py and infer.py as users call them."""
    data, output = digits(settings.folder / "digits"), settings.folder / "stages"
    amp = ("-o", "stages.*.amp=auto") if settings.gpus else ()
    yield attempt("train.py, five stages", _train, STAGES, *tiny_run(data, output, settings.device, *amp))
    if settings.gpus:  # on a CPU the tests of training have it
        keys = *amp, "-o", "model.compile=true", "--until", "cluster"
        programs = tiny_run(data, settings.folder / "programs", settings.device, *keys)
        yield attempt("two stages as programs", _train, STAGES[:2], *programs)
    weights = output / "digits_web-tiny/label/final"
    flags = ["--pretrained_model", weights, "--img_path", data / "val_images_resized"]
    flags += ["--img_list", data / "info/val_filelist.txt", "--use_gpu", str(bool(settings.gpus))]
    yield attempt("eval.py", lambda: line_like(r"\btop1:\S+ top5:\S+", run_here("eval", *flags)))
    yield attempt("infer.py", lambda: line_like(r"\b\d+ images in .*", run_here("infer", *flags)))


def _train(stages: tuple[str, ...], *argv: object) -> str:
    ended = ended_stages(run_here("train", *argv))
    assert tuple(ended) == stages, f"stages that ended: {list(ended)}"
    folder = Path(str(argv[argv.index("-o") + 3]).partition("=")[2]) / f"digits_web-tiny/{stages[-1]}/final"
    _finite(folder)
    return ", ".join(f"{name} {top1}" for name, top1 in ended.items())


def _finite(checkpoint: Path) -> None:
    import numpy as np

    from urnet.checkpoints.checkpoint import read_weights

    bad = [name for name, value in read_weights(checkpoint).items() if not np.isfinite(value).all()]
    assert not bad, f"{checkpoint.name}: not finite: {', '.join(bad[:3])}"
