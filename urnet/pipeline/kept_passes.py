"""How many training images passed a frozen part for which stage, however often the run was interrupted meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from urnet.core.atomic_files import atomic_file, recover_folder
from urnet.core.checks import InputError

FILE = "kept.passes.json"  # of a run; a stage's name has no dot


class KeptPasses:
    """HOME/kept.passes.json: for each asker and file of activations, how many were there when it first asked.

    Those that were added since are the passes it made. A stage asks for what it trains on when its measuring has asked,
    so none counts twice. Only the process that ``writes`` asks.
    """

    def __init__(self, home: Path, *, writes: bool) -> None:
        self._file, self._writes = home / FILE, writes

    def begin(self, asker: str, place: Path, n_records: int) -> None:
        """Note that the file holds ``n_records`` before ``asker`` adds to it, unless that is noted already."""
        if not self._writes:
            return
        noted = self._noted()
        own = noted.setdefault(asker, {})
        if own.get(place.name, n_records + 1) <= n_records:
            return
        own[place.name] = n_records  # of a file with fewer than noted everything was made anew
        recover_folder(self._file)  # what a killed writer left
        with atomic_file(self._file, replace=True) as part:
            part.write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def made(self, asker: str, place: Path, records: np.ndarray) -> int:
        """How many of these records (N,), one per picture, -1 for none, the asker added; 0 where nobody asks."""
        return int(np.count_nonzero(records >= self._noted()[asker][place.name])) if self._writes else 0

    def _noted(self) -> dict[str, dict[str, int]]:
        if not self._file.is_file():
            return {}
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return {asker: {place: int(n) for place, n in own.items()} for asker, own in found.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self._file}: cannot be read ({error}); remove it (the passes so far are then lost)"
            ) from None
