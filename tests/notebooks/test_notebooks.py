"""Every notebook runs from top to bottom, in seconds of processor time."""

import resource
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
CPU_LIMIT_S = 80  # of one notebook; the longest takes half of that
WALL_LIMIT_S = 600  # for one that hangs; other work on the machine counts too


def _children_cpu_s() -> float:
    """Processor time of all ended child processes, and theirs: kernels, compilers, workers."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.filterwarnings("ignore")  # of the notebook machinery; the kernel is another process
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, f"{path.name} is kept without outputs"
            assert len(cell.source.splitlines()) <= 12, f"{path.name} keeps its cells short"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # other tests run beside it
    end, before = time.monotonic() + WALL_LIMIT_S, _children_cpu_s()
    nbclient.NotebookClient(
        notebook,
        timeout_func=lambda cell: max(1, int(end - time.monotonic())),
        resources={"metadata": {"path": tmp_path}},
    ).execute()
    assert _children_cpu_s() - before < CPU_LIMIT_S
