"""Fetch the libraries that `speed.py` compares with, into a folder of their own; nothing of them becomes a dependency.

    python tests/benchmarks/peers.py FOLDER

learn2learn 0.2.0 (2022) does not install on Python 3.11, so its source archive is unpacked and its `MAML` imported from
there, past the parts that are written in Cython. easyfsl 1.5.0 (2023) and higher 0.2.1 (2020) install. Needs a network.
"""

import importlib
import os
import subprocess
import sys
import tarfile
import types
import venv
from pathlib import Path

INSTALLED = ["easyfsl==1.5.0", "higher==0.2.1"]
SOURCE = "learn2learn==0.2.0"
FOR_ITS_BUILD = ["cython<4", "setuptools<70", "wheel", "numpy"]  # what pip asks of a source archive before it hands it over


def fetch(folder: Path) -> None:
    venv.create(folder / "pip", with_pip=True)
    python = folder / "pip" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *FOR_ITS_BUILD], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder / "installed"), *INSTALLED], check=True)
    subprocess.run([*pip, "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", str(folder),
                    SOURCE], check=True)
    with tarfile.open(next(folder.glob("learn2learn-*.tar.gz"))) as archive:
        archive.extractall(folder / "source", filter="data")


def load(folder: Path):
    """The modules (learn2learn.algorithms.maml, higher, easyfsl.methods, easyfsl.samplers, easyfsl.datasets)."""
    package = next((folder / "source").glob("learn2learn-*/learn2learn"))
    for name in ("learn2learn", "learn2learn.algorithms"):  # their __init__ import what needs Cython or Lightning
        module = types.ModuleType(name)
        module.__path__ = [str(package.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module
    sys.path.append(str(folder / "installed"))
    import torch.utils.data

    old = torch.utils.data.Sampler.__init__
    if old is object.__init__:  # easyfsl hands its data set up, which torch stopped taking
        torch.utils.data.Sampler.__init__ = lambda self, data_source=None: None
    names = ["learn2learn.algorithms.maml", "higher", "easyfsl.methods", "easyfsl.samplers", "easyfsl.datasets"]
    return [importlib.import_module(name) for name in names]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    fetch(Path(sys.argv[1]))
    print("ready:", ", ".join(module.__name__ for module in load(Path(sys.argv[1]))))
