"""Which key of a recipe was meant by one that it does not have: other libraries' words, and slips of the pen."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from urnet.config.duration import Duration
from urnet.config.fields import hints_of, key_of, without_none

SHOWN = 3
_STAGES, _EACH = "stages.*.", " (* is every stage; a stage's name: that one)"
_MEANT = {  # the key, and how others call it
    "stages.*.duration=N epochs": "epochs epoch n_epochs num_epochs max_epochs total_epochs train_epochs steps "
    "max_steps num_steps iterations iters max_iter num_iters",
    "stages.*.batch_size": "bs batch batchsize train_batch_size per_device_batch_size samples_per_gpu",
    "stages.*.accumulate": "accum accumulation accumulation_steps accum_steps accum_iter grad_accum "
    "gradient_accumulation_steps update_freq",
    "stages.*.schedule.lr": "learning_rate learningrate base_lr max_lr initial_lr init_lr lr0 peak_lr lr_max",
    "stages.*.schedule.final_lr": "min_lr eta_min lr_min end_lr",
    "stages.*.schedule.name": "scheduler lr_scheduler lr_schedule sched lr_policy lr_decay",
    "stages.*.schedule.warmup=N epochs": "warmup_epochs warmup_steps warmup_iters warmup_epoch",
    "stages.*.schedule.gamma": "lr_gamma decay_rate",
    "stages.*.optimizer.name": "optim opt optimizer_name",
    "stages.*.optimizer.weight_decay": "wd l2 l2_decay regularizer weightdecay",
    "stages.*.optimizer.clip_norm": "clip clip_grad grad_clip clip_gradient max_grad_norm gradient_clip_val",
    "stages.*.label_smoothing": "smoothing label_smooth ls_epsilon smooth",
    "stages.*.mixup": "mixup_alpha mix_up",
    "stages.*.ema.decay": "ema_decay model_ema use_ema",
    "stages.*.amp": "fp16 bf16 use_amp mixed_precision precision half",
    "stages.*.loss.name": "criterion loss_fn loss_function loss_name",
    "stages.*.eval_every": "eval_interval val_interval eval_freq val_freq validate_every eval_steps",
    "stages.*.checkpoint_every": "save_interval save_freq save_every save_steps checkpoint_freq",
    "stages.*.log_every": "log_interval print_freq print_interval logging_steps print_batch_step",
    "stages.*.balance": "balanced class_balance balanced_sampler class_balanced sampler oversample",
    "stages.*.loss_weight=[COLUMN]": "class_weight class_weights sample_weight sample_weights row_weights weighted",
    "stages.NAME.start=CHECKPOINT (or imagenet, published weights: --init imagenet)": "pretrained pretrain init "
    "weights checkpoint pretrained_model load_from pretrained_weights finetune_from model_path ckpt imagenet",
    "data.root": "data dataset data_dir data_path dataset_dir dataset_path train_dir train_path train_root train "
    "image_root image_dir images img_dir img_path data_root",
    "data.val_root": "val_dir valid_dir val_path test_dir test_root validation_dir validation valid val eval_dir",
    "data.train_list": "train_file train_txt img_list image_list file_list train_label_list cls_label_path",
    "data.val_list": "val_file val_txt test_list test_file",
    "data.n_classes": "num_classes n_class nb_classes classes class_num class_dim nc number_of_classes",
    "data.class_names": "names labels label_names class_list classes_file label_map",
    "data.workers": "num_workers n_workers nworkers dataloader_num_workers threads num_threads jobs worker",
    "data.max_bad": "skip_bad ignore_bad skip_errors",
    "model.name": "model arch architecture backbone net network model_name",
    "transform.size": "img_size image_size input_size imgsz img_sz resolution crop_size image_shape crop res",
    "transform.resize_short": "resize resize_size resize_short_size",
    "transform.jitter": "color_jitter colour_jitter colorjitter",
    "transform.flip": "hflip horizontal_flip fliplr random_flip",
    "transform.train": "aug augment augmentation",
    "transform.trivial_augment": "trivialaugment trivial_augment_wide trivialaugmentwide ta_wide auto_augment "
    "autoaugment randaugment rand_augment aa",
    "transform.erasing": "random_erasing randomerasing random_erase reprob re_prob cutout",
    "transform.mean": "img_mean image_mean rgb_mean pixel_mean norm_mean normalize",
    "transform.std": "img_std image_std rgb_std pixel_std norm_std",
    "device": "gpu gpus use_gpu cuda gpu_id device_id place",
    "output": "output_dir out out_dir outdir save_dir work_dir log_dir logdir results",
    "name": "exp exp_name experiment run_name project run",
    "seed": "random_seed manual_seed rng",
}
_ALIASES = {word: key for key, words in _MEANT.items() for word in words.split()}


def key_paths(kind: type, methods: Mapping[str, type] | None = None, prefix: str = "") -> Iterator[str]:
    """All keys below a settings dataclass, mappings too; those of an item of a list behind ``*``."""
    for field in dataclasses.fields(kind):
        hint, path = without_none(hints_of(kind)[field.name])[0], f"{prefix}{field.name}"
        yield path
        if get_origin(hint) is tuple and dataclasses.is_dataclass(item := get_args(hint)[0]) and item is not Duration:
            yield from key_paths(item, methods, f"{path}.*.")  # type: ignore[arg-type]
        elif dataclasses.is_dataclass(hint) and hint is not Duration:
            yield from key_paths(hint, methods, f"{path}.")  # type: ignore[arg-type]
        elif key_of(field).by_method:
            inner = (name for settings in (methods or {}).values() for name in key_paths(settings, methods, f"{path}."))
            yield from dict.fromkeys(inner)


def meant(word: str) -> str:
    """The key that other libraries' ``word`` stands for; "" for a word that is not known."""
    return _ALIASES.get(_folded(word), "")


def suggested(key: str, value: Any, known: Iterable[str]) -> str:
    """What to say of an unknown ``key`` (full, with dots): up to three of the ``known`` keys, most like it first."""
    known = list(known)
    *parents, word = key.split(".")
    inner = ""  # of optimizer.lr, whose first word is unknown, the second may be right
    while isinstance(value, dict) and value:
        inner, value = next(iter(value.items()))
    beside = _alike(word, [path for path in known if path.count(".") == len(parents) and _beside(path, key)])
    if not inner:
        found = _same(word, known) or beside or _alike(word, known)
    else:
        both = [*_same(f"{word}.{inner}", known), meant(word)]
        found = beside or [*filter(None, both), *_same(str(inner), known), *_same(word, known)] or _alike(word, known)
    own = ".".join(parents[:2]) if parents[:1] == ["stages"] and len(parents) > 1 else ""
    own = parents[0] if parents[:1] == ["stage_defaults"] else own
    shown = list(dict.fromkeys(path.replace("stages.*", own) if own else path for path in found))[:SHOWN]
    if not shown:
        return "no key is similar; docs/recipes.md lists all of them"
    return f"nearest: {', '.join(shown)}" + (_EACH if any(path.startswith(_STAGES) for path in shown) else "")


def key_for_flag(word: str, known: Iterable[str]) -> str:
    """The key that sets what other programs have a flag ``word`` for; "" for one that is not understood."""
    known = list(known)
    mappings = {path.rpartition(".")[0] for path in known}
    return next((path for path in _same(word, known) if path not in mappings), "")


def _same(word: str, known: Sequence[str]) -> list[str]:
    """The paths that end in ``word``, and what it means elsewhere."""
    found = [path for path in known if f".{_folded(path)}".endswith(f".{_folded(word)}")]
    return [*sorted(found, key=lambda path: path.count(".")), *filter(None, [meant(word)])]


def _folded(word: str) -> str:
    return word.strip().casefold().replace("-", "_")


def _beside(path: str, key: str) -> bool:
    """Whether both are in the same mapping; a stage's name stands for ``*``."""
    theirs, mine = path.split(".")[:-1], key.split(".")[:-1]
    return all(a in ("*", b) for a, b in zip(theirs, mine, strict=True))


def _alike(word: str, known: Sequence[str]) -> list[str]:
    """The paths whose last word is much like ``word``, the most alike first."""
    last: dict[str, list[str]] = {}
    for path in known:
        last.setdefault(path.rpartition(".")[2], []).append(path)
    return [path for name in difflib.get_close_matches(_folded(word), last, n=SHOWN, cutoff=0.7) for path in last[name]]
