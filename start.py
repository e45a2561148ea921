#!/usr/bin/env python3
"""Set the course up and start it. Needs Python 3.11, 3.12 or 3.13 and nothing else.

    python3 start.py              set up if need be, copy the lessons to my_lessons/, open JupyterLab (the same: lab)
    python3 start.py test         set up if need be, then every test, part by part
    python3 start.py quick        the checks for every commit: unit tests, pairs in step, links
    python3 start.py reset 01     a fresh copy of lesson 01 in my_lessons/; your version goes to my_lessons/backup/
    python3 start.py lock         renew requirements.txt, environment.yml and binder/environment.yml
    python3 start.py run ...      run the course's Python, for instance: run -m metalearn_lite doctor

    --wheels DIR                  install from the folder DIR without a network; fills DIR first if it is not full yet
    --port N, --no-browser        for lab: serve on this port; print the address only
    --my-lessons DIR              for lab and reset: keep your copies in DIR instead of my_lessons/

On Windows write `py start.py` for `python3 start.py`.
"""

# Whoever starts this with an old Python shall read one line about it, so the syntax stays at that of Python 3.6.

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
import webbrowser
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
WINDOWS = os.name == "nt"
OLDEST, NEWEST = (3, 11), (3, 13)
GIGABYTES = 8 if sys.platform == "linux" else 3  # free disk for the first installation
FIRST_LESSON = "00_what_is_a_task.ipynb"

# Parts of the test run, by marker; a test without one of these markers belongs to the part "unit".
PARTS = {"notebooks": "notebook", "figures": "figures", "mutants": "mutants", "links": "links", "accessibility": "a11y",
         "binder": "binder", "grading": "grading", "browser": "browser"}
TIMED = "notebook"  # its tests have the machine to themselves; those of the other parts run two at a time
UNIT = " and ".join("not " + marker for marker in PARTS.values())


class Problem(Exception):
    """What stops us, in one line that says what to do."""


# ------------------------------------------------------------------------------------------------ which Python


def suitable(version):
    return OLDEST <= tuple(version[:2]) <= NEWEST


def version_of(command):
    """(major, minor) of the Python that `command` starts, or (0, 0) if it does not start."""
    try:
        out = subprocess.run(command + ["-c", "import sys; print('%d %d' % sys.version_info[:2])"], timeout=60,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        return tuple(int(number) for number in out.split()[:2]) or (0, 0)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return (0, 0)


def another_python():
    """The command of a suitable Python elsewhere on this machine, or None."""
    names = ["3.12", "3.13", "3.11"]
    commands = [["py", "-" + name] for name in names] if WINDOWS else [["python" + name] for name in names]
    commands.append([str(venv_python())])
    return next((command for command in commands if suitable(version_of(command))), None)


def check_python(arguments):
    """Go on with a suitable Python, or say which to install."""
    if suitable(sys.version_info):
        return
    command = another_python()
    if command is None:
        age = "old" if sys.version_info[:2] < OLDEST else "new"
        raise Problem("Python {}.{} is too {}: install Python 3.12 (python.org/downloads) and run `{} start.py`".format(
            sys.version_info[0], sys.version_info[1], age, "py -3.12" if WINDOWS else "python3.12"))
    command = command + [str(ROOT / "start.py")] + arguments
    if WINDOWS:
        sys.exit(subprocess.call(command))
    sys.stdout.flush()
    os.execvp(command[0], command)


def check_platform():
    if sys.maxsize < 2**32:
        raise Problem("this Python has 32 bits, PyTorch needs 64: install the 64-bit Python 3.12 from python.org")
    if sys.platform == "darwin":
        if platform.machine() != "arm64":
            raise Problem("PyTorch has no packages for an Intel Mac or an Intel Python: install an Apple-silicon "
                          "Python, or use Binder (see README.md)")
        if int(platform.mac_ver()[0].split(".")[0]) < 14:
            raise Problem("macOS {} is too old: update to macOS 14, or use Binder (see README.md)".format(
                platform.mac_ver()[0]))


# ------------------------------------------------------------------------------------------------ set-up


def venv_python():
    return VENV / ("Scripts/python.exe" if WINDOWS else "bin/python")


def environment():
    """What every program started from here gets: settings inside the project, whatever this machine's user has set."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV",
               "PYTHONDONTWRITEBYTECODE")  # where it is set, each kernel would compile PyTorch anew: five seconds
    env = {name: value for name, value in os.environ.items() if name not in foreign}
    jupyter = ROOT / ".jupyter"
    jupyter.mkdir(exist_ok=True)
    env.update(JUPYTER_CONFIG_DIR=str(jupyter / "config"), JUPYTER_DATA_DIR=str(jupyter / "data"),
               JUPYTER_RUNTIME_DIR=str(jupyter / "runtime"), IPYTHONDIR=str(jupyter / "ipython"))
    env.setdefault("UV_SYSTEM_CERTS", "1")  # schools and firms put certificates of their own into the system's store
    env.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    # The C library keeps big blocks instead of handing each back to the system: twice the speed for big batches.
    env.setdefault("MALLOC_MMAP_THRESHOLD_", "1073741824")
    env.setdefault("MALLOC_TRIM_THRESHOLD_", "1073741824")
    return env


def stamp():
    """What the environment depends on: while this stays the same there is nothing to install."""
    text = (ROOT / "requirements.txt").read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    return hashlib.sha256(text + str(ROOT).encode()).hexdigest() + " %d.%d" % version_of([str(venv_python())])


def setup(wheels=None):
    """Make .venv and install the locked packages and the course into it, unless that was done before."""
    done = VENV / "start-stamp.txt"
    if wheels is None and done.exists() and done.read_text() == stamp():
        return
    check_platform()
    if not done.exists():
        check_disk(GIGABYTES)
    if not suitable(version_of([str(venv_python())])):
        make_venv()
    if wheels is not None:
        wheels = Path(wheels).resolve()
        fill(wheels)
    if not (done.exists() and done.read_text() == stamp()):
        started = time.time()
        install(wheels)
        done.write_text(stamp())
        print("Set up in %.0f s." % (time.time() - started), flush=True)
    shutil.rmtree(str(VENV / "tmp"), ignore_errors=True)


def check_disk(gigabytes, folder=None):
    for place in [folder] if folder else {ROOT, cache_folder()}:
        free = shutil.disk_usage(str(place)).free / 1e9
        if free < gigabytes:
            raise Problem("too little disk: {:.1f} GB free at {}, {} GB needed: make room, or {}".format(
                free, place, gigabytes, "choose another disk" if place != cache_folder() or place == ROOT else
                "set UV_CACHE_DIR to a folder on another disk"))


def cache_folder():
    """Where uv keeps what it downloads (the nearest folder that exists), or ROOT if that is on the same disk."""
    home = os.environ.get("LOCALAPPDATA" if WINDOWS else "XDG_CACHE_HOME") or str(Path.home() / ".cache")
    place = Path(os.environ.get("UV_CACHE_DIR") or home)
    while not place.exists() and place != place.parent:
        place = place.parent
    return ROOT if place.stat().st_dev == ROOT.stat().st_dev else place


def make_venv():
    if importlib.util.find_spec("ensurepip") is None:
        raise Problem("this Python cannot make environments: on Debian or Ubuntu run "
                      "`sudo apt install python{}.{}-venv`, then this again".format(*sys.version_info))
    print("Making .venv with Python {}.{}.{}".format(*sys.version_info), flush=True)
    code, text = said([sys.executable, "-m", "venv", "--clear", str(VENV)])
    if code:
        raise Problem("`{} -m venv .venv` failed: {}".format(sys.executable, last_line(text)))


def said(command, show=None):
    """Run a command in the project; returns (exit status, all it printed). Lines that match `show` are printed at once.

    The text goes to .venv/start-log.txt too. Temporary files (pip's are gigabytes) go to .venv/tmp: /tmp may be small.
    """
    lines, env = [], environment()
    if VENV.exists():
        (VENV / "tmp").mkdir(exist_ok=True)
        env.update(TMPDIR=str(VENV / "tmp"), TEMP=str(VENV / "tmp"), TMP=str(VENV / "tmp"))
    with subprocess.Popen(command, cwd=str(ROOT), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding="utf-8", errors="replace") as process:
        for line in process.stdout:
            lines.append(line)
            if show and re.match(show, line):
                print("  " + line.strip()[:100], flush=True)
    if VENV.exists():
        with open(str(VENV / "start-log.txt"), "a", encoding="utf-8") as log:
            log.writelines(["$ " + " ".join(command) + "\n"] + lines)
    return process.returncode, "".join(lines)


def last_line(text):
    return (text.strip().splitlines() or ["no reason given"])[-1].strip()


def pip():
    """The command of pip in .venv."""
    command = [str(venv_python()), "-m", "pip"]
    if said(command + ["--version"])[0]:
        code, text = said([str(venv_python()), "-m", "ensurepip"])
        if code:
            raise Problem("no pip in .venv ({}): delete the folder .venv and run this again".format(last_line(text)))
    return command


def pinned_uv(source):
    """The uv that the lock names, put into .venv by pip with its hashes checked; None if it cannot be had here."""
    lock = (ROOT / "requirements.txt").read_text()
    entry = re.search(r"^uv==(\S+)(?:.*\\\n)+.*\n", lock, re.MULTILINE)
    uv = VENV / ("Scripts/uv.exe" if WINDOWS else "bin/uv")
    if uv.exists() and said([str(uv), "--version"])[1].split()[1:2] == [entry.group(1)]:
        return str(uv)
    with tempfile.TemporaryDirectory() as folder:
        only = Path(folder) / "uv.txt"
        only.write_text(entry.group(0))
        code, text = said(pip() + ["install", "--no-deps", "--require-hashes", "-r", str(only)] + source)
    if code and offline(text):
        raise Problem(reason(text))
    return None if code else str(uv)


def install(wheels):
    """Install the lock and the course into .venv: with uv, or else with pip."""
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
    lock = ["--require-hashes", "-r", "requirements.txt"] + source
    course = ["--no-deps", "--no-build-isolation", "-e", "."] + source
    print("Installing the packages of requirements.txt " + (
        "from {}".format(wheels) if wheels else "(a first time takes minutes)"), flush=True)
    show = r"\s*(Resolved|Downloading|Prepared|Installed|Installing)"
    uv = pinned_uv(source)
    if uv:
        tool = [uv, "pip", "install", "--python", str(venv_python())]
        if not any(said(tool + step, show)[0] for step in (lock, course)):
            return
        print("uv did not manage; trying pip", flush=True)
    for step in (lock, course):
        code, text = said(pip() + ["install", "--no-cache-dir", "--progress-bar", "off"] + step, show)
        if code:
            raise Problem(reason(text))


def reason(text):
    """One line for what an installer printed when it failed."""
    if re.search(r"No space left|not enough space|os error (28|112)|Errno 28|WinError 112", text):
        return "the disk is full: make room ({} GB) and run this again".format(GIGABYTES + 2)
    if re.search(r"HASHES|[Hh]ash mismatch", text):
        return "a package is not the one that the lock names (hash mismatch): try again, on another network if need be"
    if offline(text):
        return "no network: connect and run this again, or install from a folder with --wheels DIR (see README.md)"
    return "installing failed: {} (all of it is in .venv/start-log.txt)".format(last_line(text))


def offline(text):
    return re.search(r"[Nn]etwork|resolve|name resolution|dns error|[Cc]onnect|timed? ?out|Max retries|Proxy|"
                     r"from versions: none", text)


def fill(wheels):
    """Put every wheel of the lock for this kind of machine and this Python into the folder `wheels`, once."""
    python = "%d.%d" % version_of([str(venv_python())])
    kind = "{}-python{}".format(sysconfig.get_platform(), python)
    full = wheels / "full-{}.txt".format(kind)
    lock = hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest()
    if full.exists() and full.read_text() == lock:
        return
    wheels.mkdir(parents=True, exist_ok=True)
    check_disk(GIGABYTES / 2, wheels)
    print("Filling {} with the wheels for {}".format(wheels, kind), flush=True)
    code, text = said(pip() + ["download", "--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir",
                               "--progress-bar", "off", "-r", "requirements.txt", "-d", str(wheels)], r"\s*Downloading")
    if code:
        raise Problem("{} lacks wheels of this requirements.txt for {}: fill it once with a network, on a machine of "
                      "that kind ({})".format(wheels, kind, "no network here" if offline(text) else reason(text)))
    full.write_text(lock)


# ------------------------------------------------------------------------------------------------ the learner's copies


def lesson_files():
    """The files of lessons/, as paths relative to it."""
    files = (path.relative_to(ROOT / "lessons") for path in sorted((ROOT / "lessons").rglob("*")) if path.is_file())
    return [path for path in files if not {".ipynb_checkpoints", "__pycache__"} & set(path.parts)]


def pair(path):
    """The two files of a lesson, of which JupyterLab keeps the second in step with the first."""
    return [path.with_suffix(".ipynb"), path.with_suffix(".py")]


def copy(names, mine):
    """Copy files of lessons/ to the folder `mine`, all with the same time: a pair out of step does not open."""
    now = time.time()
    for name in names:
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(ROOT / "lessons" / name), str(mine / name))
        os.utime(str(mine / name), (now, now))


def copy_new(mine):
    """Copy what the learner does not have yet; a lesson of which one file exists is the learner's and is left alone."""
    new = [name for name in lesson_files() if not any((mine / other).exists() for other in
                                                      (pair(name) if name.suffix in (".ipynb", ".py") else [name]))]
    copy(new, mine)


def reset(number, mine):
    """A fresh copy of one lesson; the learner's files move to backup/."""
    names = [name for name in lesson_files() if name.suffix == ".ipynb"]
    wanted = number.zfill(2) if number.isdigit() else number
    chosen = [name for name in names if name.stem == wanted or name.stem.startswith(wanted + "_")]
    if len(chosen) != 1:
        raise Problem("no lesson {!r}: choose one of {}".format(number, ", ".join(
            name.stem.split("_")[0] for name in names)))
    when = time.strftime("%Y%m%d-%H%M%S")
    for name in pair(chosen[0]):
        if (mine / name).exists():
            backup = mine / "backup" / "{}.{}{}".format(name.stem, when, name.suffix)
            while backup.exists():
                backup = backup.with_name(backup.stem + "+" + backup.suffix)
            backup.parent.mkdir(parents=True, exist_ok=True)
            os.replace(str(mine / name), str(backup))
            print("Your version: {}".format(backup))
    copy([name for name in pair(chosen[0]) if (ROOT / "lessons" / name).exists()], mine)
    print("Fresh: {} (if it is open in JupyterLab: File > Reload Notebook from Disk)".format(mine / chosen[0]))


# ------------------------------------------------------------------------------------------------ JupyterLab


def free(port):
    with socket.socket() as probe:
        if not WINDOWS:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except (OSError, OverflowError):
            return False


def choose_port(port):
    if port is None:
        return next(number for number in range(8888, 9888) if free(number))
    if not 1024 <= port <= 65535:
        raise Problem("--port {}: choose a number from 1024 to 65535".format(port))
    if not free(port):
        raise Problem("port {} is in use: stop what runs there, choose another one, or leave --port out".format(port))
    return port


def has_display():
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def call(address, token, method="GET"):
    """Ask the server; True if it answers. No proxy is asked: the server is on this machine."""
    request = urllib.request.Request(address, method=method, headers={"Authorization": "token " + token})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            return answer.status == 200
    except (OSError, ValueError):
        return False


def quiet_settings():
    """JupyterLab's defaults for this environment: no pop-up about news and updates."""
    path = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    text = json.dumps({"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}})
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def lab(port, browser, mine):
    """Serve the learner's lessons on this machine only, behind a token, until Ctrl-C."""
    port = choose_port(port)
    copy_new(mine)
    quiet_settings()
    root = ROOT if ROOT in mine.parents else mine
    token = secrets.token_hex(24)
    server = "http://127.0.0.1:{}".format(port)
    address = "{}/lab/tree/{}?token={}".format(server, (mine / FIRST_LESSON).relative_to(root).as_posix(), token)
    command = [str(venv_python()), "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port={}".format(port),
               "--ServerApp.port_retries=0", "--ServerApp.root_dir={}".format(root),
               "--LabApp.extension_manager=readonly"]
    if not WINDOWS and os.geteuid() == 0:
        command.append("--allow-root")
    # A process group of its own: Ctrl-C reaches this program alone, which then stops the server properly.
    apart = {"creationflags": 0x200} if WINDOWS else {"start_new_session": True}
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    log = ROOT / ".jupyter" / "lab-{}.log".format(port)
    with open(str(log), "wb") as out:
        process = subprocess.Popen(command, cwd=str(ROOT), env=dict(environment(), JUPYTER_TOKEN=token),
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=out, **apart)
    try:
        deadline = time.time() + 120
        while not call(server + "/api/status", token):
            if process.poll() is not None or time.time() > deadline:
                raise Problem("JupyterLab did not start: {} (more in {}; if nothing helps, delete .venv)".format(
                    last_line(log.read_text(errors="replace")), log))
            time.sleep(0.1)
        print("JupyterLab runs; if no browser opens, open this address in one:\n\n    {}\n\n"
              "Your copies of the lessons are in {}. Ctrl-C here stops it.".format(address, mine), flush=True)
        if browser and has_display():
            webbrowser.open(address)
        while process.poll() is None:  # not wait(), which Ctrl-C does not interrupt on Windows
            time.sleep(0.2)
        return process.returncode
    except KeyboardInterrupt:
        print("\nStopping JupyterLab.", flush=True)
        return 0
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave the server behind
        stop(process, server, token)


def stop(process, server, token):
    """End the server and its kernels: ask it first, then end the process started here."""
    if process.poll() is None:
        call(server + "/api/shutdown", token, "POST")
        for end in (lambda: None, process.terminate, process.kill):
            end()
            try:
                process.wait(10)
                return
            except subprocess.TimeoutExpired:
                pass


# ------------------------------------------------------------------------------------------------ tests


def pytest(marks, folder):
    """Run the tests with these marks; returns (passed, failed, skipped). A part without tests counts as failed."""
    report = Path(folder) / "report.xml"
    command = [str(venv_python()), "-m", "pytest", "-q", "-rs", "-m", marks, "--junitxml", str(report)]
    if marks != TIMED:
        command += ["-n", "2", "--dist", "loadgroup"]
    code = subprocess.call(command, cwd=str(ROOT), env=test_environment(2 if marks == TIMED else 1),
                           stdin=subprocess.DEVNULL)
    passed = failed = skipped = 0
    if report.exists():
        for suite in xml.etree.ElementTree.parse(str(report)).getroot().iter("testsuite"):
            bad = int(suite.get("failures")) + int(suite.get("errors"))
            failed, skipped = failed + bad, skipped + int(suite.get("skipped"))
            passed += int(suite.get("tests")) - bad - int(suite.get("skipped"))
        report.unlink()
    return passed, failed + (1 if code and not failed else 0), skipped


def test_environment(threads=2):
    """At most two threads: on more, a second training process makes both many times slower; stored outputs had two."""
    env = environment()
    env.setdefault("OMP_NUM_THREADS", str(threads))
    return env


def pairs(folder):
    """Are the lessons what the solutions make, and the pairs in step? One check."""
    code = subprocess.call([str(venv_python()), "tools/lessons.py", "check"], cwd=str(ROOT), env=test_environment(),
                           stdin=subprocess.DEVNULL)
    return (0, 1, 0) if code else (1, 0, 0)


def tests(quick):
    """Run the parts one after the other and print the time of each; the exit status says if all passed."""
    marks = {"unit": UNIT + (" and not slow" if quick else ""), "pairs": None}
    marks.update({"links": "links"} if quick else PARTS)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for part, mark in marks.items():
            print("\n== {} ".format(part).ljust(80, "="), flush=True)
            started = time.time()
            counts = pytest(mark, folder) if mark else pairs(folder)
            rows.append((part, time.time() - started) + counts)
    rows.append(("all",) + tuple(sum(column) for column in zip(*[row[1:] for row in rows])))
    print("\n{:<15}{:>9}{:>9}{:>9}{:>9}".format("part", "seconds", "passed", "failed", "skipped"))
    for row in rows:
        print("{:<15}{:>9.1f}{:>9}{:>9}{:>9}".format(*row))
    passed, failed, skipped = rows[-1][2:]
    print("\n{} passed, {} failed, {} skipped".format(passed, failed, skipped), flush=True)
    return 1 if failed or not passed else 0


# ------------------------------------------------------------------------------------------------ the lock


def lock():
    """Resolve pyproject.toml anew for all systems, and write the two environment files from the result."""
    uv = pinned_uv([])
    if uv is None:
        raise Problem("no uv: connect to the network and run this again")
    code, text = said([uv, "pip", "compile", "--upgrade", "--universal", "--fork-strategy", "fewest",
                       "--python-version", "%d.%d" % OLDEST, "--generate-hashes", "--no-emit-index-url", "--no-header",
                       "--no-annotate", "--all-extras", "--quiet", "pyproject.toml", "-o", "requirements.txt"])
    if code:
        raise Problem(reason(text))
    for path in (ROOT / "environment.yml", ROOT / "binder" / "environment.yml"):
        path.write_bytes(environment_file().encode())  # the same line ends on every system
    print("Renewed: requirements.txt, environment.yml, binder/environment.yml. Now run the tests (make test).")


def environment_file():
    """The text of environment.yml: conda gives Python and the PyTorch pair, pip the other direct dependencies."""
    import tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = dict(re.findall(r"^([a-z0-9.-]+)==([^ \\]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    direct = [re.match(r"[\w.-]+", line).group().lower() for line in project["dependencies"]]
    by_pip = sorted(name for name in direct if name not in ("torch", "torchvision"))
    return "\n".join([
        "# Made by `python3 start.py lock` from pyproject.toml and the lock. binder/environment.yml is the same.",
        "name: " + project["name"],
        "channels:",
        "  - conda-forge",
        "dependencies:",
        "  - python=3.12",
        "  - pip",
        "  - pytorch-cpu=" + versions["torch"],
        "  - torchvision=" + versions["torchvision"],
        "  - pip:"] + ["      - {}=={}".format(name, versions[name]) for name in by_pip]) + "\n"


# ------------------------------------------------------------------------------------------------ the command line


def main(arguments):
    parser = argparse.ArgumentParser(usage="python3 start.py [lab|test|quick|reset NN|lock|run ...] [--wheels DIR] "
                                           "[--port N] [--no-browser] [--my-lessons DIR]")
    parser.add_argument("command", nargs="?", default="lab", choices=["lab", "test", "quick", "reset", "lock", "run"])
    parser.add_argument("number", nargs="?", help="for reset: the lesson's number")
    parser.add_argument("--wheels", metavar="DIR")
    parser.add_argument("--port", type=int)
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--my-lessons", metavar="DIR", default=str(ROOT / "my_lessons"))
    program = arguments[1:] if arguments[:1] == ["run"] else None
    options = parser.parse_args(["run"] if program is not None else arguments)
    if (options.command == "reset") != (options.number is not None):
        parser.error("`reset` takes the number of one lesson, as in `reset 01`; no other command takes one")
    check_python(arguments)
    mine = Path(options.my_lessons).resolve()
    if options.command == "reset":
        return reset(options.number, mine)
    setup(options.wheels)
    if program is not None:
        return subprocess.call([str(venv_python())] + program, cwd=str(ROOT), env=environment())
    if options.command == "lab":
        return lab(options.port, not options.no_browser, mine)
    if options.command == "lock":
        return lock()
    return tests(quick=options.command == "quick")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Problem as problem:
        sys.exit("start.py: {}".format(problem))
    except KeyboardInterrupt:
        sys.exit("start.py: stopped")
