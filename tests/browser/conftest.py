"""JupyterLab as `make lab` starts it, and a real browser before it: one server and one browser for all tests here."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
UPDATES = 3  # the lessons train this many updates here: these tests are about the browser, not about what is learned
MINUTES = 60_000  # a minute in Playwright's milliseconds


def chromium():
    """The path of a Chromium on this machine, or None."""
    names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
             "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
             r"C:\Program Files\Google\Chrome\Application\chrome.exe"]
    return next(filter(None, map(shutil.which, names)), None)


def do_without(reason):
    """A user is told why there is no browser test; on the machine that guards the project it must run."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and with CI set the browser tests must run")
    pytest.skip(reason)


def environment_is_ready():
    """Would start.py start without installing anything?"""
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    stamp = start.VENV / "start-stamp.txt"
    return stamp.exists() and stamp.read_text() == start.stamp()


class Lab:
    """A running `start.py lab`: ``address`` is what it printed, ``mine`` the learner's folder."""

    def __init__(self, process, address, mine):
        self.process, self.address, self.mine = process, address, mine

    def url(self, name, workspace):
        """The address of a notebook of the learner's folder.

        Two pages in one workspace would open each other's notebooks, and each ask whose version to keep.
        """
        address = re.sub(r"[^/?]+\.ipynb", f"{name}.ipynb", self.address)
        return address.replace("/lab/tree/", f"/lab/workspaces/{workspace}/tree/")


@pytest.fixture(scope="session")
def lab():
    if chromium() is None:
        do_without("no Chromium or Chrome on this machine (on Debian: apt install chromium)")
    if not environment_is_ready():
        do_without("the environment is not ready: python start.py test")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="browser-", dir=build, ignore_cleanup_errors=True) as folder:
        mine, settings = Path(folder, "my_lessons"), Path(folder, "jupyterlab")
        documents = settings / "settings" / "@jupyterlab" / "docmanager-extension" / "plugin.jupyterlab-settings"
        documents.parent.mkdir(parents=True)
        documents.write_text('{"autosave": false}')  # nothing is saved but by the test that saves
        env = dict(os.environ, METALEARN_LITE_UPDATES=str(UPDATES), OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="",
                   JUPYTERLAB_SETTINGS_DIR=str(settings / "settings"),
                   JUPYTERLAB_WORKSPACES_DIR=str(settings / "workspaces"))
        log = open(Path(folder, "log.txt"), "w+", encoding="utf-8")
        process = subprocess.Popen([sys.executable, "start.py", "lab", "--no-browser", "--my-lessons", str(mine),
                                    "--port", str(free_port())], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield Lab(process, wait_for_address(process, Path(log.name)), mine)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
            log.close()


def free_port():
    """A port of one's own: two processes of tests start a lab at the same time, and would choose the same one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_address(process, log):
    deadline = time.time() + 120
    while time.time() < deadline:
        found = re.search(r"http://\S+", log.read_text(encoding="utf-8"))
        if found:
            return found[0]
        if process.poll() is not None:
            break
        time.sleep(0.2)
    pytest.fail(f"`start.py lab` printed no address:\n{log.read_text(encoding='utf-8')[-3000:]}")


@pytest.fixture(scope="session")
def browser(lab):
    from playwright.sync_api import sync_playwright
    arguments = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--no-first-run"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), headless=True, args=arguments)
        yield browser
        browser.close()


PANEL = "document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden)')"
DONE = f"() => {{ const panel = {PANEL};" + """
  const cells = [...panel.querySelectorAll('.jp-CodeCell')];
  const error = panel.querySelector('[data-mime-type="application/vnd.jupyter.error"]') !== null;
  const ran = cells.every(c => /\\[\\d+\\]/.test(c.querySelector('.jp-InputPrompt')?.textContent ?? ''));
  return cells.length > 0 && (ran || error);
}"""
IDLE = f"() => {{ const panel = {PANEL};" + """
  return /Python/.test(panel?.querySelector('.jp-Toolbar-kernelName')?.textContent ?? '')
    && panel.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle';
}"""
RAN_AGAIN = """([cell, before]) => {
  const now = cell.querySelector('.jp-InputPrompt').textContent;
  return /\\[\\d+\\]/.test(now) && now !== before;
}"""


class Lesson:
    """One notebook, open in a tab of its own and run from top to bottom."""

    def __init__(self, page, name):
        self.page, self.name, self.problems = page, name, []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def open(self, address):
        self.page.goto(address)
        self.wait_for_kernel()

    def wait_for_kernel(self):
        self.panel.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=2 * MINUTES)
        self.page.wait_for_function(IDLE, timeout=2 * MINUTES)

    def run_all(self):
        began = time.perf_counter()
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
        self.page.wait_for_function(DONE, timeout=5 * MINUTES)
        self.seconds = time.perf_counter() - began

    def cell(self, text):
        """The code cell that contains ``text``."""
        return self.panel.locator(".jp-CodeCell", has=self.page.locator(".jp-InputArea", has_text=text)).first

    def write(self, cell, source):
        """Replace a cell's text by typing, and run it."""
        editor = cell.locator(".cm-content")
        editor.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.press("Delete")
        self.page.keyboard.insert_text(source)
        self.run(cell)

    def run(self, cell):
        """Run one cell and wait for its end."""
        before = cell.locator(".jp-InputPrompt").first.text_content()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_function(RAN_AGAIN, arg=[cell.element_handle(), before], timeout=2 * MINUTES)

    def picture(self, name):
        """Keep a screenshot, if somebody asked for them (METALEARN_LITE_SCREENSHOTS=FOLDER)."""
        if "METALEARN_LITE_SCREENSHOTS" in os.environ:
            folder = Path(os.environ["METALEARN_LITE_SCREENSHOTS"])
            folder.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=folder / f"{self.name}-{name}.png")


@pytest.fixture(scope="session")
def lessons_open():
    return {}


@pytest.fixture
def lesson(lab, browser, lessons_open):
    """lesson(name) -> Lesson: opened and run at the first call, kept for the next tests."""
    def get(name):
        if name not in lessons_open:
            page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
            found = Lesson(page, name)
            found.open(lab.url(name, workspace=name))
            found.run_all()
            lessons_open[name] = found
        return lessons_open[name]
    return get
