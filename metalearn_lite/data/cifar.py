"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 60,000 small colour photographs each, through torchvision."""

from pathlib import Path

import numpy as np
import torch

from .dataset import FewShotDataset, pack

# CIFAR-FS (Bertinetto, Henriques, Torr, Vedaldi 2019): the classes of CIFAR-100 that are kept from training, which has
# the other 64.
CIFAR_FS_VAL = ("beaver", "beetle", "butterfly", "camel", "cattle", "crab", "crocodile", "flatfish", "lamp",
                "maple_tree", "motorcycle", "otter", "sea", "shark", "television", "tractor")
CIFAR_FS_TEST = ("baby", "bed", "bicycle", "chimpanzee", "fox", "leopard", "man", "pickup_truck", "plain", "poppy",
                 "rocket", "rose", "snail", "sweet_pepper", "table", "telephone", "wardrobe", "whale", "woman", "worm")


def cifar10(root, download=False):
    """CIFAR-10: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck.

    Args:
        root: the folder in which the folder `cifar-10-batches-py` is, or is to be put.
        download: fetch it (170 MB) through torchvision where it is not there yet.

    Returns:
        FewShotDataset with items uint8 (10, 6000, 3, 32, 32), red, green, blue: first the 5,000 training images of a
        class, then its 1,000 test images. Each class is a group of its own. There are no splits: no split of its ten
        classes is customary. A random one: `with_random_splits(2, 2, generator)`.

    Raises:
        RuntimeError: the files are not there, are damaged, or could not be downloaded; the message says what to do.
    """
    images, names = _read("CIFAR10", root, download)
    return FewShotDataset(images, torch.arange(len(names)), names, names)


def cifar100(root, download=False):
    """CIFAR-100, split as CIFAR-FS (Bertinetto, Henriques, Torr, Vedaldi 2019): 64 classes train, 16 val, 20 test.

    Args:
        root: the folder in which the folder `cifar-100-python` is, or is to be put.
        download: fetch it (169 MB) through torchvision where it is not there yet.

    Returns:
        FewShotDataset with items uint8 (100, 600, 3, 32, 32), red, green, blue: first the 500 training images of a
        class, then its 100 test images. Each class is a group of its own; the splits do not follow the superclasses,
        so a test class (woman) may have relatives in training (girl). `with_random_splits` makes other splits.

    Raises:
        RuntimeError: as in `cifar10`.
    """
    images, names = _read("CIFAR100", root, download)
    train = [name for name in names if name not in CIFAR_FS_VAL + CIFAR_FS_TEST]
    splits = {"train": train, "val": CIFAR_FS_VAL, "test": CIFAR_FS_TEST}
    return FewShotDataset(images, torch.arange(len(names)), names, names, splits)


def _read(kind, root, download):
    """All images of a data set of torchvision, uint8 (C, P, 3, 32, 32), and the names of its classes."""
    import torchvision.datasets          # here, because it takes a second to import

    source = getattr(torchvision.datasets, kind)
    try:            # torchvision compares the MD5 sum of each file before it unpickles any
        parts = [source(root, train=train, download=download) for train in (True, False)]
    except Exception as error:
        folder, call = Path(root) / source.base_folder, kind.lower()
        problem = "the download failed" if download else f"{folder} is not there, or not whole"
        raise RuntimeError(
            f"{problem} ({error}); call {call}(root, download=True) with a network, or fetch {source.url} in another "
            f"way, unpack it in {Path(root)}, and call {call}(root). glyphs() needs no download.") from error
    pixels = torch.from_numpy(np.concatenate([part.data for part in parts]))        # (n, 32, 32, 3)
    labels = torch.tensor(parts[0].targets + parts[1].targets)
    return pack(pixels.permute(0, 3, 1, 2), labels).contiguous(), parts[0].classes
