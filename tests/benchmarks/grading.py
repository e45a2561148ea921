"""Processor seconds that a submission costs: nbgrader's autograding against ours, on the same two exercises, in turn.

    python -m venv NBGRADER && NBGRADER/bin/pip install nbgrader==0.9.6        # once, in an environment of its own
    python tests/benchmarks/grading.py [NBGRADER]

The exercises are `adapt` and `reptile` of lesson 05, the submission is the notebook's first cell and the two answers. Under
nbgrader each has one test cell with the checks that the lesson has (its kernel is this Python, so torch is the same). Ours
is asked warm (one worker forks for every exercise) and with one box each. Marks are compared first.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from metalearn_lite.check import lesson05
from metalearn_lite.grade import marks
from metalearn_lite.grade.box import Box
from metalearn_lite.grade.parts import Hidden, Part

SUBMISSIONS = 12
IMPORTS = "import torch\nfrom metalearn_lite.check import lesson05\nfrom metalearn_lite.check.lesson05 import mse, predict"
ANSWERS = {"adapt": """def adapt(w, x, y, lr, steps):
    for _ in range(steps):
        w = [p - lr * g for p, g in zip(w, torch.autograd.grad(mse(w, x, y), w, create_graph=True))]
    return w""", "reptile": """def reptile(w, adapted, eps):
    return [p + eps * (sum(a[i] for a in adapted) / len(adapted) - p) for i, p in enumerate(w)]"""}
HIDDEN = Hidden("lesson05", (Part(lesson05.adapt, 1), Part(lesson05.reptile, 1)), ("data", "nets"),
                {"check.lesson05": [lesson05.mse, lesson05.predict]})


def processor():
    """Seconds used so far, by this process and its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measured(work):
    began, before = time.perf_counter(), processor()
    result = work()
    return result, processor() - before, time.perf_counter() - began


# ---------------------------------------------------------------------------------------------------------- nbgrader


def cell(source, name, **nbgrader):
    about = dict(grade_id=name, schema_version=3, locked=False, grade=False, solution=False, task=False) | nbgrader
    return {"cell_type": "code", "execution_count": None, "outputs": [], "source": source, "id": name,
            "metadata": {"nbgrader": about} if nbgrader else {}}


def notebook():
    cells = [cell(IMPORTS, "imports")]
    for name, answer in ANSWERS.items():
        cells.append(cell(f"### BEGIN SOLUTION\n{answer}\n### END SOLUTION", name, solution=True))
        cells.append(cell(f"assert lesson05.{name}.verdict({name}).status == 'right'", f"test-{name}", grade=True, points=1,
                          locked=True))
    return {"cells": cells, "metadata": {"kernelspec": {"name": "course", "display_name": "course", "language": "python"}},
            "nbformat": 4, "nbformat_minor": 5}


class Nbgrader:
    """A course with one assignment and its submissions, in a folder."""

    def __init__(self, home, folder):
        self.folder, self.program = Path(folder), str(Path(home, "bin", "nbgrader"))
        kernel = self.folder / "jupyter" / "kernels" / "course"
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps({"argv": [
            sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "course",
            "language": "python"}))
        self.env = dict(os.environ, JUPYTER_PATH=str(self.folder / "jupyter"), OMP_NUM_THREADS="1",
                        PYTHONPATH=str(Path(__file__).resolve().parents[2]), HOME=str(self.folder),
                        PATH=os.pathsep.join([str(Path(home, "bin")), os.environ["PATH"]]))
        (self.folder / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'course'\n")
        source = self.folder / "source" / "lesson"
        source.mkdir(parents=True)
        (source / "lesson.ipynb").write_text(json.dumps(notebook()))
        self._run("generate_assignment", "lesson")
        for number in range(SUBMISSIONS):
            handed_in = self.folder / "submitted" / f"student{number}" / "lesson"
            handed_in.mkdir(parents=True)
            (handed_in / "lesson.ipynb").write_text(json.dumps(notebook()))

    def _run(self, *words):
        done = subprocess.run([self.program, *words], cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    def grade(self):
        self._run("autograde", "lesson", "--force")
        ask = ("from nbgrader.api import Gradebook\nwith Gradebook('sqlite:///gradebook.db') as g:\n"
               "    print([s.score for s in g.assignment_submissions('lesson')])")
        done = subprocess.run([str(Path(self.program).with_name("python")), "-c", ask], cwd=self.folder, env=self.env,
                              capture_output=True, text=True)
        return json.loads(done.stdout)


# -------------------------------------------------------------------------------------------------------------- ours


def in_box(box):
    """Seconds of the processor used in a box so far: by the worker, and by its forks that have ended."""
    times = psutil.Process(box.process.pid).children(recursive=True)[-1].cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def ours(submissions, warm):
    """Grade so many in one box -> their scores, the seconds that the box cost, and those from the second one on."""
    cells, scores = [IMPORTS, *ANSWERS.values()], []
    with Box(HIDDEN, warm=warm) as box:
        for number in range(submissions):
            scores.append(float(sum(result.got for result in marks.judge(cells, HIDDEN, box))))
            if number == 0:
                first = in_box(box)
        return scores, in_box(box), in_box(box) - first


def main():
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = []
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as folder:
            peer = Nbgrader(Path(sys.argv[1]).resolve(), folder)
            rows.append(("nbgrader 0.9.6, autograde", *measured(peer.grade)))
    each, used, took = measured(lambda: [ours(1, warm=False) for _ in range(SUBMISSIONS)])
    rows.append(("ours, one box each", [score for scores, _, _ in each for score in scores],
                 used + sum(box for _, box, _ in each), took))
    (scores, box, further), used, took = measured(lambda: ours(SUBMISSIONS, warm=True))
    rows.append(("ours, forked from a warm one", scores, used + box, took))
    for name, scores, _, _ in rows:
        assert scores == [2.0] * SUBMISSIONS, f"{name}: {scores}"
    print(f"{SUBMISSIONS} submissions of two exercises, all with full marks; seconds for each submission\n")
    for name, _, used, took in rows:
        ratio = f", x{rows[0][2] / used:.1f} less than nbgrader" if name.startswith("ours") and len(sys.argv) > 1 else ""
        print(f"{name:28} processor {used / SUBMISSIONS:5.2f}  wall {took / SUBMISSIONS:5.2f}{ratio}")
    print(f"{'  of it, from the second on':28} processor {further / (SUBMISSIONS - 1):5.2f} in the box")


if __name__ == "__main__":
    main()
