"""The grader as an ordinary user, which is how a teacher should run it: root runs once more, as one, the tests of the box
and the attacks on the machine."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from metalearn_lite.grade import box
from test_grade_attacks import ASKED, ON_THE_MACHINE, do_without

ROOT = Path(__file__).resolve().parent.parent
USER = "31415"  # of nobody in particular
TESTS = ("tests/test_grade_box.py", "tests/test_grade_attacks.py::test_the_honest_answer_gets_the_marks", *(
    f"tests/test_grade_attacks.py::test_an_attack_gets_nothing_and_leaves_nothing[{name}]" for name in ON_THE_MACHINE))
pytestmark = [pytest.mark.grading, pytest.mark.timeout(900), pytest.mark.xdist_group("ordinary")]  # run once


def opened_up(paths):
    """bubblewrap's options for a view of this machine in which everybody reaches ``paths``, whatever lies above them."""
    options, covered = ["--dev-bind", "/", "/"], []
    for path in map(Path, paths):
        closed = next((p for p in list(path.parents)[::-1] if not p.stat().st_mode & 1), None)
        if closed and closed not in covered:
            covered.append(closed)
            options += ["--perms", "0755", "--tmpfs", str(closed)]
        if closed:
            for parent in list(path.parents)[::-1]:
                if parent != closed and parent.is_relative_to(closed):
                    options += ["--perms", "0755", "--dir", str(parent)]
            options += ["--bind", str(path), str(path)]
    return options


@pytest.fixture(scope="module")
def outcome():
    """What the tests of the box said when an ordinary user ran them."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("this user is an ordinary one already")
    try:
        with box.Box(ASKED):
            pass
    except box.Unboxed as error:
        do_without(str(error).splitlines()[0])
    home = tempfile.mkdtemp(prefix="ordinary-")  # not below pytest's own folder, which is closed to others
    os.chown(home, int(USER), int(USER))
    env = {"PATH": os.environ["PATH"], "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1",
           "PYTHONDONTWRITEBYTECODE": "1", "CI": "true"}
    command = [shutil.which("bwrap"), *opened_up(sorted({sys.base_prefix, sys.prefix, str(ROOT)}))]
    for capability in ("SETUID", "SETGID", "SETPCAP"):
        command += ["--cap-add", f"CAP_{capability}"]
    command += ["--chdir", str(ROOT), "setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--bounding-set=-all",
                "--inh-caps=-all", sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-n", "2",
                *TESTS]
    try:
        return subprocess.run(command, env=env, text=True, capture_output=True, stdin=subprocess.DEVNULL)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_every_attack_fails_and_the_box_is_tried(outcome):
    assert outcome.returncode == 0, outcome.stdout[-5000:] + outcome.stderr[-2000:]
    passed = int(re.search(r"(\d+) passed", outcome.stdout)[1])
    assert passed > 100 and len(ON_THE_MACHINE) > 60


def test_it_was_an_ordinary_user(outcome):
    """One wall is there for root alone: that it was left out says who ran the tests."""
    assert "only root could be somebody else in the box" in outcome.stdout
