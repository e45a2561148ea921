"""The box is tried before it is used: with any one of its walls taken away, nothing is graded."""

import os
import stat
import time
from pathlib import Path

import pytest

from metalearn_lite.check import lesson05
from metalearn_lite.grade import box, marks
from test_grade_attacks import ASKED, ATTACKS, GIVEN, HONEST, WRONG_CELL, do_without, gets_nothing
from metalearn_lite.grade.parts import Hidden, Part

pytestmark = [pytest.mark.grading, pytest.mark.timeout(120)]


@pytest.fixture(scope="module", autouse=True)
def boxes():
    """Skips, with a reason, where no box can be had."""
    try:
        with box.Box(ASKED):
            pass
    except box.Unboxed as error:
        do_without(str(error).splitlines()[0])


def without(monkeypatch, old, new):
    """The worker with a piece of its source taken out."""
    copy = box.library_copy

    def changed(folder, library):
        copy(folder, library)
        path = Path(folder, "box", "worker.py")
        source = path.read_text()
        assert old in source, f"there is no {old!r} in the worker any more"
        path.write_text(source.replace(old, new))

    monkeypatch.setattr(box, "library_copy", changed)


def open_with(command=box.bubblewrap):
    with box.Box(ASKED, command=command):
        pass


HOLES = {  # what is taken out of the worker: what is taken out of, or put into, bubblewrap's command
    "the network": ('"net": 0x40000000', '"net": 0', lambda c: [a for a in c if a != "--unshare-net"]),
    "other processes": ('"pid": 0x20000000', '"pid": 0', lambda c: c),
    "capabilities": ('call("capset", header, (ctypes.c_uint32 * 6)())', "pass", lambda c: c),
    "the bounding set": ("libc.prctl(24, capability, 0, 0, 0)", "pass", lambda c: c),
    "namespaces": ('write("/proc/sys/user/max_user_namespaces", "0")', "pass", lambda c: c),
    "the environment": ("import ctypes", "import ctypes", lambda c: [a for a in c if a != "--clearenv"]),
    "files": ("import ctypes", "import ctypes", lambda c: [c[0], "--ro-bind", "/etc", "/etc", *c[1:]]),
    "a writable folder": ("import ctypes", "import ctypes", lambda c: [
        "--bind" if c[i + 1:i + 3] and c[i + 2] == "/course" else a for i, a in enumerate(c)]),
    "the grader's user": ("os.setresuid(NOBODY, NOBODY, NOBODY)", "pass", lambda c: c),
    "a pipe of the worker's": ("                os.close(tell)\n", "", lambda c: c),
}


@pytest.mark.parametrize("hole", HOLES)
def test_a_box_with_a_hole_is_not_used(hole, monkeypatch):
    if hole == "the grader's user" and os.geteuid() != 0:
        pytest.skip("only root could be somebody else in the box")
    if hole == "a writable folder" and os.geteuid() == 0:
        pytest.skip("nobody cannot write what is root's, bound read-only or not")
    old, new, change = HOLES[hole]
    without(monkeypatch, old, new)
    monkeypatch.setenv("SECRET_OF_THE_GRADER", "42")
    with pytest.raises(box.Unboxed, match="the box leaks|could not be tried"):
        open_with(lambda course: change(box.bubblewrap(course)))


def test_without_bubblewrap_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(box.shutil, "which", lambda name: None)
    with pytest.raises(box.Unboxed, match="apt install bubblewrap"):
        open_with()


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_it_says_so(monkeypatch, system):
    monkeypatch.setattr(box.sys, "platform", system)
    with pytest.raises(box.Unboxed, match="virtual machine"):
        open_with()


def test_a_bubblewrap_that_may_not_make_namespaces_is_quoted(tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(box.Unboxed, match="uid map: Permission denied(.|\n)*apparmor_restrict_unprivileged_userns"):
        open_with(lambda course: [str(fake)])


def test_a_worker_that_is_gone_is_replaced():
    with box.Box(ASKED) as opened:
        first = opened.process.pid
        opened.process.kill()
        opened.process.wait()
        assert [result.got for result in marks.judge([HONEST], ASKED, opened)] == [2, 1]
        assert opened.process.pid != first


def test_one_exercise_that_hangs_or_ends_costs_only_itself():
    parts = (Part(lesson05.adapt, 2), Part(lesson05.reptile, 3), Part(lesson05.meta_grad, 1))
    hidden = Hidden("lesson05", parts, ("data", "nets"), GIVEN)
    reptile = """
def reptile(w, adapted, eps):
    return [p + eps * (sum(a[i] for a in adapted) / len(adapted) - p) for i, p in enumerate(w)]
"""
    with box.Box(hidden, seconds=3.0) as opened:
        for bad in ("import os\ndef adapt(*a):\n    os._exit(3)", "def adapt(*a):\n    while True: pass",
                    "def adapt(*a):\n    return bytearray(2**40)"):
            began = time.monotonic()
            results = marks.judge([bad, reptile, "def meta_grad(w, tasks, lr, steps, order):\n    return ..."], hidden, opened)
            assert [(r.exercise, r.got) for r in results] == [("adapt", 0), ("reptile", 3), ("meta_grad", 0)]
            assert results[2].status == "open" and time.monotonic() - began < 15


# --------------------------------------------------------------------------- mutants of the grader turn these tests red


def test_a_comparison_that_always_passes_would_be_seen(monkeypatch):
    from metalearn_lite.check import exercise

    with box.Box(ASKED) as opened:
        assert gets_nothing(marks.judge([WRONG_CELL], ASKED, opened))
        monkeypatch.setattr(exercise, "difference", lambda answer, expected, where="": None)
        assert not gets_nothing(marks.judge([WRONG_CELL], ASKED, opened))


def test_believing_the_box_would_be_seen(monkeypatch):
    """A judge that takes the box's word for the verdict gives marks to what the attacks say."""
    forged = ATTACKS["says that it is right"]
    with box.Box(ASKED) as opened:
        assert gets_nothing(marks.judge([forged], ASKED, opened))
        monkeypatch.setattr(marks, "_function", lambda part, channel: (channel.found.get("status"), ""))
        assert not gets_nothing(marks.judge([forged], ASKED, opened))
