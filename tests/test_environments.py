"""pyproject.toml, the lock, environment.yml and binder/ say the same; and what Binder would build from them.

Nothing is built here: there is no conda and no Docker. repo2docker renders its Dockerfile offline.
"""

import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import start
from metalearn_lite import doctor

ROOT = Path(__file__).resolve().parent.parent
posix = pytest.mark.skipif(os.name == "nt", reason="repo2docker and bash are not for Windows")
BY_CONDA = {"torch": "pytorch-cpu", "torchvision": "torchvision"}
NOT_OURS = {".venv", ".git", ".jupyter", "build", "dist", "my_lessons", "wheels"}


def locked(root):
    """The lock: name -> (version, number of hashes)."""
    lock = (root / "requirements.txt").read_text()
    entries = re.findall(r"^([a-z0-9.-]+)==([^ \\\n]+)((?:.*\\\n)*.*)", lock, re.MULTILINE)
    return {name: (version, len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", rest))) for name, version, rest in entries}


def disagreements(root):
    """What is wrong among the files that say what is installed: a list of messages."""
    bad = []
    project = tomllib.loads((root / "pyproject.toml").read_text())
    lock, text = locked(root), (root / "requirements.txt").read_text()
    files = [path for path in root.rglob("*requirements*.txt") if not NOT_OURS & set(path.relative_to(root).parts)]
    bad += [f"{path.relative_to(root)}: a second lock" for path in files if path != root / "requirements.txt"]
    for line in text.splitlines():
        if "://" in line or re.search(r"index|--find-links|--trusted| @ ", line):
            bad.append(f"requirements.txt: names a place: {line}")
        elif not re.match(r"[a-z0-9.-]+==|    --hash=sha256:", line):
            bad.append(f"requirements.txt: neither a pinned version nor a hash: {line}")
    bad += [f"requirements.txt: no hash for {name}" for name, (_, hashes) in lock.items() if not hashes]

    main = [Requirement(line) for line in project["project"]["dependencies"]]
    more = [Requirement(line) for lines in project["project"]["optional-dependencies"].values() for line in lines]
    build = [Requirement(line) for line in project["build-system"]["requires"]]
    for wanted in main + more + build:
        version = lock.get(wanted.name.lower(), ("nothing", 0))[0]
        if version == "nothing" or version not in wanted.specifier:
            bad.append(f"pyproject.toml asks for {wanted}, the lock has {version}")

    if (root / "binder" / "environment.yml").is_symlink():
        bad.append("binder/environment.yml: is a link")
    if (root / "environment.yml").read_bytes() != (root / "binder" / "environment.yml").read_bytes():
        bad.append("binder/environment.yml differs from environment.yml")
    environment = yaml.safe_load((root / "environment.yml").read_text())
    if environment["channels"] != ["conda-forge"]:
        bad.append(f"environment.yml: channels {environment['channels']}")
    conda = dict(line.partition("=")[::2] for line in environment["dependencies"] if isinstance(line, str))
    if conda.get("python") not in SpecifierSet(project["project"]["requires-python"]):
        bad.append(f"environment.yml: python {conda.get('python')}")
    by_pip = dict(line.partition("==")[::2] for entry in environment["dependencies"] if isinstance(entry, dict)
                  for line in entry["pip"])
    for wanted in main:
        conda_name = BY_CONDA.get(wanted.name)
        version = conda.get(conda_name) if conda_name else by_pip.get(wanted.name.lower())
        if version != lock.get(wanted.name.lower(), ("nothing", 0))[0]:
            bad.append(f"environment.yml: {wanted.name} is {version}, not the lock's")
    known = {"python", "pip", *BY_CONDA.values(), *(wanted.name.lower() for wanted in main)}
    bad += [f"environment.yml: {name} is no direct dependency" for name in sorted({*conda, *by_pip} - known)]
    return bad


def test_the_files_agree():
    assert disagreements(ROOT) == []


def test_environment_file_is_what_the_lock_command_makes():
    assert (ROOT / "environment.yml").read_text() == start.environment_file()


def test_torch_and_torchvision_are_a_pair():
    lock = locked(ROOT)
    wanted = [Requirement(line) for line in importlib.metadata.requires("torchvision")]
    asked = next(line.specifier for line in wanted if line.name == "torch")
    assert importlib.metadata.version("torchvision") == lock["torchvision"][0]
    assert importlib.metadata.version("torch") == lock["torch"][0]
    assert lock["torch"][0] in asked
    assert "fit together" in doctor.torch_pair()  # its compiled part loads and computes


def test_every_system_and_python_is_in_the_lock():
    text = (ROOT / "requirements.txt").read_text()
    markers = [re.search(r";\s*(.+?)\s*\\?$", line).group(1) for line in text.splitlines() if re.match(r"\S+ ;", line)]
    assert any("sys_platform == 'linux'" in marker for marker in markers)
    assert any("sys_platform == 'win32'" in marker for marker in markers)
    assert any("sys_platform == 'darwin'" in marker for marker in markers)
    assert re.search(r"^torch==\S+ \\$", text, re.MULTILINE)  # no marker: on every system


def copy_of_the_files(folder):
    for name in ("pyproject.toml", "requirements.txt", "environment.yml"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "binder", folder / "binder")
    return folder


VERSION = {name: version for name, (version, _) in locked(ROOT).items()}


@pytest.mark.parametrize("file, old, new, message", [
    ("pyproject.toml", '"tqdm>=', '"tqdm>=99', "asks for tqdm>=99"),
    ("pyproject.toml", '    "psutil', '    "einops>=0.8",\n    "psutil', "asks for einops"),
    ("pyproject.toml", '    "psutil>=6",\n', "", "psutil is no direct dependency"),
    ("pyproject.toml", '"setuptools>=77"]\n', '"hatchling"]\n', "asks for hatchling"),
    ("requirements.txt", f"jupytext=={VERSION['jupytext']}", "jupytext==1.0.0", "the lock has 1.0.0"),
    ("requirements.txt", f"torchvision=={VERSION['torchvision']}", "torchvision==0.27.0", "torchvision is"),
    ("requirements.txt", "tqdm==", "--extra-index-url https://example.org/simple\ntqdm==", "names a place"),
    ("requirements.txt", "tqdm==" + VERSION["tqdm"], "tqdm @ https://example.org/tqdm.whl", "names a place"),
    ("requirements.txt", "tqdm==" + VERSION["tqdm"], "tqdm", "neither a pinned version"),
    ("environment.yml", "tqdm==" + VERSION["tqdm"], "tqdm==4.0.0", "differs from"),
    ("both", "tqdm==" + VERSION["tqdm"], "tqdm==4.0.0", "tqdm is 4.0.0"),
    ("both", "pytorch-cpu=" + VERSION["torch"], "pytorch-cpu=2.0.0", "torch is 2.0.0"),
    ("both", "  - torchvision=" + VERSION["torchvision"] + "\n", "", "torchvision is None"),
    ("both", "python=3.12", "python=3.10", "python 3.10"),
    ("both", "  - conda-forge\n", "  - defaults\n", "channels"),
    ("both", "  - pip:\n", "  - scipy\n  - pip:\n", "scipy is no direct dependency"),
    ("binder/environment.yml", "name:", "# changed\nname:", "differs from"),
])
def test_a_disagreement_is_found(tmp_path, file, old, new, message):
    root = copy_of_the_files(tmp_path)
    for path in [root / file] if file != "both" else [root / "environment.yml", root / "binder" / "environment.yml"]:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    assert any(message in line for line in disagreements(root)), disagreements(root)


def test_a_missing_hash_or_a_second_lock_is_found(tmp_path):
    root = copy_of_the_files(tmp_path)
    assert disagreements(root) == []
    text = (root / "requirements.txt").read_text()
    without = re.sub(r"^(tqdm==\S+).*\n(    --hash.*\n)+", r"\1\n", text, flags=re.MULTILINE)
    (root / "requirements.txt").write_text(without)
    assert disagreements(root) == ["requirements.txt: no hash for tqdm"]
    (root / "requirements.txt").write_text(text)
    (root / "binder" / "requirements.txt").write_text("tqdm\n")
    assert disagreements(root) == ["binder/requirements.txt: a second lock"]


# ------------------------------------------------------------------------------------------------ Binder

# Files with which repo2docker configures a build. Those in the root are ignored as soon as there is a folder binder/.
CONFIGURATION = ["environment.yml", "requirements.txt", "postBuild", "start", "runtime.txt", "apt.txt", "setup.py",
                 "Pipfile", "Pipfile.lock", "Dockerfile", "default.nix", "install.R", "Project.toml"]
KNOWN = {"environment.yml", "requirements.txt"}  # ignored there, and both of use elsewhere


def rendering(root):
    """What repo2docker would do with a repository: (buildpack, environment file, Dockerfile, what is wrong)."""
    from repo2docker.app import Repo2Docker

    bad, before = [], os.getcwd()
    app = Repo2Docker()
    os.chdir(root)
    try:
        packs = [pack(base_image=app.base_image) for pack in app.buildpacks]
        pack = next((pack for pack in packs if pack.detect()), None)
        if pack is None:
            return "none", None, "", ["nothing tells repo2docker what to install"]
        pack.platform = "linux/amd64"
        docker, folder, environment = pack.render(), pack.binder_dir, pack.binder_path("environment.yml")
    finally:
        os.chdir(before)
    if not (root / environment).is_file():
        bad.append(f"{environment}: not there")
    if folder:
        bad += [f"{name}: ignored by Binder" for name in CONFIGURATION if (root / name).exists() and name not in KNOWN]
    script = root / folder / "postBuild"
    if not script.exists():
        bad.append("postBuild: not there")
    else:
        if not script.stat().st_mode & stat.S_IXUSR:
            bad.append("postBuild: not executable")
        if not script.read_bytes().startswith(b"#!") or b"\r" in script.read_bytes():
            bad.append("postBuild: not a script")
        if subprocess.run(["bash", "-n", script], capture_output=True).returncode:
            bad.append("postBuild: wrong syntax")
        if "pip install --no-deps -e ." not in script.read_text():
            bad.append("postBuild: does not install the course")
    return type(pack).__name__, environment, docker, bad


@pytest.mark.binder
@posix
def test_binder_builds_from_the_files_we_mean():
    pack, environment, docker, bad = rendering(ROOT)
    assert (pack, environment, bad) == ("CondaBuildPack", "binder/environment.yml", [])
    assert re.search(r"env update -p \S+ --file \"binder/environment.yml\"", docker)
    assert re.search(r"^RUN \./binder/postBuild", docker, re.MULTILINE)
    # The environment is made before the repository is there, so it must not refer to files of ours.
    assert docker.index("env update") < docker.index("RUN ./binder/postBuild")
    assert "-e ." not in (ROOT / environment).read_text()


def break_mode(root):
    (root / "binder" / "postBuild").chmod(0o644)


def break_syntax(root):
    (root / "binder" / "postBuild").write_text("#!/bin/bash\nif\n")


def break_line_ends(root):
    script = root / "binder" / "postBuild"
    script.write_bytes(script.read_bytes().replace(b"\n", b"\r\n"))


def remove_environment(root):
    (root / "binder" / "environment.yml").unlink()


def add_apt(root):
    (root / "apt.txt").write_text("git\n")


@pytest.mark.binder
@posix
@pytest.mark.parametrize("change, message", [
    (break_mode, "postBuild: not executable"),
    (break_syntax, "postBuild: wrong syntax"),
    (break_syntax, "postBuild: does not install the course"),
    (break_line_ends, "postBuild: not a script"),
    (remove_environment, "nothing tells repo2docker"),
    (add_apt, "apt.txt: ignored by Binder"),
])
def test_a_broken_binder_folder_is_found(tmp_path, change, message):
    root = copy_of_the_files(tmp_path)
    assert rendering(root)[3] == []
    change(root)
    assert any(message in line for line in rendering(root)[3]), rendering(root)[3]


@pytest.mark.binder
def test_the_readme_opens_the_first_lesson_on_binder():
    readme = (ROOT / "README.md").read_text()
    found = re.findall(r"https://mybinder\.org/v2/gh/(\S+?)/(\S+?)/(\w+)\?urlpath=lab/tree/(\S+)", readme)
    assert len(found) == 1, "ORG/REPO stands in one place"
    assert readme.count("/".join(found[0][:2])) == 1
    assert (ROOT / found[0][3]).name == start.FIRST_LESSON
