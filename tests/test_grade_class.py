"""A class, graded as a teacher does: by the command line, with honest students and others side by side."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from test_grade_attacks import ATTACKS, do_without

sys.path.insert(0, str(Path(__file__).parent / "grading"))
from corpus_honest import solved_notebook  # noqa: E402
from metalearn_lite.grade import box, parts  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.grading, pytest.mark.timeout(500), pytest.mark.xdist_group("class")]  # graded once
ATTACKERS = ["kills everything", "kills its parent and its group", "stays behind", "writes wherever it can", "changes the canary",
             "an error that stops the grader", "babbles without an end", "ends the process", "fills the disk",
             "poisons what the next one imports", "a fork bomb"]
LESSON = "05_maml.ipynb"


def start(*words, **environment):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    return subprocess.Popen([sys.executable, "-m", "metalearn_lite", *map(str, words)], cwd=ROOT, env=env, text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            start_new_session=True)


def run(*words):
    process = start(*words)
    out, err = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.fixture(scope="module")
def class_(tmp_path_factory):
    """The folder of submissions, and the result of grading it with two jobs."""
    try:
        with box.Box(parts.load("lesson05")):
            pass
    except box.Unboxed as error:
        do_without(str(error).splitlines()[0])
    folder = tmp_path_factory.mktemp("class")
    handed_in, canary = folder / "submissions", folder / "canary"
    canary.write_text("whole")
    right = json.loads(json.dumps(solved_notebook("lesson05")))
    for name in ("ada", "bob", "cyd", "zoe"):  # before, between and after the others
        (handed_in / name).mkdir(parents=True)
        (handed_in / name / LESSON).write_text(json.dumps(right), encoding="utf-8")
    for number, name in enumerate(ATTACKERS):
        bad = json.loads(json.dumps(right))
        for cell in bad["cells"]:
            if "def adapt(" in "".join(cell["source"]):
                cell["source"] = ATTACKS[name].replace("LISTENER", "1").replace("CANARY", str(canary))
        (handed_in / f"b{number:02}").mkdir()
        (handed_in / f"b{number:02}" / LESSON).write_text(json.dumps(bad), encoding="utf-8")
    beside = handed_in / "cyd"  # modules beside a notebook are nobody's but theirs, and are not even looked at
    for name in ("torch.py", "conftest.py", "sitecustomize.py", "ipykernel_launcher.py", "json.py", "gradebook.db"):
        (beside / name).write_text("raise SystemExit('a file beside the notebook was run')")
    (handed_in / "eve.ipynb").symlink_to(handed_in / "ada" / LESSON)
    (handed_in / "fay.ipynb").write_text('{"cells": [')
    done = run("grade", "lesson05", handed_in, "--out", folder / "grades", "--jobs", "2")
    with open(folder / "grades" / "grades.csv", encoding="utf-8", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    yield folder, done, rows
    assert canary.read_text() == "whole"


def test_every_student_has_a_row(class_):
    _, done, rows = class_
    assert done.returncode == 0, done.stderr
    assert set(rows) == {"ada", "bob", "cyd", "zoe", "eve", "fay", *(f"b{n:02}" for n in range(len(ATTACKERS)))}


def test_the_honest_get_full_marks_whoever_is_beside_them(class_):
    rows = class_[2]
    assert all(rows[name]["total"] == rows[name]["max"] == "15" for name in ("ada", "bob", "cyd", "zoe"))


def test_an_attack_costs_its_exercise_and_gains_nothing(class_):
    rows, full = class_[2], parts.load("lesson05").exercises
    for number, name in enumerate(ATTACKERS):
        row = rows[f"b{number:02}"]
        assert row["adapt points"] == "0", name
        assert int(row["total"]) == sum(full.values()) - full["adapt"], name  # the rest of the notebook is right


def test_what_is_no_plain_notebook_is_told_apart(class_):
    rows = class_[2]
    assert rows["eve"]["status"] == rows["fay"]["status"] == "unreadable"
    assert rows["eve"]["total"] == rows["fay"]["total"] == "0" and "truncated" in rows["fay"]["notes"]


def test_each_has_a_page_without_what_was_expected(class_):
    folder, _, rows = class_
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (folder / "grades" / "pages").glob("*.html")}
    assert set(rows) <= set(pages)
    assert "15 of 15 points" in pages["ada"]
    for page in pages.values():
        assert not re.search(r"expected [^a-z]", page) and "<script" not in page  # forms are told ("a list"), numbers not


def test_a_second_run_goes_on_and_a_regrade_moves_nothing(class_):
    folder, _, rows = class_
    before = (folder / "grades" / "grades.csv").read_text()
    assert run("grade", "lesson05", folder / "submissions", "--out", folder / "grades").returncode != 0
    assert run("grade", "lesson05", folder / "submissions", "--out", folder / "grades", "--resume").returncode == 0
    assert (folder / "grades" / "grades.csv").read_text() == before
    again = run("grade", "lesson05", folder / "submissions", "--out", folder / "grades", "--regrade", "--only", "ada")
    assert again.returncode == 0 and "0 marks moved" in again.stdout


def test_ctrl_c_leaves_nothing_behind_and_the_next_run_goes_on(class_, tmp_path, as_in_a_terminal):
    """As a terminal sends it: to every process of the run, while one submission is being judged that never ends."""
    folder = class_[0]
    handed_in, out = tmp_path / "in", tmp_path / "out"
    handed_in.mkdir()
    temporary = Path(tempfile.mkdtemp())  # not below tmp_path: the name of a socket has 107 characters at most
    honest = (folder / "submissions" / "ada" / LESSON).read_text(encoding="utf-8")
    (handed_in / "ann.ipynb").write_text(honest, encoding="utf-8")
    (handed_in / "bob.py").write_text("# %%\ndef adapt(w, x, y, lr, steps):\n    while True:\n        pass\n")
    (handed_in / "cem.ipynb").write_text(honest, encoding="utf-8")
    process = start("grade", "lesson05", handed_in, "--out", out, TMPDIR=str(temporary))
    end = time.monotonic() + 100
    while not (out / "results" / "ann.json").exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.1)
    time.sleep(2)  # now bob is being judged
    family = psutil.Process(process.pid).children(recursive=True)
    assert any(child.name() == "bwrap" for child in family)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert "stopped: --resume goes on from here" in said and "Traceback" not in said, said
    assert process.returncode != 0
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert list(temporary.glob("metalearn-lite-box-*")) == []
    shutil.rmtree(temporary)
    with open(out / "grades.csv", encoding="utf-8", newline="") as file:
        assert [row["student"] for row in csv.DictReader(file)] == ["ann"]
    (handed_in / "bob.py").write_text("# %%\ndef adapt(w, x, y, lr, steps):\n    raise MemoryError\n")
    done = run("grade", "lesson05", handed_in, "--out", out, "--resume")
    assert done.returncode == 0
    with open(out / "grades.csv", encoding="utf-8", newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert [rows[name]["total"] for name in ("ann", "bob", "cem")] == ["15", "0", "15"]
    assert rows["bob"]["adapt status"] == "wrong"
