"""docs/reliability.md names tests that exist; no opcode of a pickle that could call something is followed."""

from __future__ import annotations

import contextlib
import pickle
import pickletools
import re
from pathlib import Path

import pytest

from urnet.checkpoints import checkpoint
from urnet.core.checks import InputError

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
FOLLOWED = """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE
    BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1
    TUPLE2 TUPLE3 SETITEM SETITEMS APPEND APPENDS MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET
    GLOBAL STACK_GLOBAL REDUCE BUILD
"""  # the last four through the table of builders only
OTHERS = [opcode for opcode in pickletools.opcodes if opcode.name not in set(FOLLOWED.split())]


def test_every_test_that_the_page_names_exists():
    """`test_x.py`, `test_x.py::test_y`, and `::test_y` in the file named last."""
    file, cited = "", 0
    for name, function in re.findall(
        r"`(test_\w+\.py)?(?:::(test_\w+)(?:\[\w+\])?)?`", PAGE.read_text(encoding="utf-8")
    ):
        file = name or file
        if file == "test_x.py" or not (name or function):  # the page's own explanation
            continue
        text = (TESTS / file).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in text, f"{file}::{function}"
        cited += 1
    assert cited > 50


@pytest.mark.parametrize("opcode", OTHERS, ids=lambda opcode: opcode.name)
def test_every_other_opcode_is_refused_before_its_argument_is_read(tmp_path, opcode):
    (tmp_path / "x.pdparams").write_bytes(b"\x80\x04}(" + opcode.code.encode("latin1") + b"\n" * 20 + b".")
    with pytest.raises(InputError, match=f"it uses the opcode {opcode.name}$"):
        checkpoint.read_weights(tmp_path / "x.pdparams")


def calls(trap: Path) -> dict[str, bytes]:
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


@pytest.mark.parametrize("name", calls(Path("trap")))
def test_pickles_that_would_run_are_refused_and_run_nothing(tmp_path, name):
    trap, file = tmp_path / "trap", tmp_path / "x.pdparams"
    file.write_bytes(calls(trap)[name])
    with pytest.raises(InputError):
        checkpoint.read_weights(file)
    assert not trap.exists()
    with contextlib.suppress(Exception):
        pickle.loads(file.read_bytes())
    assert trap.exists()  # it would have run
