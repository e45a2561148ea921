"""What a class hands in: every form that is taken, and everything odd, which is a row with words and never a crash."""

import io
import json
import os
import socket
import stat
import time
import zipfile
from datetime import datetime
from pathlib import Path

import pytest

from metalearn_lite.grade import files
from metalearn_lite.grade.submissions import find

ROOT = Path(__file__).resolve().parent.parent
CODE = "def adapt(w, x, y, lr, steps):\n    return w"


def notebook(code=CODE, title="# 05 MAML\n\nA text.", **fields):
    cells = [{"cell_type": "markdown", "metadata": {}, "source": [title]},
             {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": code}]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells} | fields)


def script(code=CODE, title="# 05 MAML"):
    return f"# ---\n# jupyter: {{}}\n# ---\n\n# %% [markdown]\n# {title}\n#\n# A text.\n\n# %%\n{code}\n"


def put(folder, name, content=None, at=None):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = notebook() if content is None else content
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if at is not None:
        os.utime(path, (at, at))
    return path


def zipped(members):
    """{name, or a ZipInfo: content} -> bytes of a zip."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return whole.getvalue()


def one(folder, lesson="lesson05"):
    (submission,) = find(folder, lesson)
    return submission


# ------------------------------------------------------------------------------------------------ what is taken


def test_a_file_a_folder_or_a_zip_for_each_student(tmp_path):
    put(tmp_path, "ann.ipynb")
    put(tmp_path, "bob.py", script())
    put(tmp_path, "cem/05_maml.ipynb")
    put(tmp_path, "cem/00_what_is_a_task.ipynb", notebook("def relabel(): pass", "# 00 What is a task?"))
    put(tmp_path, "dan.zip", zipped({"05_maml.ipynb": notebook()}))
    put(tmp_path, "eva.zip", zipped({"eva/my_lessons/05_maml.ipynb": notebook(), "eva/notes.txt": "mine"}))
    put(tmp_path, "fay/deeper/work.zip", zipped({"renamed.py": script()}))
    found = find(tmp_path, "lesson05")
    assert [s.student for s in found] == ["ann", "bob", "cem", "dan", "eva", "fay"]
    assert [(s.cells, s.problem, s.notes) for s in found] == [([CODE], "", ())] * 6
    assert found[2].path == tmp_path / "cem" / "05_maml.ipynb" and found[3].path == tmp_path / "dan.zip"
    assert all(s.modified.tzinfo is not None for s in found)


@pytest.mark.parametrize("name", ["ann.ipynb.txt", "ann.ipynb.json", "ann.IPYNB.TXT", "ann/05_maml.ipynb.txt"])
def test_a_notebook_under_the_name_that_a_browser_gives_it(tmp_path, name):
    put(tmp_path, name)
    put(tmp_path, "ann/readme.txt", "mine"), put(tmp_path, "ann/data.json", "{}")
    found = one(tmp_path)
    assert (found.student, found.cells, found.problem, found.notes) == ("ann", [CODE], "", ())


@pytest.mark.parametrize("around", ["", "all of them/"])
def test_the_class_as_one_zip(tmp_path, around):
    whole = put(tmp_path, "class.zip", zipped({
        f"{around}ann.ipynb": notebook(), f"{around}bob/05_maml.py": script(), f"{around}cem/": "",
        f"{around}dan.zip": zipped({"05_maml.ipynb": notebook()}), "__MACOSX/._ann.ipynb": "x", ".DS_Store": "x"}))
    found = find(whole, "lesson05")
    assert [s.student for s in found] == ["ann", "bob", "cem", "dan"]
    assert [s.cells for s in found] == [[CODE], [CODE], None, [CODE]]
    assert found[2].problem.startswith("missing") and found[0].path == whole


def test_one_folder_of_one_student_in_a_zip_stays_a_student(tmp_path):
    assert one(put(tmp_path, "class.zip", zipped({"ann/05_maml.ipynb": notebook()}))).student == "ann"


def test_the_lessons_themselves_read_the_same_from_both_files_of_a_pair(tmp_path):
    for path in (ROOT / "lessons").glob("0*.py"):
        lesson = f"lesson{path.stem[:2]}"
        put(tmp_path, f"{lesson}/script.py", path.read_bytes())
        put(tmp_path, f"{lesson}-nb/{path.stem}.ipynb", path.with_suffix(".ipynb").read_bytes())
        found = [s for s in find(tmp_path, lesson) if s.student in (lesson, f"{lesson}-nb")]
        script_, notebook_ = ([cell.strip() for cell in s.cells] for s in found)
        assert script_ == notebook_ and len(script_) > 50
        assert [s.problem for s in found] == ["", ""]


def test_percent_format():
    from metalearn_lite.grade.submissions import _script
    text = ("import a\n# %% [markdown]\n# # A heading\n# %% one tags=[\"markdown\"]\nx = 1\n#%%\ny = '''\n# %\n'''\n"
            "# %%time\nz = 2\n# %% [raw]\n# raw\n# %%%\nw = 3\n")
    code = [source for kind, source in _script(text) if kind == "code"]
    assert code == ["import a\n", "x = 1", "y = '''\n# %\n'''\n# %%time\nz = 2", "w = 3"]
    of_nbconvert = "#!/usr/bin/env python\n# # A heading\n\n# In[ ]:\n\n\nx = 1\n\n\n# In[12]:\n\n\nthis is no Python\n"
    assert [source for _, source in _script(of_nbconvert)] == ["x = 1", "this is no Python"]


@pytest.mark.parametrize("content", [
    b"\xef\xbb\xbf" + notebook().encode(),  # a byte order mark
    notebook().replace("{", "{\r\n", 3),
    notebook(code=CODE.splitlines(keepends=True)),
    notebook(metadata={"bar": float("nan"), "n": "DIGITS", "deep": [[[[]]]]}).replace('"DIGITS"', "9" * 10_000),
    '{"cells": 3, ' + notebook()[1:],  # there twice: the last counts, as in Jupyter
    notebook(title="A title of my own"), notebook(title=""),
    notebook("from metalearn_lite.check import lesson05\nlesson05.loop('ABC')", ""),
    script(), script().replace("\n", "\r\n"), CODE,
], ids=range(11))
def test_honest_oddities_are_read(tmp_path, content):
    text = content if isinstance(content, str) else content.decode("utf-8-sig")
    put(tmp_path, "ann.ipynb" if text.startswith("{") else "ann.py", content)
    assert one(tmp_path).problem == "" and one(tmp_path).cells


def test_a_half_character_in_a_cell_can_be_written_down(tmp_path):
    put(tmp_path, "ann.ipynb", notebook(CODE + "  # \ud800"))
    assert one(tmp_path).cells[0].encode("utf-8").endswith(b"# ?")


# ------------------------------------------------------------------------------------------------ which one counts


def test_of_a_pair_the_newer_counts_and_the_notebook_on_a_tie(tmp_path):
    put(tmp_path, "ann/05_maml.ipynb", notebook("def adapt(): 1"), at=1000)
    put(tmp_path, "ann/05_maml.py", script("def adapt(): 2"), at=2000)
    put(tmp_path, "bob.ipynb", notebook("def adapt(): 1"), at=1000)
    put(tmp_path, "bob.py", script("def adapt(): 2"), at=1000)
    ann, bob = find(tmp_path, "lesson05")
    assert (ann.cells, ann.notes) == (["def adapt(): 2"], ())  # a pair is one submission: nothing to note
    assert (bob.cells, bob.notes) == (["def adapt(): 1"], ())
    assert ann.modified == datetime.fromtimestamp(2000).astimezone()


def test_of_several_the_most_recent_counts_and_a_note_says_so(tmp_path):
    put(tmp_path, "ann.ipynb", notebook("def adapt(): 'file'"), at=1000)
    put(tmp_path, "ann/05_maml.ipynb", notebook("def adapt(): 'folder'"), at=3000)
    put(tmp_path, "ann/05_maml-Copy1.ipynb", notebook("def adapt(): 'copy'"), at=2000)
    put(tmp_path, "ann/helper.py", "def adapt(): 'no title'", at=9000)
    put(tmp_path, "ann/.ipynb_checkpoints/05_maml-checkpoint.ipynb", notebook("def adapt(): 'old'"), at=9000)
    put(tmp_path, "ann/half.ipynb", notebook()[:100], at=9000)
    submission = one(tmp_path)
    assert submission.cells == ["def adapt(): 'folder'"]
    assert submission.notes == (
        "4 files of this lesson: ann/05_maml.ipynb counts, not ann/05_maml-Copy1.ipynb, ann/helper.py, ann.ipynb",
        "ann/half.ipynb: truncated: its JSON ends in the middle")


def test_the_time_in_a_zip_is_the_members(tmp_path):
    members = {zipfile.ZipInfo("ann.ipynb", (2027, 1, 31, 17, 59, 58)): notebook(),
               zipfile.ZipInfo("bob.ipynb", (1980, 1, 1, 0, 0, 0)): notebook()}
    ann, bob = find(put(tmp_path, "class.zip", zipped(members)), "lesson05")
    assert ann.modified == datetime(2027, 1, 31, 17, 59, 58).astimezone() and bob.modified is None


def test_cases_differ_and_ways_to_write_one_name_do_not(tmp_path):
    for name in ("ann.ipynb", "Ann.ipynb", "zo\u00eb.ipynb", "zoe\u0308.py"):
        put(tmp_path, name, script() if name.endswith("py") else None)
    assert [s.student for s in find(tmp_path, "lesson05")] == ["Ann", "ann", "zo\u00eb"]


@pytest.mark.parametrize("title, code, right", [
    ("# 05 MAML", "x = 1", True), ("# 04 Transfer learning", CODE, False), ("# 04 My notes", CODE, True),
    ("", "x = 1", False), ("", "defadapt = adapt", False), ("", "lesson05.loop('AB')", True), ("", CODE, True)])
def test_the_title_or_the_code_tells_the_lesson(tmp_path, title, code, right):
    put(tmp_path, "ann.ipynb", notebook(code, title))
    assert (one(tmp_path).problem == "") == right
    assert right or one(tmp_path).problem.startswith("wrong lesson")


def test_a_private_lesson_is_told_by_its_exercises(tmp_path):
    put(tmp_path, "ann.ipynb", notebook("def my_own(x):\n    return x", "# Exam"))
    assert find(tmp_path, "exam1", ["my_own"])[0].problem == ""
    assert find(tmp_path, "exam1", ["another"])[0].problem.startswith("wrong lesson")


# ------------------------------------------------------------------------------------------------ what is odd


BROKEN = {
    "empty": (b"", "empty"),
    "blank": (b" \n\t", "empty"),
    "truncated": (notebook()[:-40], "truncated"),
    "cut in a string": (notebook()[:120], "truncated"),
    "text": ("dear teacher", "not JSON"),
    "bytes": (b"\xff\xfe\x00\x01" * 50, "not UTF-8"),
    "utf-16": (notebook().encode("utf-16"), "not UTF-8"),
    "nulls": (b"\0" * 1000, "not JSON"),
    "a list": ("[1, 2]", "no list of cells"),
    "nan": ("NaN", "no list of cells"),
    "a huge number": ("9" * 100_000, "no list of cells"),
    "no cells": ('{"nbformat": 4}', "no list of cells"),
    "cells a dict": (notebook(cells={}), "no list of cells"),
    "cells none": (notebook(cells=[]), "no code"),
    "only text": (notebook(code=" \n"), "no code"),
    "a cell a number": (notebook(cells=[3]), "cell 1 has no type"),
    "a source a number": (notebook(code=3), "cell 2 has no type, or no text"),
    "a source a list of numbers": (notebook(code=["x", 3]), "cell 2 has no type, or no text"),
    "a type a list": (notebook(cells=[{"cell_type": ["code"], "source": "x"}]), "cell 1 has no type"),
    "no source": (notebook(cells=[{"cell_type": "code"}]), "cell 1 has no type, or no text"),
    "deep": ("[" * 200_000 + "]" * 200_000, "nested too deeply"),
    "deep in a cell": ('{"cells": ' + '{"a":' * 200_000, "nested too deeply"),
    "much code": (notebook(code="x = 1\n" * 200_000), "too large"),
    "many cells": (notebook(cells=[{"cell_type": "code", "source": "x"}] * 3_000), "too large"),
}


@pytest.mark.parametrize("content, words", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_a_row_with_words(tmp_path, content, words):
    put(tmp_path, "ann.ipynb", content)
    put(tmp_path, "bob.ipynb")
    ann, bob = find(tmp_path, "lesson05")
    assert words in ann.problem and ann.cells is None and ann.modified is not None
    assert bob.cells == [CODE]


def test_giants_links_pipes_and_devices_are_not_opened(tmp_path):
    secret = put(tmp_path, "outside/secret.ipynb")
    folder = tmp_path / "in"
    folder.mkdir()
    with open(folder / "giant.ipynb", "wb") as file:
        file.truncate(10**12)
    (folder / "link.ipynb").symlink_to(secret)
    (folder / "linked").symlink_to(secret.parent)
    (folder / "dangling.ipynb").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "loop").mkdir()
    (folder / "loop" / "again").symlink_to(folder / "loop")
    (folder / "holder").mkdir()
    (folder / "holder" / "05_maml.ipynb").symlink_to(secret)
    (folder / "holder" / "05_maml.py").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(folder)  # the name of a socket has to be short
        try:
            listening.bind("socket.ipynb")
        finally:
            os.chdir(here)
        begin = time.monotonic()
        found = {s.student: s.problem for s in find(folder, "lesson05")}
    assert time.monotonic() - begin < 10
    assert found == {
        "giant": "too large: more than 25 MB", "link": "a symbolic link, not a file", "pipe": "not a plain file",
        "linked": "a symbolic link, not a file", "dangling": "a symbolic link, not a file",
        "loop": "missing: no .ipynb and no .py in it", "holder": "a symbolic link, not a file",
        "socket": "not a plain file"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device files")
def test_a_device_file_is_not_opened(tmp_path):
    try:
        os.mknod(tmp_path / "ann.ipynb", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("not here")
    assert one(tmp_path).problem == "not a plain file"


def test_what_the_system_refuses_to_open_is_a_row(tmp_path, monkeypatch):
    put(tmp_path, "ann.ipynb")
    put(tmp_path, "bob/05_maml.ipynb")
    real, inner = os.open, os.scandir

    def refuse(path, *rest, **named):
        if os.fspath(path).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **named)

    monkeypatch.setattr(files.os, "open", refuse)
    monkeypatch.setattr(files.os, "scandir", lambda path: refuse(path) if Path(path).name == "bob" else inner(path))
    assert [s.problem for s in find(tmp_path, "lesson05")] == ["unreadable: Permission denied"] * 2


def test_other_files_and_empty_folders_are_rows_too(tmp_path):
    put(tmp_path, "ann.pdf", b"%PDF")
    put(tmp_path, "bob/notes.txt", "soon")
    (tmp_path / "cem").mkdir()
    put(tmp_path, "dan", "no suffix")
    put(tmp_path, ".hidden.ipynb")
    found = {s.student: s.problem for s in find(tmp_path, "lesson05")}
    missing = "missing: no .ipynb and no .py in it"
    assert found == {"ann.pdf": "not an .ipynb, .py or .zip file", "bob": missing, "cem": missing,
                     "dan": "not an .ipynb, .py or .zip file"}


def test_deep_folders_and_folders_of_many_files_end(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ENTRIES", 30)
    for number in range(40):
        put(tmp_path, f"ann/{number}.txt", "x")
    put(tmp_path, "bob/" + "x/" * 100 + "05_maml.ipynb")
    put(tmp_path, "cem/" + "x/" * 5 + "05_maml.ipynb")
    found = {s.student: s.problem for s in find(tmp_path, "lesson05")}
    assert found == {"ann": "more than 30 files", "bob": "missing: no .ipynb and no .py in it", "cem": ""}


def test_many_files_for_one_student_are_not_all_read(tmp_path):
    for number in range(60):
        put(tmp_path, f"ann/{number}.py", f"def adapt(): {number}", at=1000 + number)
    put(tmp_path, "bob/05_maml.ipynb", at=1000)  # and the whole course beside it
    for path in (ROOT / "metalearn_lite").rglob("*.py"):
        put(tmp_path, f"bob/{path.relative_to(ROOT)}", path.read_bytes(), at=2000)
    ann, bob = find(tmp_path, "lesson05")
    assert ann.cells == ["def adapt(): 59"] and "60 files: only 40 were looked at" in ann.notes
    assert bob.cells == [CODE]


NAMES = ["李 雷", "$(touch x); rm -rf ~", "=cmd|'/c calc'!A0", "-rf", "a'b\"c", "~", "a\nb", "\u202egnp.exe",
         "%2e%2e", "<script>alert(1)</script>", "x" * 240, "con", "a,b;c", "*", "CSV\"\"", " lead and trail "]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_student(tmp_path, name):
    if "/" not in name:
        put(tmp_path / "plain", f"{name}.ipynb")
        assert one(tmp_path / "plain").cells == [CODE]
        student = one(tmp_path / "plain").student
        assert student and len(student) <= 120 and student.isprintable() and student == student.strip()
    whole = put(tmp_path, "class.zip", zipped({f"{name}.ipynb": notebook(), "other.ipynb": notebook()}))
    assert len(find(whole, "lesson05")) == 2


def test_names_that_are_no_text_stay_apart(tmp_path):
    for raw in (b"\xff.ipynb", b"\xfe.ipynb"):
        put(tmp_path, os.fsdecode(raw))
    found = find(tmp_path, "lesson05")
    assert len({s.student for s in found}) == 2 and all(s.student.encode() and s.cells for s in found)


# ------------------------------------------------------------------------------------------------ zips


def test_names_that_lead_out_of_a_zip_are_refused(tmp_path):
    names = ["../out.ipynb", "/abs.ipynb", "a/../../up.ipynb", "..\\win.ipynb", "C:\\drive.ipynb",
             "\\\\host\\unc.ipynb"]
    whole = put(tmp_path, "class.zip", zipped({name: notebook() for name in names} | {"ann.ipynb": notebook()}))
    found = {s.student: s.problem for s in find(whole, "lesson05")}
    outside = "its name leads out of the zip"
    assert found == {"ann": "", "out": outside, "abs": outside, "up": outside, "win": outside, "drive": outside,
                     "unc": outside}
    put(tmp_path, "in/bob.zip", zipped({"../../bob.ipynb": notebook()}))
    assert one(tmp_path / "in").problem == outside
    assert sorted(p.name for p in tmp_path.rglob("*.ipynb")) == []  # and nothing was unpacked


def test_a_zip_that_windows_made(tmp_path):
    assert one(put(tmp_path, "class.zip", zipped({"ann\\05_maml.ipynb": notebook()}))).student == "ann"


def link_in_zip():
    info = zipfile.ZipInfo("05_maml.ipynb")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return zipped({info: "/etc/passwd"})


def encrypted_zip():
    raw = bytearray(zipped({"05_maml.ipynb": notebook()}))
    raw[6] |= 1  # the flag in the local header, and in the directory
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    return bytes(raw)


def damaged_zip():
    raw = bytearray(zipped({"05_maml.ipynb": notebook()}))
    raw[60] ^= 255
    return bytes(raw)


def lzma_zip():
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("05_maml.ipynb", notebook())
    return whole.getvalue()


ZIPS = {
    "a bomb": (lambda: zipped({"05_maml.ipynb": b"\0" * 300_000_000}), "too large"),
    "a bomb that lies about its size": (lambda: lying_bomb(), "d"),
    "a zip in a zip": (lambda: zipped({"inner.zip": zipped({"05_maml.ipynb": notebook()})}), "a zip in a zip"),
    "a link": (link_in_zip, "a symbolic link"),
    "encrypted": (encrypted_zip, "encrypted"),
    "damaged": (damaged_zip, "damaged in the zip"),
    "cut": (lambda: zipped({"05_maml.ipynb": notebook()})[:-30], "a damaged zip"),
    "no zip": (lambda: b"PK but no zip", "a damaged zip"),
    "empty": (lambda: b"", "a damaged zip"),
    "nothing in it": (lambda: zipped({}), "missing"),
    "lzma": (lzma_zip, "a kind of zip that is not read"),
    "many files": (lambda: zipped({f"{n}.txt": "" for n in range(20_001)}), "a zip of more than 20000 files"),
}


def lying_bomb():
    raw = bytearray(zipped({"05_maml.ipynb": b" " * 50_000_000}))
    for at in (raw.index(b"PK\x03\x04") + 22, raw.index(b"PK\x01\x02") + 24):
        raw[at:at + 4] = (1000).to_bytes(4, "little")
    return bytes(raw)


@pytest.mark.parametrize("make, words", ZIPS.values(), ids=ZIPS)
def test_odd_zips_are_rows_with_words(tmp_path, make, words):
    put(tmp_path, "ann.zip", make())
    put(tmp_path, "bob.ipynb")
    begin = time.monotonic()
    ann, bob = find(tmp_path, "lesson05")
    assert words in ann.problem and ann.cells is None and bob.cells == [CODE]
    assert time.monotonic() - begin < 10


def test_a_teacher_who_names_no_folder_is_told(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        find(tmp_path / "nowhere", "lesson05")
    with pytest.raises(ValueError, match="a damaged zip, or none"):
        find(put(tmp_path, "class.txt", "ann, bob"), "lesson05")
