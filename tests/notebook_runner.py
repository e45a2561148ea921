"""Run notebooks through nbval in a process of their own, and keep what every cell said, took and needed.

``run`` is for the tests.  The hooks below it make this file a pytest plugin too: it is loaded into nbval's process,
where it writes a report (one JSON file) of what each cell did.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
sys.path.insert(0, str(ROOT / "tools"))
import lessons  # noqa: E402

# Every lesson's source; index.py is the page of contents, which test_progress.py runs
SCRIPTS = sorted(path for path in (ROOT / "solutions").glob("*.py") if path.stem != "index")
REPORT = "METALEARN_LITE_TEST_REPORT"


def run(paths, strict, updates=None, threads=None, seconds=900):
    """Run notebooks one after another; return {path: list of cells}.

    Each cell is a dict: source, tags, outcome ("passed" or "failed"), message, outputs, seconds, cpu (seconds of the
    processor), peak (MiB, the kernel's so far), count (the execution count stored in the file).  Strict compares the
    outputs with the stored ones. ``updates`` caps each training, ``threads`` the cores of an operation.
    """
    env = lessons.kernel_environment()
    if updates is not None:
        env["METALEARN_LITE_UPDATES"] = str(updates)
    if threads is not None:
        env["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        env[REPORT] = str(report)
        env["PYTHONPATH"] = os.pathsep.join([str(TESTS), env["PYTHONPATH"]])
        command = [sys.executable, "-m", "pytest", *map(str, paths), "--nbval" if strict else "--nbval-lax",
                   "--nbval-current-env", "--nbval-sanitize-with", str(TESTS / "nbval_sanitize.cfg"),
                   "--nbval-cell-timeout", "300", "-p", "no:cacheprovider", "-p", "no:timeout", "-p", "notebook_runner",
                   "-o", "addopts=", "-q", "--color=no"]
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
        if not report.exists():
            raise RuntimeError(f"nbval ended with status {done.returncode} and no report:\n{done.stdout}{done.stderr}")
        cells = json.loads(report.read_text(encoding="utf-8"))
    found = {Path(path): [cell for cell in cells if Path(cell["path"]) == Path(path).resolve()] for path in paths}
    failed = any(cell["outcome"] == "failed" for cell in cells)
    if (done.returncode != 0) != failed:  # the report must not be kinder than nbval itself
        raise RuntimeError(f"nbval ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return found


def failures(cells):
    """What is wrong with a notebook that ran: its failed cells, and code cells that its author never ran."""
    wrong = [f"cell {n} failed: {first_line(cell)}\n{cell['message']}"
             for n, cell in enumerate(cells) if cell["outcome"] == "failed"]
    return wrong + [f"cell {n} was never run, so its output was not compared: {first_line(cell)}"
                    for n, cell in enumerate(cells) if cell["count"] is None]


def first_line(cell):
    return (cell["source"].strip().splitlines() or ["(empty)"])[0]


def text_of(cell):
    """The text of a cell's outputs, one string an output (streams, and the text/plain of anything displayed)."""
    return [output.get("text") or output.get("data", {}).get("text/plain") or output.get("evalue", "")
            for output in cell["outputs"]]


# -------------------------------------------------------------------------------- the plugin, in nbval's process


def use(kernel):
    """What a kernel's process has used so far: seconds of the processor, and its peak of memory in MiB.

    The peak is that of the memory of its own. Pages of library files do not count where the system tells them apart:
    all notebooks share them, the system drops them when it needs room, and how many are mapped (PyTorch's CUDA build has
    gigabytes) differs by 100 MiB between two installations on one machine. The system tells the peak of both together,
    and how many pages of files there are now; where it has dropped some since the peak, their difference would be far too
    large. So it counts only after a cell in which the peak rose. Where no peak is told: what it holds now.
    """
    import psutil
    process = psutil.Process(kernel.km.provisioner.pid)
    memory, times = process.memory_info(), process.cpu_times()
    peak = getattr(memory, "peak_wset", memory.rss) / 2 ** 20
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        said = {name: int(value) for name, value in re.findall(r"(\w+):\s+(\d+) kB", status.read_text())}
        whole, files, own = peaks.get(process.pid, (0, 0, 0))
        if said["VmHWM"] > whole:
            own = max(own, said["VmHWM"] - max(files, said.get("RssFile", 0)))
        own = max(own, said["VmRSS"] - said.get("RssFile", 0))
        peaks[process.pid] = said["VmHWM"], said.get("RssFile", 0), own
        peak = own / 1024
    return times.user + times.system, peak


def pytest_runtest_makereport(item, call):
    if call.when != "call" or REPORT not in os.environ or not hasattr(item, "cell"):
        return
    before = sum(cell["cpu"] for cell in cells if cell["path"] == str(Path(item.fspath).resolve()))
    cpu, peak = use(item.parent.kernel) if item.parent.kernel.is_alive() else (before, 0)
    message = re.sub(r"\x1b\[[0-9;]*m", "", str(item.repr_failure(call.excinfo))) if call.excinfo else ""
    cells.append({"path": str(Path(item.fspath).resolve()), "source": item.cell.source,
                  "tags": item.cell.metadata.get("tags", []), "outcome": "failed" if call.excinfo else "passed",
                  "message": message, "outputs": item.test_outputs or [], "seconds": call.duration,
                  "cpu": cpu - before, "peak": peak,
                  "count": item.cell.execution_count})


def pytest_sessionfinish(session):
    if REPORT in os.environ:
        Path(os.environ[REPORT]).write_text(json.dumps(cells), encoding="utf-8")


cells = []
peaks = {}  # process -> KiB: its peak, its pages of files after the last cell, the peak of the memory of its own
