"""A measurement of 23 made-up rows in five shards, written once and copied by the tests that change it."""

import shutil

import numpy as np

from urnet.features.shards import Description, write_shard
from urnet.features.store import begin

ABOUT = Description("base", "weights 1", n_rows=23, width=3, k=2, batch_size=4, shard=5)


def arrays(about=ABOUT, seed=0):
    """Random values of every array."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 2 if kind == "|b1" else 1000, shape).astype(kind)
        for name, (kind, shape) in about.arrays(about.n_rows).items()
    }


def write(folder, whole, number, about=ABOUT, rows_at_once=2):
    rows = about.rows(number)
    with write_shard(folder, about, number) as writer:
        for start in range(rows.start, rows.stop, rows_at_once):
            part = slice(start, min(start + rows_at_once, rows.stop))
            writer.append({name: values[part] for name, values in whole.items()})


def make(folder):
    """A whole measurement. Every shard waits for the disk several times, so tests copy one."""
    values = arrays()
    begin(folder, ABOUT)
    for number in range(ABOUT.n_shards):
        write(folder, values, number)
    return folder


def copy(original, folder):
    """Copy it; returns the arrays it holds."""
    shutil.copytree(original, folder, dirs_exist_ok=True)
    return arrays()
