"""README's picture of a report: the top of the page of `sh run.sh`, for light and for dark pages.

    python -m tools.report_picture output/digits_web/report.html

Writes docs/assets/report_light.webp and report_dark.webp. Needs Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2

from urnet.core import cli
from urnet.core.atomic_files import atomic_file
from urnet.core.checks import InputError

ASSETS = Path(__file__).resolve().parents[1] / "docs" / "assets"
SIZE = (1000, 710)  # pixels: two rows of suspects
NAMES = ("chromium", "chromium-browser", "google-chrome")
DARK = "--blink-settings=preferredColorScheme=0"


def main(argv: Sequence[str]) -> None:
    """Write both pictures. Raises InputError without Chromium or the page."""
    parser = cli.Parser("tools/report_picture.py", description=__doc__)
    parser.add_argument("page", type=Path, metavar="REPORT.html", help="the report to show")
    page = parser.parse_args(argv).page.resolve()
    if not page.is_file():
        raise InputError(f"{page}: not a file; `sh run.sh` writes output/digits_web/report.html")
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        raise InputError(f"no browser: none of {', '.join(NAMES)} is installed")
    with tempfile.TemporaryDirectory() as folder:
        for name, more in (("light", []), ("dark", [DARK])):
            shot = Path(folder) / f"{name}.png"
            flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *more]
            size = f"--window-size={SIZE[0]},{SIZE[1]}"
            command = [browser, *flags, size, f"--screenshot={shot}", page.as_uri()]
            subprocess.run(command, check=True, capture_output=True)
            data = cv2.imencode(".webp", cv2.imread(str(shot)), [cv2.IMWRITE_WEBP_QUALITY, 80])[1]
            with atomic_file(ASSETS / f"report_{name}.webp", replace=True) as part:
                part.write_bytes(data.tobytes())


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
