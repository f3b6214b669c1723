"""Pickles (``.pdparams``) that would run something, or whose few bytes would become many, are refused."""

from __future__ import annotations

import codecs
import contextlib
import copyreg
import operator
import os
import pickle
import pickletools
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.hostile_files import refused
from urnet.checkpoints import pdparams
from urnet.checkpoints.pdparams import read_arrays
from urnet.checkpoints.restricted_unpickler import Refused, RestrictedUnpickler

FOLLOWED = """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE
    BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1
    TUPLE2 TUPLE3 SETITEM SETITEMS APPEND APPENDS MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET
    GLOBAL STACK_GLOBAL REDUCE BUILD
"""  # the last four through the table of builders only
OTHERS = [opcode for opcode in pickletools.opcodes if opcode.name not in FOLLOWED.split()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.pdparams"


class Calls:
    """An object whose pickle asks for ``function(*arguments)``, with a state if given."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def array_of(shape, kind, data, *, turned=False):
    """A pickled array with these parts."""
    function, arguments, _ = np.ones(1).__reduce__()
    return Calls(function, *arguments, state=(1, shape, np.dtype(kind), turned, data))


# --- what would run something


def objects(trap):
    """Name -> an object whose pickle would touch the file ``trap`` or build no plain array."""
    touch = f"open({str(trap)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, f"touch {trap}"),
        "eval": Calls(eval, touch),
        "exec": Calls(exec, touch),
        "open": Calls(open, str(trap), "w"),
        "subprocess": Calls(subprocess.check_call, ["touch", str(trap)]),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "attrgetter": Calls(operator.attrgetter("system"), Calls(__import__, "os")),
        "map": Calls(tuple, Calls(map, os.system, [f"touch {trap}"])),
        "copyreg": Calls(copyreg._reconstructor, Path, object, None),
        "codec": Calls(codecs.encode, b"x", "zlib"),
        "ndarray": Calls(np.ndarray, (1 << 40,)),
        "load": Calls(np.load, str(trap), None, True),
        "reconstruct": Calls(np.ones(1).__reduce__()[0], np.matrix, (0,), b"b"),
        "object dtype": np.array([Calls(os.system, f"touch {trap}")], object),
        "records": np.zeros(2, [("a", "f4")]),
        "text": np.array(["a"]),
        "complex": np.ones(2, "complex64"),
        "state": Calls(dict, state={"__class__": 1}),
        "in a key": {Calls(os.system, f"touch {trap}"): np.ones(2, "float32")},
        "in a state": Calls(np.ones(1).__reduce__()[0], np.ndarray, (0,), b"b", state=Calls(eval, touch)),
    }


def by_hand(trap):
    """Pickles that touch ``trap``, each through another opcode."""
    text = f"S'touch {trap}'\n".encode()
    function = f"open({str(trap)!r}, 'w').close()"
    evaluated = b"\x8c" + bytes([len(function)]) + function.encode()
    return {
        "REDUCE": b"cos\nsystem\n(" + text + b"tR.",
        "INST": b"(" + text + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + text + b"o.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93" + evaluated + b"\x85R.",
        "BUILD": b"\x80\x04cos\nsystem\n" + text + b"\x85R}b.",
        "NEWOBJ": b"\x80\x04cpathlib\nPath\n)\x81cos\nsystem\n" + text + b"\x85R\x86.",
    }


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("name", objects(""))
def test_hostile_objects_are_refused_and_run_nothing(path, tmp_path, name, protocol):
    trap = tmp_path / "trap"
    path.write_bytes(pickle.dumps({"fc.weight": np.ones(2, "float32"), "x": objects(trap)[name]}, protocol))
    message = refused(lambda: read_arrays(path), ".")
    assert message.startswith(f"{path}: is not a state dict of arrays that paddle.save wrote: ")
    assert not trap.exists()


def test_the_hostile_objects_would_have_run(tmp_path):
    """The check above could not fail if they were harmless."""
    for name in ("os.system", "eval", "exec", "open", "subprocess", "object dtype", "in a state"):
        trap = tmp_path / name.replace(" ", "")
        with contextlib.suppress(Exception):
            pickle.loads(pickle.dumps(objects(trap)[name], 4))
        assert trap.exists(), name


@pytest.mark.parametrize("name", by_hand(""))
def test_pickles_that_would_run_are_refused_and_run_nothing(path, tmp_path, name):
    trap = tmp_path / "trap"
    path.write_bytes(by_hand(trap)[name])
    refused(lambda: read_arrays(path), ".")
    assert not trap.exists()
    with contextlib.suppress(Exception):
        pickle.loads(path.read_bytes())
    assert trap.exists()  # it would have run


@pytest.mark.parametrize("opcode", OTHERS, ids=lambda opcode: opcode.name)
def test_every_other_opcode_is_refused_before_its_argument_is_read(path, opcode):
    path.write_bytes(b"\x80\x04}(" + opcode.code.encode("latin1") + b"\n" * 20 + b".")
    refused(lambda: read_arrays(path), rf"it uses the opcode {opcode.name}( \(data kept outside|$)")


@pytest.mark.parametrize("state", [b"}", b"N", b"}\x8c\x04nameK\x01s", b"N}\x8c\x04nameK\x01s\x86"])
def test_a_builder_cannot_be_changed_by_a_file(path, state):
    """BUILD sets attributes; a changed builder would read the next file otherwise."""
    path.write_bytes(b"\x80\x04cbuiltins\ntuple\n" + state + b"b.")
    refused(lambda: read_arrays(path), "gives a state to something that takes none")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cos\nsystem\n.", "asks for 'os.system'"),
        (b"\x80\x04c" + b"x" * 5000, "ends early, or in a long name"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x", "ends early"),
        (b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.", "ends early"),
        (b"\x80\x02X" + struct.pack("<I", 4_000_000_000) + b"x", "ends early"),
        (b"\x80\x04I" + b"9" * 100_000 + b"\n.", "uses the opcode INT"),
        (b"\x80\x04cnumpy\nndarray\n)R.", "numpy.ndarray called"),
        (b"\x80\x04})R.", "not callable"),
        (b"\x80\x04t.", "a mark or memo is missing"),
        (b"\x80\x04}s.", "stack runs empty"),
        (b"\x80\x04h\x07.", "a mark or memo is missing"),
        (b"\x80\x04(}s.", "a key that is not text"),
        (b"\x80\x04}(\x8c\x01au.", "odd number of items"),
        (b"\x80\x04}]K\x01s.", "a key that is not text"),
        (b"\x80\x04P1\n.", "opcode PERSID"),
        (b"\x80\x04\x82\x01.", "opcode EXT1"),
        (b"\xff.", "unknown opcode"),
        (b"", "ends early"),
        (b"NN.", "does not end with one object"),
        (b"N.N", "does not end with one object"),
        (b"PK\x03\x04", "torch.save wrote it"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "torch.save wrote it"),
    ],
)
def test_hand_made_pickles(path, content, message):
    path.write_bytes(content)
    refused(lambda: read_arrays(path), message)


# --- few bytes that would become many


def test_few_bytes_do_not_become_many_arrays(path):
    """One MiB that 300 arrays, each turned and so copied, or 300 names of one array, share."""
    data = bytes(1 << 20)
    path.write_bytes(pickle.dumps({f"k{i}": array_of((1024, 1024), "u1", data, turned=True) for i in range(300)}, 4))
    refused(lambda: read_arrays(path), r"has \d+ bytes, but its entries would take 314572800")
    shared = np.zeros(1 << 19, np.uint16)  # bfloat16: each name would get a float32 copy
    path.write_bytes(pickle.dumps({f"k{i}": shared for i in range(300)}, 4))
    refused(lambda: read_arrays(path), r"has \d+ bytes, but its entries would take 314572800")
    tied = {f"k{i}": shared for i in range(4)}
    path.write_bytes(pickle.dumps(tied, 4))
    assert set(read_arrays(path)) == set(tied)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


@pytest.mark.parametrize(
    ("shared", "call"),
    [
        (b"](" + b"K\x01" * 20_000 + b"e", b"c__builtin__\ntuple\nh\x01\x85R"),
        (text("x" * 40_000), b"c_codecs\nencode\nh\x01" + text("latin1") + b"\x86R"),
        (b"(" + b"K\x01" * 20_000 + b"t", b"ccollections\nOrderedDict\n](" + b"h\x01" * 50 + b"e\x85R"),
    ],
    ids=["tuple", "bytes", "dict"],
)
def test_few_bytes_do_not_become_many_objects(path, shared, call):
    """40 KB that 1,000 calls copy: 40 MB to 8 GB."""
    calls = (text(f"k{i:04}") + call for i in range(1000))
    path.write_bytes(b"\x80\x04}(" + text("a") + shared + b"q\x01" + b"".join(calls) + b"u.")
    refused(lambda: read_arrays(path), "repeats the same data until|a key that is not text")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"Nr" + struct.pack("<I", 1 << 31) + b".", "leaves many places of its memo empty"),
        (b"Nr" + struct.pack("<I", 3000) + b".", "leaves many places of its memo empty"),
        (b"}" * 1_000_000 + b".", "has more than 1000000 opcodes"),
        (b"}" + b")" + b"\x85" * 200_000 + b"Ns.", "a key that is not text"),  # hashing it ends the process
        (b")" + b"\x85" * 200_000 + b".", "a state dict is needed, found tuple"),
        (b"]q\0" * 100_000 + b"a" * 99_999 + b".", "a state dict is needed, found list"),
        (b"}" + text("a") + b"cnumpy\nndarray\nq\0h\0Ns.", "a key that is not text"),
    ],
)
def test_what_would_take_memory_or_end_the_process(path, content, words):
    path.write_bytes(b"\x80\x02" + content)
    refused(lambda: read_arrays(path), words, mib=128)


@pytest.mark.parametrize("shape", [(2**2000,) * 20_000, (1,) * 33, (2**63,), (2**62, 2**62), (-2, -1), (2.0,), ("2",)])
def test_a_shape_is_a_few_numbers_of_64_bits(path, shape):
    """The product of 20,000 numbers of 2,000 bits takes an hour."""
    path.write_bytes(pickle.dumps({"x": array_of(shape, "f4", b"1234")}, 4))
    refused(lambda: read_arrays(path), "an array (that is not shape|of shape)")


@pytest.mark.parametrize("tree", [{5: np.ones(2)}, {"a": {2**61 - 1: 1}}, {None: np.ones(2)}, {(1, 2): np.ones(2)}])
def test_keys_are_text(path, tree):
    """Numbers can be chosen to make a dict slow, and no parameter is called so."""
    path.write_bytes(pickle.dumps(tree, 4))
    refused(lambda: read_arrays(path), "a key that is not text")


def test_slices_of_a_shape_that_no_array_has(path):
    for shape in ((2**70,), (-1, 3), ("a",), "ab"):
        tree = {"w@@.0": np.ones(4, "f4"), pdparams.BIG_ARRAYS: {"w": {"OriginShape": shape, "slices": ["w@@.0"]}}}
        path.write_bytes(pickle.dumps(tree, 2))
        refused(lambda: read_arrays(path), "does not fit its slices")


# --- persistent identifiers, which other formats use


def test_persistent_identifiers_go_to_the_caller_only(path):
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", "0", 3) if isinstance(obj, np.ndarray) else None

    with path.open("wb") as stream:
        Pickler(stream, 2).dump({"w": np.ones(3)})
    refused(lambda: read_arrays(path), r"opcode BINPERSID \(data kept outside the pickle, as PyTorch does\)")
    with path.open("rb") as stream:
        assert RestrictedUnpickler(stream, {}, persistent_load=list).load() == {"w": ["storage", "0", 3]}
        with pytest.raises(Refused, match="BINPERSID"):
            stream.seek(0)
            RestrictedUnpickler(stream, {})
