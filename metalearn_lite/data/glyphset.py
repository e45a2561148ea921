"""The embedded data set: 1,264 letters of 50 scripts, 20 simulated drawers each, and new drawers on demand."""

import functools
import hashlib
import unicodedata
from pathlib import Path

import numpy as np
import torch

from . import drawer
from .dataset import FewShotDataset

FILES = Path(__file__).parent / "files"
IMAGES, STROKES, LICENCE = "glyphs_images_4bit.npz", "glyphs_strokes.npz", "OFL-1.1.txt"
DRAWERS = 20                # of each letter in the packed images
SEED = 0                    # with which they were drawn
STROKE_UNIT = 120           # the file keeps a stroke's coordinates as whole 120ths

SHA256 = {
    IMAGES: "8b0dd7474e75b02d8b4e08cf113277f650eb283a21f3b99b3e606ec7067000d5",
    STROKES: "7be89516e1fd48473d43867254dd0662465ded0a5e46d71c7ed28dcad8ba1798",
    LICENCE: "7208d9f2ae8e2baf9840bcf5f8a2d5825e1c72c9910019f81307765ea321c768",
}


@functools.cache
def glyphs():
    """Letters of fifty writing systems, each drawn by twenty simulated drawers.

    The letters are those of the Noto fonts, thinned to strokes and redrawn with a pen (README.md beside this file). The
    drawers of a script are the same twenty for all its letters: item p of each class of a group is drawer p.

    Returns:
        FewShotDataset with items uint8 (1264, 20, 28, 28), ink = 255, sixteen grey levels; a class is a letter ("Greek
        alpha"), a group is a script ("Greek"). Its splits are fixed: 30 scripts (765 letters) for "train", 10 (244) for
        "val", 10 (255) for "test". Each call returns the same object: do not change its items in place.
    """
    with np.load(FILES / IMAGES, allow_pickle=False) as file:
        nibbles, script, codepoints = file["nibbles"], file["script"], file["codepoint"]
        script_names, split = file["script_name"].tolist(), file["split"].tolist()
    return FewShotDataset(
        torch.from_numpy(unpack_images(nibbles).reshape(len(script), DRAWERS, drawer.CANVAS, drawer.CANVAS)),
        torch.from_numpy(script.astype(np.int64)),
        class_names=[_name(c) for c in codepoints.tolist()],
        group_names=script_names,
        splits={name: [s for s, n in zip(script_names, split) if n == number]
                for number, name in enumerate(("train", "val", "test"))})


def redraw(which, drawers=200, seed=0):
    """One letter of `glyphs()`, drawn by new drawers.

    Args:
        which: the letter as a class number (0..1263), a class name ("Greek alpha") or the character itself ("α").
        drawers: how many, D >= 1.
        seed: integer >= 0. Letters of one script share their drawers if both numbers are alike.

    Returns:
        uint8 tensor (D, 28, 28), ink = 255. With 20 drawers and seed 0 these are the very images of `glyphs()`; any
        other number or seed gives new drawers.
    """
    number = _class_number(which)
    drawer.check_count("drawers", drawers, 1)
    drawer.check_count("seed", seed, 0)
    script = int(_stroke_file()["script"][number])
    hands = drawer.hands(drawers, np.random.default_rng([seed, script, 777]))
    return torch.from_numpy(drawer.write(strokes(number), hands, np.random.default_rng([seed, script, number])))


def strokes(which):
    """The pen strokes of one letter of `glyphs()`: a list of float32 arrays (n, 2).

    Points are (x, y) in [-1, 1], y downwards.

    Args:
        which: as for `redraw`.
    """
    file, number = _stroke_file(), _class_number(which)
    starts = file["stroke_start"]
    return [file["points"][starts[j]:starts[j + 1]].astype(np.float32) / STROKE_UNIT
            for j in range(file["char_start"][number], file["char_start"][number + 1])]


def character(which):
    """The character itself, "α" for "Greek alpha": for text only, as few fonts hold all the scripts."""
    return chr(_stroke_file()["codepoint"][_class_number(which)])


def intact():
    """Whether the packaged files are as published: pairs (file name, True or False), by SHA-256."""
    def same(name):
        path = FILES / name
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[name]

    return [(name, same(name)) for name in SHA256]


def pack_images(images):
    """uint8 images (n, 28, 28) of sixteen grey levels -> two pixels a byte, uint8 (n, 392)."""
    levels = (images // 17).reshape(len(images), -1)
    return levels[:, ::2] << 4 | levels[:, 1::2]


def unpack_images(nibbles):
    """The reverse of `pack_images`."""
    images = np.empty((len(nibbles), drawer.CANVAS ** 2), np.uint8)
    np.right_shift(nibbles, 4, out=images[:, ::2])
    np.bitwise_and(nibbles, 15, out=images[:, 1::2])
    images *= 17
    return images.reshape(-1, drawer.CANVAS, drawer.CANVAS)


@functools.cache
def _stroke_file():
    with np.load(FILES / STROKES, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@functools.cache
def _numbers():
    """From a class name, or a character, to the number of the class."""
    codepoints = _stroke_file()["codepoint"].tolist()
    return {key: i for i, c in enumerate(codepoints) for key in (_name(c), chr(c))}


def _class_number(which):
    if isinstance(which, str):
        if which not in _numbers():
            raise ValueError(f"which is {which!r}; expected a class name of glyphs() or a character in it")
        return _numbers()[which]
    count = len(_stroke_file()["codepoint"])
    if isinstance(which, torch.Tensor) and which.ndim == 0:
        which = which.item()
    if not isinstance(which, (int, np.integer)) or isinstance(which, bool) or not 0 <= which < count:
        raise ValueError(f"which is {which!r}; expected a class number from 0 to {count - 1}, a name or a character")
    return int(which)


def _name(codepoint):
    """The Unicode name without "small letter": "Greek alpha"."""
    name = unicodedata.name(chr(codepoint))
    return name.replace("SMALL LETTER ", "").replace("LETTER ", "").capitalize()
