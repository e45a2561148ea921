"""Every lesson, run from top to bottom: solutions at full length, lessons untouched and with a few updates.

Solutions run one at a time, on two threads: two that train side by side take many times as long. Untouched lessons hardly
train: they run side by side, each on one thread.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import notebook_runner
from notebook_runner import SCRIPTS, first_line, lessons

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.notebook

CELL_SECONDS, MEBIBYTES = 25, 1024  # what a cell, and a lesson, may take on an idle machine with two cores
SLACK = 2  # the times are printed against the budget and asserted against this many times it: machines are busy
UPDATES = 3


@pytest.fixture(scope="module", autouse=True)
def fonts():
    """Matplotlib's first use on a machine may print a warning while it lists the fonts: not in a lesson's cell."""
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], check=True, capture_output=True)


def names(script):
    return script.stem


def budget(stem):
    """Seconds a lesson may take; from 03 on they train several networks."""
    return 90 if stem[:2].isdigit() and int(stem[:2]) >= 3 else 60


def test_there_are_lessons():
    assert SCRIPTS, f"no lessons in {ROOT / 'solutions'}"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", SCRIPTS, ids=names)
def test_the_solution_gives_its_stored_outputs(script, say):
    path = script.with_suffix(".ipynb")
    assert path.exists(), f"python tools/lessons.py build {script.stem}"
    cells = notebook_runner.run([path], strict=True)[path]
    say(f"  {script.stem}: {took(cells, budget(script.stem))}")
    wrong = notebook_runner.failures(cells)
    assert not wrong, "\n".join(wrong)
    # a machine with other work to do takes longer, but no more of the processor: so the smaller of the two counts
    assert min(sum(cell[kind] for cell in cells) for kind in ("seconds", "cpu")) <= SLACK * budget(script.stem)
    slow = [first_line(cell) for cell in cells if min(cell["seconds"], cell["cpu"]) > SLACK * CELL_SECONDS]
    assert not slow
    assert max(cell["peak"] for cell in cells) < MEBIBYTES


def took(cells, seconds):
    longest = max(cells, key=lambda cell: cell["seconds"])
    return (f"{len(cells)} cells, {sum(cell['seconds'] for cell in cells):.1f} s of {seconds} "
            f"({sum(cell['cpu'] for cell in cells):.1f} of the processor), "
            f"peak {max(cell['peak'] for cell in cells):.0f} MiB of {MEBIBYTES}, "
            f"longest cell {longest['seconds']:.1f} s of {CELL_SECONDS}: {first_line(longest)}")


@pytest.fixture(scope="module")
def untouched(request):
    """{stem: a future with the cells of the untouched lesson}; they run from the first test that asks, on all cores."""
    scripts = [item.callspec.params["script"] for item in request.session.items if "untouched" in item.fixturenames]

    def cells(script):
        path = ROOT / "lessons" / f"{script.stem}.ipynb"
        return notebook_runner.run([path], strict=False, updates=UPDATES, threads=1)[path]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {script.stem: pool.submit(cells, script) for script in scripts}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", SCRIPTS, ids=names)
def test_the_untouched_lesson_runs_to_its_end(script, untouched, say):
    """Run All without an answer: no error anywhere, and every check says that its exercise is open."""
    cells = untouched[script.stem].result()
    failed = [f"{first_line(cell)}\n{cell['message']}" for cell in cells if cell["outcome"] == "failed"]
    assert not failed, "\n".join(failed)
    errors = [first_line(cell) for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert not errors
    verdicts = {first_line(cell): notebook_runner.text_of(check) for cell, check in exercises(cells)}
    not_open = {name: said for name, said in verdicts.items() if not any(text.startswith("open:") for text in said)}
    assert not not_open
    say(f"  {script.stem}, untouched, {UPDATES} updates, {len(verdicts)} exercises open: {took(cells, budget(script.stem))}")
    assert max(cell["peak"] for cell in cells) < MEBIBYTES


def exercises(cells):
    """Pairs (exercise cell, the cell that checks it): its own cell if the check is in it, else the next one."""
    for cell, after in zip(cells, [*cells[1:], None]):
        if "exercise" in cell["tags"]:
            yield cell, cell if lessons.CHECK_CALL.search(cell["source"]) else after
