"""The table: what is written comes back, identity is the rows', and no file is half there or another's."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from urnet.core.checks import InputError
from urnet.data.table.table import BLOCK, SOURCES, BaseWriter, Table

WORDS = ("boat", "naïve café", "日本", "", "a\nb", "🛶 canoe", "x" * 300)
STAGE = {"stage": "class", "recipe_hash": "abc", "checkpoint": "none"}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def random_rows(n: int, seed: int = 0) -> dict[str, list]:
    rng = np.random.default_rng(seed)
    return {
        "path": [f"dir {i % 7}/ü{rng.integers(1 << 30)}.jpg" for i in range(n)],
        "label": rng.integers(0, 5, n).tolist(),
        "source": [SOURCES[i] for i in rng.integers(0, 3, n)],
        "query": rng.integers(-1, 9, n).tolist(),
        "rank": rng.integers(-1, 99, n).tolist(),
        "text": [WORDS[i] for i in rng.integers(0, len(WORDS), n)],
    }


def write(folder: Path, rows: dict[str, list], step: int = 1 << 30, **options) -> str:
    """Write rows, at most ``step`` at a time; runs of one source go in together."""
    options = {"root": folder, "format": "list", "class_names": ["a", "b", "c", "d", "e"], **options}
    n, start = len(rows["label"]), 0
    with BaseWriter(folder, **options) as writer:
        while start < n:
            stop = start + 1
            while stop < min(n, start + step) and rows["source"][stop] == rows["source"][start]:
                stop += 1
            part = {name: values[start:stop] for name, values in rows.items()}
            writer.add(
                part["path"],
                np.array(part["label"]),
                source=part["source"][0],
                query=np.array(part["query"]),
                rank=np.array(part["rank"]),
                text=pa.array(part["text"]),
            )
            start = stop
    return writer.hash


def test_what_was_written_comes_back(tmp_path):
    n = 3000
    rows = random_rows(n)
    write(tmp_path, rows)
    table = Table.open(tmp_path)
    order = np.random.default_rng(1).integers(0, n, 500)
    assert table.n_rows == n
    assert table.columns == ("path", "label", "source", "query", "rank", "text")
    for name in ("label", "query", "rank"):
        assert table.column(name).dtype == np.int32
        assert table.column(name).tolist() == rows[name]
    for name in ("path", "text", "source"):
        assert table.strings(name, order) == [rows[name][i] for i in order]
    assert [SOURCES[i] for i in table.column("source")] == rows["source"]
    assert table.class_names == ["a", "b", "c", "d", "e"]
    assert table.metadata["n_classes"] == "5" and table.metadata["format"] == "list"


def test_rows_across_record_batches(tmp_path):
    n = 2 * BLOCK + 17
    label = np.arange(n) % 3
    with BaseWriter(tmp_path, root="/", format="list", class_names=["a", "b", "c"]) as writer:
        for start in range(0, n, 50_001):
            stop = min(start + 50_001, n)
            writer.add([f"p{i}" for i in range(start, stop)], label[start:stop], query=start)
    table = Table.open(tmp_path)
    rows = np.array([0, BLOCK - 1, BLOCK, 2 * BLOCK, n - 1, 5, BLOCK])
    assert table.strings("path", rows) == [f"p{i}" for i in rows]
    assert table.paths([BLOCK]) == [f"/p{BLOCK}"]
    assert [table.path(row) for row in (0, BLOCK - 1, BLOCK)] == table.paths([0, BLOCK - 1, BLOCK])
    np.testing.assert_array_equal(table.column("label"), label)
    np.testing.assert_array_equal(table.column("query"), np.arange(n) // 50_001 * 50_001)


def test_the_hash_is_of_the_rows_alone(tmp_path):
    """However they arrive, and wherever the data and the table are; any other value is another table."""
    rows = random_rows(50)
    expected = "514264e0db751dd2a98ac1a0cf0c53c25e735ff37ae0c64fc476cbc4a5229919"
    for place, options in (("a", {}), ("b", {"step": 7}), ("c", {"root": "/elsewhere", "format": "webvision2"})):
        assert write(tmp_path / place, rows, **options) == expected == Table.open(tmp_path / place).base_hash
    changes = {"path": "z", "label": (rows["label"][0] + 1) % 5, "query": 77, "rank": 77, "text": "other"}
    others = [{**rows, name: [other, *rows[name][1:]]} for name, other in changes.items()]
    others.append({name: values[::-1] for name, values in rows.items()})  # another order
    ends = [rows["path"][0] + rows["path"][1][0], rows["path"][1][1:], *rows["path"][2:]]  # the same characters
    others.append({**rows, "path": ends})
    hashes = {write(tmp_path / f"other{i}", other) for i, other in enumerate(others)}
    assert len(hashes | {expected}) == 8


@pytest.fixture
def table(tmp_path):
    write(tmp_path / "t", random_rows(100))
    return Table.open(tmp_path / "t")


def test_columns_round_trip(table):
    rng = np.random.default_rng(0)
    columns = {
        "class_weight": rng.random(100, np.float32),
        "cluster": rng.integers(0, 9, 100).astype(np.int16),
        "topk_index": rng.integers(0, 5, (100, 3)).astype(np.int32),
        "topk_prob": rng.random((100, 3)).astype(np.float16),
    }
    table.write("stage1", columns, **STAGE)
    for opened in (table, Table.open(table.folder), pickle.loads(pickle.dumps(table))):
        for name, values in columns.items():
            got = opened.column(name)
            assert got.dtype == values.dtype and got.tobytes() == values.tobytes()
            assert not got.flags.writeable
        assert opened.columns[6:] == tuple(columns)
        assert opened.describe("stage1") == {**STAGE, "base_hash": table.base_hash}


def test_writing_twice_needs_replace(table):
    ones, twos = np.ones(100, np.float32), np.full(100, 2, np.float32)
    table.write("one", {"w": ones}, **STAGE)
    before = (table.folder / "one.arrow").read_bytes()
    with pytest.raises(InputError, match=r"one\.arrow: exists already"):
        table.write("one", {"w": twos}, **STAGE)
    assert (table.folder / "one.arrow").read_bytes() == before
    view = table.column("w")
    table.write("one", {"w2": twos}, **STAGE, replace=True)
    assert table.columns[6:] == ("w2",) and table.column("w2")[0] == 2
    assert (view == 1).all()  # what was handed out stays
    with pytest.raises(InputError, match=r"base\.arrow: exists already"):
        write(table.folder, random_rows(3))


def test_a_column_is_in_one_file(table):
    table.write("one", {"w": np.ones(100)}, **STAGE)
    with pytest.raises(InputError, match=r"two\.arrow: column w is already in one\.arrow"):
        table.write("two", {"w": np.ones(100)}, **STAGE)
    with pytest.raises(InputError, match=r"column label is already in base\.arrow"):
        table.write("two", {"label": np.ones(100)}, **STAGE)
    assert not (table.folder / "two.arrow").exists()


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("one", np.ones(99), r"has 100 rows but column w has 99"),
        ("one", np.array(["a"] * 100), r"column w: numbers \(N,\) or \(N, k\) are needed, found <U1 \(100,\)"),
        ("one", np.ones((100, 2, 2)), r"found float64 \(100, 2, 2\)"),
        ("base", np.ones(100), r"table file 'base'"),
        ("../up", np.ones(100), r"table file '\.\./up'"),
    ],
)
def test_bad_columns_are_refused(table, file, values, message):
    with pytest.raises(InputError, match=message):
        table.write(file, {"w": values}, **STAGE)
    assert names_in(table.folder) == ["base.arrow"]


def test_a_column_of_another_base_names_both(table, tmp_path):
    table.write("one", {"w": np.ones(100)}, **STAGE)
    other_hash = write(tmp_path / "other", random_rows(100, seed=5))
    (tmp_path / "other" / "one.arrow").write_bytes((table.folder / "one.arrow").read_bytes())
    with pytest.raises(InputError) as caught:
        Table.open(tmp_path / "other")
    message = str(caught.value)
    assert str(tmp_path / "other" / "one.arrow") in message and table.base_hash[:16] in message
    assert str(tmp_path / "other" / "base.arrow") in message and other_hash[:16] in message


def test_asking_for_what_is_not_there(table):
    with pytest.raises(InputError, match="no column 'lable'; nearest: label"):
        table.column("lable")
    with pytest.raises(InputError, match="'text' holds text"):
        table.column("text")
    with pytest.raises(InputError, match="'label' holds numbers"):
        table.strings("label", [0])
    with pytest.raises(InputError, match="no column file 'clas'; it has: none yet"):
        table.describe("clas")
    for rows in ([100], [-1]):
        with pytest.raises(IndexError):
            table.strings("path", rows)
    assert table.strings("path", []) == []


def test_broken_files_are_named(table, tmp_path):
    with pytest.raises(InputError, match=r"base\.arrow: not found"):
        Table.open(tmp_path / "nowhere")
    whole = (table.folder / "base.arrow").read_bytes()
    for end in (0, 3, len(whole) // 2, len(whole) - 1):
        (table.folder / "base.arrow").write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"base\.arrow: is not a whole Arrow file"):
            Table.open(table.folder)
    with pa.OSFile(str(table.folder / "base.arrow"), "wb") as sink:
        plain = pa.table({"a": [1]})
        with pa.ipc.new_file(sink, plain.schema) as writer:
            writer.write_table(plain)
    with pytest.raises(InputError, match="not one of a table"):
        Table.open(table.folder)


def test_an_error_while_writing_leaves_nothing(tmp_path):
    with (
        pytest.raises(RuntimeError, match="enough"),
        BaseWriter(tmp_path, root="/", format="list", class_names=["a"]) as writer,
    ):
        writer.add(["p"] * 70_000, np.zeros(70_000, int))
        raise RuntimeError("enough")
    assert names_in(tmp_path) == []


def test_an_empty_table_opens(tmp_path):
    with BaseWriter(tmp_path, root="/", format="list", class_names=["a"]):
        pass
    table = Table.open(tmp_path)
    assert table.n_rows == 0 and len(table.column("label")) == 0 and table.strings("path", []) == []


def test_opening_does_not_read_the_rows(tmp_path):
    """Damage in the texts goes unseen by opening, and nothing of the file is copied into memory."""
    with BaseWriter(tmp_path, root="/", format="list", class_names=["a"]) as writer:
        for _ in range(4):
            writer.add(["p"] * BLOCK, np.zeros(BLOCK, int), text=["t" * 100] * BLOCK)
    whole = (tmp_path / "base.arrow").read_bytes()
    place = whole.index(b"t" * 100)
    (tmp_path / "base.arrow").write_bytes(whole[:place] + b"T" + whole[place + 1 :])
    before = pa.total_allocated_bytes()
    table = Table.open(tmp_path)
    assert pa.total_allocated_bytes() - before < 1 << 16
    assert (table.n_rows, table.base_hash) == (4 * BLOCK, writer.hash)
    assert table.strings("text", [0, 1]) == ["T" + "t" * 99, "t" * 100]
