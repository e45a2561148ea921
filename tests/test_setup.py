"""start.py, Makefile, .ci/run and the workflow: how the course is set up, started and checked."""

import ast
import contextlib
import hashlib
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import psutil
import pytest
import yaml

import start
from metalearn_lite import doctor

ROOT = Path(__file__).resolve().parent.parent
posix = pytest.mark.skipif(os.name == "nt", reason="needs bash or POSIX signals")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of three small lessons, in which start.py's functions work instead of in this one."""
    lessons = tmp_path / "lessons"
    (lessons / "pictures").mkdir(parents=True)
    for name in ("00_what_is_a_task", "01_gradient_descent", "primer_pytorch"):
        (lessons / f"{name}.ipynb").write_text(f"notebook {name}")
        (lessons / f"{name}.py").write_text(f"script {name}")
    (lessons / "jupytext.toml").write_text("formats")
    (lessons / "pictures" / "a.png").write_text("picture")
    (lessons / ".ipynb_checkpoints").mkdir()
    (lessons / ".ipynb_checkpoints" / "x.ipynb").write_text("old")
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(start, "ROOT", tmp_path)
    monkeypatch.setattr(start, "VENV", tmp_path / ".venv")
    return tmp_path


def fake_venv(project):
    """A .venv that is this Python's, without anything of its own."""
    start.venv_python().parent.mkdir(parents=True)
    start.venv_python().symlink_to(sys.executable)


# ------------------------------------------------------------------------------------------------ which Python


def test_an_old_python_can_read_start():
    ast.parse((ROOT / "start.py").read_text(), feature_version=(3, 6))


@posix
@pytest.mark.parametrize("version, words", [
    ((3, 6, 15), "Python 3.6 is too old: install Python 3.12"), ((3, 10, 0), "Python 3.10 is too old"),
    ((3, 14, 0), "Python 3.14 is too new: install Python 3.12"), ((2, 7, 18), "Python 2.7 is too old")])
def test_a_wrong_python_is_one_line(tmp_path, version, words):
    shutil.copy(ROOT / "start.py", tmp_path)
    pretend = (f"import runpy, sys; sys.version_info = {version}; sys.argv = ['start.py']; "
               "runpy.run_path('start.py', run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", pretend], cwd=tmp_path, capture_output=True, text=True,
                          env={"PATH": "/nowhere"})
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and words in done.stderr, done.stderr
    assert "`python3.12 start.py`" in done.stderr


@posix
def test_another_python_is_found_and_used(monkeypatch):
    tried, used = [], []

    def version_of(command):
        tried.append(command)
        return (3, 13) if command == ["python3.13"] else (0, 0)

    monkeypatch.setattr(start, "version_of", version_of)
    monkeypatch.setattr(start.os, "execvp", lambda program, arguments: used.append((program, arguments)))
    monkeypatch.setattr(start, "suitable", lambda version: tuple(version[:2]) == (3, 13))  # as if this Python were not
    start.check_python(["lab", "--port", "9000"])
    assert tried == [["python3.12"], ["python3.13"]]
    assert used == [("python3.13", ["python3.13", str(ROOT / "start.py"), "lab", "--port", "9000"])]


def test_versions():
    assert start.version_of([sys.executable]) == sys.version_info[:2]
    assert start.version_of(["no-such-python"]) == (0, 0)
    assert [start.suitable((3, minor)) for minor in (10, 11, 13, 14)] == [False, True, True, False]


def test_an_intel_mac_is_sent_to_binder(monkeypatch):
    monkeypatch.setattr(start.sys, "platform", "darwin")
    monkeypatch.setattr(start.platform, "machine", lambda: "x86_64")
    with pytest.raises(start.Problem, match="Binder"):
        start.check_platform()
    monkeypatch.setattr(start.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(start.platform, "mac_ver", lambda: ("13.6", ("", "", ""), ""))
    with pytest.raises(start.Problem, match="macOS 13.6 is too old"):
        start.check_platform()
    monkeypatch.setattr(start.platform, "mac_ver", lambda: ("15.1", ("", "", ""), ""))
    start.check_platform()


# ------------------------------------------------------------------------------------------------ set-up


def test_too_little_disk_is_said_before_anything_is_made(project, monkeypatch):
    monkeypatch.setattr(start.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**12, 10**12, 2 * 10**9))
    with pytest.raises(start.Problem, match=rf"too little disk: 2.0 GB free at .*, {start.GIGABYTES} GB needed"):
        start.setup()
    assert not start.VENV.exists()


@pytest.mark.slow
def test_no_network_is_one_line(tmp_path):
    for name in ("start.py", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    nowhere = "http://127.0.0.1:9/simple"  # the discard port: nobody listens
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    env.update(PIP_CONFIG_FILE=os.devnull, PIP_INDEX_URL=nowhere, UV_DEFAULT_INDEX=nowhere, PIP_RETRIES="0")
    done = subprocess.run([sys.executable, "start.py"], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("start.py: no network: connect and run this again") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("text, words", [
    ("error: Failed to fetch: x\n  Caused by: dns error", "no network"),
    ("WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching version", "no network"),
    ("error: Failed to install\n  Caused by: No space left on device (os error 28)", "the disk is full"),
    ("OSError: [Errno 28] No space left on device", "the disk is full"),
    ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "hash mismatch"),
    ("error: Hash mismatch for `uv==0.1`", "hash mismatch"),
    ("ERROR: Could not find a version that satisfies the requirement x (from versions: none)", "no network"),
    ("a\nerror: something else\n", "installing failed: error: something else"),
])
def test_what_an_installer_says_becomes_one_line(text, words):
    assert start.reason(text).startswith(words) or words in start.reason(text)
    assert "\n" not in start.reason(text)


@posix
def test_a_second_start_installs_nothing(project, monkeypatch):
    installed = []
    monkeypatch.setattr(start, "install", installed.append)
    monkeypatch.setattr(start, "check_disk", lambda gigabytes: None)
    fake_venv(project)
    start.setup()
    start.setup()
    assert installed == [None]
    for name in ("requirements.txt", "pyproject.toml"):  # what the environment depends on
        (project / name).write_text((project / name).read_text() + "\n# changed\n")
        start.setup()
        start.setup()
    assert installed == [None] * 3


@posix
def test_an_interrupted_installation_is_done_again(project, monkeypatch):
    monkeypatch.setattr(start, "check_disk", lambda gigabytes: None)
    fake_venv(project)
    monkeypatch.setattr(start, "install", lambda wheels: (_ for _ in ()).throw(start.Problem("no network")))
    with pytest.raises(start.Problem):
        start.setup()
    installed = []
    monkeypatch.setattr(start, "install", installed.append)
    start.setup()
    assert installed == [None]


def test_the_pinned_uv_is_in_the_lock():
    entry = re.search(r"^uv==(\S+)(?:.*\\\n)+.*\n", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert entry.group(0).count("--hash=sha256:") > 5
    assert not re.search(r"^[a-z].*==", entry.group(0)[3:], re.MULTILINE)  # this entry alone


def test_the_environment_of_programs_is_the_projects_own(project, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", "/somewhere")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    env = start.environment()
    assert "PYTHONPATH" not in env and "PYTHONDONTWRITEBYTECODE" not in env
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        assert Path(env[name]).is_relative_to(project)
    assert int(env["MALLOC_TRIM_THRESHOLD_"]) >= 2**30 and int(env["MALLOC_MMAP_THRESHOLD_"]) >= 2**30


# ------------------------------------------------------------------------------------------------ a folder of wheels


def wheel(folder, name, content):
    """A wheel of one module, written by hand; returns its sha256."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


BACKEND = '''
import zipfile

def build_editable(folder, settings=None, metadata=None):
    name, info = "course-1.0-py3-none-any.whl", "course-1.0.dist-info"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        archive.writestr("course.pth", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: course\\nVersion: 1.0\\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(f"{info}/RECORD", "")
    return name

build_wheel = build_editable
'''


@pytest.mark.slow
@pytest.mark.parametrize("with_uv", [True, False], ids=["uv", "pip"])
def test_installing_from_a_folder_of_wheels(project, monkeypatch, with_uv):
    """Without a network; and a wheel that is not the locked one is refused."""
    uv = Path(sys.prefix) / ("Scripts/uv.exe" if os.name == "nt" else "bin/uv")
    if not uv.exists():
        pytest.skip("no uv in this environment")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(project / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    wheels = project / "wheels"
    wheels.mkdir()
    right = wheel(wheels, "smallest", "answer = 42\n")
    # The lock names a uv for another Python, so that the folder need not hold one.
    lock = (f'smallest==1.0 \\\n    --hash=sha256:{right}\n'
            f'uv==1.0 ; python_version < "3" \\\n    --hash=sha256:{"0" * 64}\n')
    (project / "requirements.txt").write_text(lock)
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "course"\nversion = "1.0"\n')
    (project / "backend.py").write_text(BACKEND)
    start.make_venv()
    monkeypatch.setattr(start, "pinned_uv", lambda source: str(uv) if with_uv else None)
    kind = f"{start.sysconfig.get_platform()}-python{sys.version_info[0]}.{sys.version_info[1]}"
    (wheels / f"full-{kind}.txt").write_text(hashlib.sha256(lock.encode()).hexdigest())
    start.setup(wheels)
    python = str(start.venv_python())
    assert subprocess.check_output([python, "-c", "import smallest; print(smallest.answer)"], text=True) == "42\n"

    subprocess.run([python, "-m", "pip", "uninstall", "-qy", "smallest"], check=True)
    shutil.rmtree(project / "cache", ignore_errors=True)
    wheel(wheels, "smallest", "answer = 'forged'\n")
    with pytest.raises(start.Problem, match="hash mismatch"):
        start.install(wheels)


@posix
def test_a_folder_is_filled_once_for_a_lock_and_a_machine(project, monkeypatch):
    commands = []
    monkeypatch.setattr(start, "check_disk", lambda *arguments: None)
    monkeypatch.setattr(start, "said", lambda command, show=None: commands.append(command) or (0, ""))
    fake_venv(project)
    wheels = project / "wheels"
    for _ in range(2):
        start.fill(wheels)
    downloads = [command for command in commands if "download" in command]
    assert len(downloads) == 1
    assert {"--require-hashes", "--only-binary=:all:", "--no-deps", str(wheels)} <= set(downloads[0])
    (project / "requirements.txt").write_text("another lock")
    start.fill(wheels)
    assert len([command for command in commands if "download" in command]) == 2

    monkeypatch.setattr(start, "said", lambda command, show=None: (int("download" in command), "Max retries exceeded"))
    (project / "requirements.txt").write_text("a third lock")
    with pytest.raises(start.Problem, match=r"lacks wheels .* \(no network here\)") as problem:
        start.fill(wheels)
    assert "\n" not in str(problem.value)


# ------------------------------------------------------------------------------------------------ the learner's copies


def test_copies_are_made_once_and_never_overwritten(project):
    mine = project / "my_lessons"
    start.copy_new(mine)
    files = {path.relative_to(mine).as_posix() for path in mine.rglob("*") if path.is_file()}
    assert files == {"jupytext.toml", "pictures/a.png", *(f"{name}.{kind}" for kind in ("ipynb", "py") for name in (
        "00_what_is_a_task", "01_gradient_descent", "primer_pytorch"))}
    (mine / "00_what_is_a_task.ipynb").write_text("my work")
    (mine / "jupytext.toml").write_text("my settings")
    (project / "lessons" / "02_new.ipynb").write_text("new")
    (project / "lessons" / "02_new.py").write_text("new")
    start.copy_new(mine)
    assert (mine / "00_what_is_a_task.ipynb").read_text() == "my work"
    assert (mine / "jupytext.toml").read_text() == "my settings"
    assert (mine / "02_new.ipynb").read_text() == "new"


@pytest.mark.parametrize("kept, gone", [(".ipynb", ".py"), (".py", ".ipynb")])
def test_half_a_pair_is_the_learners(project, kept, gone):
    """A blank script newer than the learner's notebook would be taken for the newest version of it."""
    mine = project / "my_lessons"
    start.copy_new(mine)
    (mine / "00_what_is_a_task").with_suffix(kept).write_text("my work")
    (mine / "00_what_is_a_task").with_suffix(gone).unlink()
    start.copy_new(mine)
    assert (mine / "00_what_is_a_task").with_suffix(kept).read_text() == "my work"
    assert not (mine / "00_what_is_a_task").with_suffix(gone).exists()


def test_a_copied_pair_is_in_step(project):
    mine = project / "my_lessons"
    start.copy_new(mine)
    assert len({path.stat().st_mtime for path in start.pair(mine / "00_what_is_a_task")}) == 1


@pytest.mark.parametrize("number, name", [
    ("01", "01_gradient_descent"), ("1", "01_gradient_descent"), ("0", "00_what_is_a_task"),
    ("primer", "primer_pytorch"), ("01_gradient_descent", "01_gradient_descent")])
def test_reset_keeps_a_backup(project, capsys, number, name):
    mine = project / "my_lessons"
    start.copy_new(mine)
    other = "00_what_is_a_task" if name != "00_what_is_a_task" else "primer_pytorch"
    (mine / f"{other}.ipynb").write_text("untouched")
    for suffix in (".ipynb", ".py"):
        (mine / name).with_suffix(suffix).write_text(f"my work {suffix}")
    assert start.main(["reset", number, "--my-lessons", str(mine)]) is None
    assert (mine / f"{name}.ipynb").read_text() == f"notebook {name}"
    assert (mine / f"{name}.py").read_text() == f"script {name}"
    kept = sorted((mine / "backup").iterdir())
    assert [re.sub(r"\d{8}-\d{6}", "TIME", path.name) for path in kept] == [f"{name}.TIME.ipynb", f"{name}.TIME.py"]
    assert [path.read_text() for path in kept] == ["my work .ipynb", "my work .py"]
    assert (mine / f"{other}.ipynb").read_text() == "untouched"
    assert str(kept[0]) in capsys.readouterr().out


def test_two_resets_within_a_second_keep_both_backups(project):
    mine = project / "my_lessons"
    for work in ("first", "second", "third"):
        start.reset("00", mine)
        (mine / "00_what_is_a_task.ipynb").write_text(work)
    start.reset("00", mine)
    assert {path.read_text() for path in (mine / "backup").glob("*.ipynb")} == {"first", "second", "third"}


def test_reset_of_an_unknown_lesson_names_those_there_are(project):
    with pytest.raises(start.Problem, match="no lesson '7': choose one of 00, 01, primer"):
        start.reset("7", project / "my_lessons")
    assert not (project / "my_lessons").exists()


@pytest.mark.parametrize("arguments", [["reset"], ["lab", "01"], ["nonsense"], ["lab", "--port", "many"]])
def test_a_wrong_command_line_is_explained(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        start.main(arguments)
    assert end.value.code == 2 and "usage: python3 start.py" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ JupyterLab


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(start.Problem, match=f"port {port} is in use: .* leave --port out"):
            start.choose_port(port)
    with pytest.raises(start.Problem, match="--port 80: choose a number from 1024"):
        start.choose_port(80)


def test_without_a_wish_a_free_port_is_chosen(monkeypatch):
    monkeypatch.setattr(start, "free", lambda port: port == 8890)
    assert start.choose_port(None) == 8890


@pytest.mark.parametrize("variables, there", [
    ({}, False), ({"DISPLAY": ":0"}, True), ({"WAYLAND_DISPLAY": "wayland-0"}, True)])
def test_display(monkeypatch, variables, there):
    monkeypatch.setattr(start.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert start.has_display() == there


def ready():
    stamp = start.VENV / "start-stamp.txt"
    return stamp.exists() and stamp.read_text() == start.stamp()


needs_setup = pytest.mark.skipif(not ready(), reason="the environment is not ready: python3 start.py test")


def get(address, token=None, method="GET", data=None):
    """(status, text) of a request to the server on this machine."""
    headers = {"Authorization": f"token {token}"} if token else {}
    request = urllib.request.Request(address, headers=headers, method=method, data=data)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


@posix
@needs_setup
@pytest.mark.slow
def test_lab_serves_on_this_machine_behind_a_token_and_stops_on_ctrl_c(tmp_path, as_in_a_terminal):
    log = start.VENV / "start-log.txt"
    before = log.stat().st_size if log.exists() else 0
    began = time.perf_counter()
    env = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "start.py", "lab", "--my-lessons", str(tmp_path / "mine")]
    lab = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
    try:
        address = next(line.strip() for line in lab.stdout if "http://" in line)
        form = r"(http://127\.0\.0\.1:\d+)/lab/tree/(\S+)\?token=([0-9a-f]{48})"
        server, name, token = re.fullmatch(form, address).groups()
        status, page = get(address)
        seconds = time.perf_counter() - began
        print(f"served after {seconds:.1f} s")
        assert (status, name) == (200, start.FIRST_LESSON) and "jupyter-config-data" in page
        assert seconds < 15
        assert (log.stat().st_size if log.exists() else 0) == before  # nothing was installed
        assert (tmp_path / "mine" / start.FIRST_LESSON).exists()

        assert get(server + "/api/contents")[0] == 403
        assert get(server + "/api/contents", "0" * 48)[0] == 403
        assert get(server + "/api/contents", token)[0] == 200
        listening = set()
        for process in psutil.Process(lab.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # the server also has helpers, which end when they have answered
                listening |= {connection.laddr for connection in process.net_connections("inet")
                              if connection.status == psutil.CONN_LISTEN}
        assert listening and {address.ip for address in listening} == {"127.0.0.1"}
        settings = json.loads(get(server + "/lab/api/settings/@jupyterlab/apputils-extension:notification", token)[1])
        news = settings["schema"]["properties"]
        assert news["fetchNews"]["default"] == "false" and news["checkForUpdates"]["default"] is False

        kernel = json.loads(get(server + "/api/kernels", token, "POST", b"{}")[1])
        assert kernel["name"] == "python3"
        family = psutil.Process(lab.pid).children(recursive=True)
        assert len(family) >= 2  # the server and the kernel
        lab.send_signal(signal.SIGINT)
        assert lab.wait(30) == 0
        assert psutil.wait_procs(family, timeout=10)[1] == []
        assert "Stopping" in lab.stdout.read()
    finally:
        if lab.poll() is None:
            lab.terminate()
            lab.wait(30)
        lab.stdout.close()


@posix
@needs_setup
@pytest.mark.slow
def test_run_installs_nothing_when_all_is_there():
    done = subprocess.run([sys.executable, "start.py", "run", "-c", "import sys; print(sys.prefix)"], cwd=ROOT,
                          capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).resolve() == start.VENV.resolve()  # one line: nothing else was done


# ------------------------------------------------------------------------------------------------ the test run


SMALL_TESTS = '''
import pytest

def test_right(): pass

def test_also_right(): pass

def test_left_out(): pytest.skip("for a reason")

def test_wrong(): assert False

@pytest.fixture
def broken(): raise ValueError

def test_error(broken): pass

@pytest.mark.links
def test_of_another_part(): pass
'''


@posix
@pytest.mark.slow
def test_counts_of_a_part(project, monkeypatch):
    (project / "tests").mkdir()
    (project / "tests" / "test_small.py").write_text(SMALL_TESTS)
    monkeypatch.setattr(start, "VENV", Path(sys.prefix))
    assert start.pytest(start.UNIT, project) == (2, 2, 1)
    assert start.pytest("binder", project) == (0, 1, 0)  # a part without tests is a failure
    (project / "tests" / "test_small.py").write_text("import no_such_module")
    assert start.pytest("links", project)[1] == 1  # and so is one that cannot be read


def test_the_parts_are_timed_and_added_up(monkeypatch, capsys):
    asked = []

    def pytest_(marks, folder):
        asked.append(marks)
        return (5, 0, 1)

    monkeypatch.setattr(start, "pytest", pytest_)
    monkeypatch.setattr(start, "pairs", lambda folder: (1, 0, 0))
    assert start.tests(quick=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{5 * len(asked) + 1} passed, 0 failed, {len(asked)} skipped"
    rows = [line.split()[0] for line in lines if re.search(r"\d\.\d +\d+ +\d+ +\d+$", line)]
    assert rows == ["unit", "pairs", "notebooks", "figures", "mutants", "links", "accessibility", "binder", "grading",
                    "browser", "all"]
    assert asked == [start.UNIT, *start.PARTS.values()]

    asked.clear()
    assert start.tests(quick=True) == 0
    assert asked == [start.UNIT + " and not slow", "links"]
    monkeypatch.setattr(start, "pairs", lambda folder: (0, 1, 0))
    assert start.tests(quick=True) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "10 passed, 1 failed, 2 skipped"


@pytest.mark.xdist_group("together")
def test_the_tests_of_a_group_stay_together(request):
    """A class is graded once and a lesson is opened once, whoever asks: not every pair of pytest and its plugin does so."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("these tests do not run two at a time")
    assert request.node.nodeid.endswith("@together")


def test_every_test_belongs_to_one_part(request):
    markers = {line.split(":")[0] for line in request.config.getini("markers")}
    assert set(start.PARTS.values()) | {"slow"} <= markers
    assert start.UNIT.split(" and ") == [f"not {marker}" for marker in start.PARTS.values()]
    conftest = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))

    class Item:
        nodeid = "test_x"

        def __init__(self, *marks):
            self.marks = marks

        def iter_markers(self):
            return (getattr(pytest.mark, mark).mark for mark in self.marks)

    conftest.pytest_collection_modifyitems([Item(), Item("slow"), Item("links", "slow")])
    with pytest.raises(pytest.UsageError, match="would run 2 times"):
        conftest.pytest_collection_modifyitems([Item("links", "browser")])


# ------------------------------------------------------------------------------------------------ what calls start.py


COMMANDS = {"lab", "test", "quick", "reset", "lock", "run"}


def test_every_call_of_start_in_the_documents_exists():
    for name in ("README.md", "CONTRIBUTING.md", "Makefile", ".ci/run", ".github/workflows/checks.yml"):
        for line in re.findall(r"start\.py(?: ([a-z]+))?", (ROOT / name).read_text()):
            assert line in COMMANDS | {""} or name.endswith(".md"), (name, line)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"lab", "test", "quick", "reset", "lock", "lessons", "bench"} == targets
    for name in ("README.md", "CONTRIBUTING.md"):
        assert set(re.findall(r"(?:^    |`)make ([a-z]+)", (ROOT / name).read_text(), re.MULTILINE)) <= targets


@posix
def test_make_calls_start():
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    calls = {"lab": "start.py lab", "test": "start.py test", "quick": "start.py quick", "lock": "start.py lock",
             "reset N=01": "start.py reset 01", "lessons N=01": "start.py run tools/lessons.py build 01"}
    for target, call in calls.items():
        done = subprocess.run(["make", "-n", *target.split()], cwd=ROOT, capture_output=True, text=True, check=True)
        assert call in done.stdout


def executable(path, text):
    path.write_text("#!/bin/bash\n" + text)
    path.chmod(0o755)


@posix
@pytest.mark.parametrize("there", [True, False], ids=["with Chromium", "without"])
def test_ci_installs_the_browser_and_runs_all_tests(tmp_path, there):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "id", "env", "sh"):
        (programs / name).symlink_to(shutil.which(name))
    for name in ("make", "apt-get", "sudo") + (("chromium",) if there else ()):
        executable(programs / name, f'echo "{name} $* CI=$CI"\n[ "{name}" != sudo ] || "$@"\n'
                                    'if read -t 1 typed; then echo "has input"; fi\n')
    done = subprocess.run([tmp_path / ".ci" / "run"], cwd="/", capture_output=True, text=True, input="typed\n",
                          env={"PATH": str(programs)})
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[-1] == "make test CI=true" and "has input" not in said
    assert any("apt-get install" in line and "chromium" in line for line in said) == (not there)


def test_the_workflow_runs_our_commands_on_three_systems():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text())
    assert {"push", "pull_request"} <= set(workflow[True])  # YAML reads the key `on` as true
    job = workflow["jobs"]["test"]
    matrix = job["strategy"]["matrix"]
    assert {system.split("-")[0] for system in matrix["system"]} == {"ubuntu", "macos", "windows"}
    assert all(int(system.split("-")[1]) >= 14 for system in matrix["system"] if system.startswith("macos"))
    assert matrix["python"] == [f"3.{minor}" for minor in range(start.OLDEST[1], start.NEWEST[1] + 1)]
    assert job["runs-on"] == "${{ matrix.system }}"
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert "bash .ci/run" in runs and "python start.py test" in runs
    assert all(set(step) <= {"name", "if", "uses", "with", "run", "env"} and ("run" in step) != ("uses" in step)
               for step in job["steps"])


# ------------------------------------------------------------------------------------------------ the doctor


@pytest.mark.slow
def test_doctor_finds_everything_here():
    lines = []
    assert doctor.report(lines.append), lines
    assert all(line.startswith("[OK]   ") for line in lines[:-1])
    for name in ("Python", "torch", "jupyterlab", "PyTorch pair", "device", "cores", "data", "kernel", "memory"):
        assert any(line.startswith(f"[OK]   {name}: ") for line in lines), name


def test_doctor_finds_what_is_wrong(monkeypatch):
    monkeypatch.setattr(doctor, "kernel", lambda: (_ for _ in ()).throw(TimeoutError("no answer\nin a minute")))
    monkeypatch.setattr(doctor, "MEMORY", 10**6)
    monkeypatch.setattr(doctor, "requirements", lambda: ["torch>=99", "no-such-package>=1", "numpy>=2"])
    monkeypatch.setattr("metalearn_lite.data.intact", lambda: [("good.npz", True), ("bad.npz", False)])
    lines = []
    assert not doctor.report(lines.append)
    failed = [line for line in lines if line.startswith("[FAIL]")]
    names = [line.split(":")[0].split()[1] for line in failed]
    assert names == ["torch", "no-such-package", "data", "kernel", "memory"]
    assert ">=99 is needed" in failed[0] and "missing" in failed[1]
    assert "bad.npz" in failed[2] and "good.npz" not in failed[2]
    assert failed[3] == "[FAIL] kernel: TimeoutError: no answer"
    assert any(line.startswith("[OK]   numpy") for line in lines) and lines[-1].startswith("5 of ")


def test_doctor_reads_the_same_requirements_from_an_installed_wheel(monkeypatch, tmp_path):
    here = doctor.requirements()
    assert any(line.startswith("torch>=") for line in here) and not any(line.startswith("pytest") for line in here)
    monkeypatch.setattr(doctor, "PYPROJECT", tmp_path / "none.toml")
    monkeypatch.setattr(doctor.importlib.metadata, "requires",
                        lambda name: ["torch>=2.12", 'pytest>=9; extra == "test"'])
    assert doctor.requirements() == ["torch>=2.12"]


@pytest.mark.parametrize("well, status", [(True, 0), (False, 1)])
def test_the_doctors_exit_status_says_it_all(monkeypatch, well, status):
    monkeypatch.setattr(doctor, "report", lambda: well)
    monkeypatch.setattr(sys, "argv", ["metalearn_lite", "doctor"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("metalearn_lite", run_name="__main__")
    assert end.value.code == status


def test_the_package_asks_for_a_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["metalearn_lite"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("metalearn_lite", run_name="__main__")
    assert end.value.code == 2 and "doctor | grade | grade merge | release" in capsys.readouterr().err
