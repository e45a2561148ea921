"""Is everything here that the lessons need? One line for each question, [OK] or [FAIL]."""

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path

MEMORY = 1.0  # GB a lesson may take
PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements() -> list[str]:
    """What the course needs to run, as in pyproject.toml ("torch>=2.12"); an installed wheel carries the same list."""
    if PYPROJECT.exists():
        return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [line for line in importlib.metadata.requires("metalearn-lite") if "extra ==" not in line]


def python():
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise RuntimeError(f"{platform.python_version()}: install Python 3.11, 3.12 or 3.13")
    return platform.python_version()


def package(requirement: str) -> str:
    """The installed version of a requirement; raises RuntimeError if it is missing or outside the range."""
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        raise RuntimeError(f"missing, {wanted.specifier} is needed") from None
    if version not in wanted.specifier:
        raise RuntimeError(f"{version}, {wanted.specifier} is needed")
    return version


def torch_pair() -> str:
    """torchvision loads and its compiled part knows this torch."""
    import torch
    import torchvision

    torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    return f"{torch.__version__} and {torchvision.__version__} fit together"


def device() -> str:
    import torch

    import metalearn_lite

    chosen = metalearn_lite.device()
    if torch.ones(2, 2, device=chosen).mm(torch.ones(2, 2, device=chosen)).sum().item() != 8:
        raise RuntimeError(f"{chosen} computes wrong sums")
    return str(chosen)


def cores() -> str:
    import torch

    return f"{os.cpu_count()} ({torch.get_num_threads()} used)"


def data() -> str:
    from metalearn_lite import data

    files = data.intact()
    broken = [name for name, right in files if not right]
    if broken or not files:
        raise RuntimeError(f"changed or missing: {', '.join(broken) or 'all'}; get the course anew")
    return f"{len(files)} files, checksums right"


def kernel() -> str:
    """A kernel starts, answers within a minute, and is this Python."""
    from jupyter_client.manager import start_new_kernel

    quiet = subprocess.DEVNULL  # ipykernel warns about its connection, which stays on this machine
    manager, client = start_new_kernel(startup_timeout=60, stdout=quiet, stderr=quiet)
    try:
        said = []
        client.execute_interactive("import sys; print(sys.prefix)", timeout=60, store_history=False,
                                   output_hook=lambda message: said.append(message["content"].get("text", "")))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    prefix = "".join(said).strip()
    if Path(prefix).resolve() != Path(sys.prefix).resolve():
        raise RuntimeError(f"starts another Python, that of {prefix!r}; this one is in {sys.prefix!r}")
    return "starts and answers"


def memory() -> str:
    """Free memory: the system's, or what is left of the limit that a container (Binder) sets."""
    import psutil

    free = psutil.virtual_memory().available
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and limit.read_text().strip() != "max":
        free = min(free, int(limit.read_text()) - int(used.read_text()))
    text = f"{free / 1e9:.1f} GB free"
    if free < MEMORY * 1e9:
        raise RuntimeError(f"{text}, a lesson takes up to {MEMORY:.0f} GB: close other programs or notebooks")
    return text


def report(out=print) -> bool:
    """Ask every question, hand each answer to `out` as one line, and return whether all were answered well.

    Takes a few seconds: it starts a kernel. Never raises.
    """
    questions = [("Python", python)]
    for wanted in requirements():
        questions.append((re.match(r"[\w.-]+", wanted).group(), functools.partial(package, wanted)))
    questions += [("PyTorch pair", torch_pair), ("device", device), ("cores", cores), ("data", data),
                  ("kernel", kernel), ("memory", memory)]
    failed = 0
    for name, question in questions:
        try:
            line = f"[OK]   {name}: {question()}"
        except Exception as error:  # whatever is wrong is what we are here to report
            failed += 1
            first = (str(error).splitlines() or [""])[0]
            line = f"[FAIL] {name}: {first if type(error) is RuntimeError else f'{type(error).__name__}: {first}'}"
        out(line)
    out("Everything the lessons need is here." if not failed else
        f"{failed} of {len(questions)} failed: delete the folder .venv and run start.py again, or see README.md.")
    return not failed
