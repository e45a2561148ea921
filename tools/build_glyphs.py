"""Makes the two packed files of the embedded data set from the Noto fonts.

    python tools/build_glyphs.py FONTS OUT

FONTS is the folder of the fonts, OUT the folder to write to. Needs the fonts of Debian's package fonts-noto-core
(20201225-1, in /usr/share/fonts/truetype/noto), this project's environment, and scikit-image (`pip install
scikit-image`), which nothing else here needs. Takes about a minute. At the end it compares the result with the
packaged files, array by array; with the versions named in metalearn_lite/data/README.md it is the same.
"""

import hashlib
import sys
import unicodedata
from pathlib import Path

import numpy as np
from fontTools import unicodedata as scripts
from fontTools.ttLib import TTFont
from glyph_strokes import length, letter_strokes
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from metalearn_lite.data import drawer, glyphset  # noqa: E402

FONT_SIZE = 160             # pixels; at this size a line is some 15 pixels wide
MOST_LETTERS = 26           # of one script
MOST_STROKES = 8
LENGTHS = (1.5, 18)         # of all strokes together, the letter's longer side being 2: no dots, no ornaments
LOOK_ALIKE = 0.94           # cosine of two blurred letters above which the later one is left out

# Unicode's tag of a script: its font, where that is not NotoSans<script>-Regular.ttf, and the range of its
# plain letters, where the font has many others.
SCRIPTS = {
    "Latn": ("NotoSans", (0x61, 0x7A)), "Grek": ("NotoSans", (0x3B1, 0x3C9)), "Hebr": (None, (0x5D0, 0x5EA)),
    "Arab": (None, (0x621, 0x64A)), "Deva": (None, (0x904, 0x939)), "Thai": (None, None),
    "Armn": (None, (0x561, 0x586)), "Geor": (None, (0x10D0, 0x10F0)), "Cyrl": ("NotoSans", (0x430, 0x44F)),
    "Ethi": (None, (0x1200, 0x1357)), "Cher": (None, (0x13A0, 0x13F4)), "Cans": (None, (0x1401, 0x1676)),
    "Taml": (None, None), "Beng": (None, None), "Telu": (None, None), "Mymr": (None, None), "Khmr": (None, None),
    "Tibt": ("NotoSerifTibetan", None), "Mlym": (None, None), "Knda": (None, None), "Gujr": (None, None),
    "Guru": (None, None), "Sinh": (None, None), "Laoo": ("NotoLoopedLao", None), "Java": (None, None),
    "Bali": (None, None), "Mong": (None, (0x1820, 0x1842)), "Syrc": (None, None), "Glag": (None, (0x2C30, 0x2C5E)),
    "Runr": (None, None), "Ital": (None, None), "Phnx": (None, None), "Nkoo": ("NotoSansNKo", None),
    "Tfng": (None, None), "Olck": (None, None), "Adlm": (None, (0x1E922, 0x1E943)), "Thaa": (None, None),
    "Tglg": (None, None), "Bugi": (None, None), "Batk": (None, None), "Sund": (None, None), "Cham": (None, None),
    "Lepc": (None, None), "Limb": (None, None), "Cakm": (None, None), "Mtei": (None, None), "Saur": (None, None),
    "Kali": (None, None), "Tale": (None, None), "Avst": (None, None),
}


def font_file(tag):
    family = SCRIPTS[tag][0] or "NotoSans" + scripts.script_name(tag).replace(" ", "")
    return f"{family}-Regular.ttf"


def candidates(tag, path):
    """The letters of a script in a font, at most twice as many as wanted: codepoints in order."""
    low, high = SCRIPTS[tag][1] or (0, sys.maxunicode)
    letters = [c for c in sorted(TTFont(path, lazy=True).getBestCmap())
               if low <= c <= high and scripts.script(chr(c)) == tag
               and unicodedata.category(chr(c)) in ("Lo", "Ll", "Lu")
               and unicodedata.normalize("NFKD", chr(c)) == chr(c)]            # no accents, no ligatures
    caseless = [c for c in letters if unicodedata.category(chr(c)) == "Lo"]
    return evenly(caseless or letters, 2 * MOST_LETTERS)


def evenly(items, most):
    """At most so many of the items, evenly spread."""
    if len(items) <= most:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def blurred(strokes, side=24):
    """A letter as a blurred image of norm 1: float (side, side)."""
    image = Image.new("L", (side * 4, side * 4))
    pen = ImageDraw.Draw(image)
    for stroke in strokes:
        pen.line([tuple(side * 2 + side * 1.7 * point) for point in stroke], fill=255, width=7)
    blur = gaussian_filter(np.asarray(image.resize((side, side), Image.Resampling.BOX), float), 1.0)
    return blur / np.linalg.norm(blur)


def looks_like_one_of(image, others):
    """Whether a blurred image, moved by at most a pixel, looks like one of the others."""
    moved = np.stack([np.roll(image, (i, j), (0, 1)).ravel() for i in (-1, 0, 1) for j in (-1, 0, 1)])
    return len(others) > 0 and (moved @ np.stack(others).T).max() > LOOK_ALIKE


def choose_letters(fonts):
    """For each script its letters: a list of (tag, [(codepoint, strokes), ...])."""
    chosen, blurs_before = [], []
    for tag in SCRIPTS:
        font = ImageFont.truetype(str(fonts / font_file(tag)), FONT_SIZE)
        letters, blurs = [], []
        for codepoint in candidates(tag, fonts / font_file(tag)):
            strokes = letter_strokes(font, chr(codepoint))
            if strokes is None or len(strokes) > MOST_STROKES:
                continue
            if not LENGTHS[0] <= sum(length(s) for s in strokes) <= LENGTHS[1]:
                continue
            blur = blurred(strokes)
            if not looks_like_one_of(blur, blurs_before + blurs):
                letters.append((codepoint, strokes))
                blurs.append(blur.ravel())
        chosen.append((tag, evenly(letters, MOST_LETTERS)))
        blurs_before += evenly(blurs, MOST_LETTERS)
        print(f"{scripts.script_name(tag)}: {len(chosen[-1][1])} letters", flush=True)
    return chosen


def stroke_arrays(chosen, fonts):
    """The arrays of the strokes' file. Stroke j is points[stroke_start[j]:stroke_start[j + 1]], in 120ths; letter i is
    the strokes from char_start[i] to char_start[i + 1]."""
    letters = [(number, codepoint, strokes) for number, (_, found) in enumerate(chosen) for codepoint, strokes in found]
    strokes = [stroke for _, _, strokes in letters for stroke in strokes]
    tags, files = [tag for tag, _ in chosen], [font_file(tag) for tag, _ in chosen]
    return {
        "points": np.round(np.concatenate(strokes) * glyphset.STROKE_UNIT).astype(np.int8),
        "stroke_start": np.cumsum([0] + [len(s) for s in strokes]).astype(np.int32),
        "char_start": np.cumsum([0] + [len(s) for _, _, s in letters]).astype(np.int32),
        "script": np.array([number for number, _, _ in letters], np.uint8),
        "codepoint": np.array([codepoint for _, codepoint, _ in letters], np.int32),
        "script_tag": np.array(tags),
        "script_name": np.array([scripts.script_name(tag) for tag in tags]),
        "font": np.array(files),
        "font_sha": np.array([hashlib.sha256((fonts / file).read_bytes()).hexdigest()[:16] for file in files]),
    }


def image_arrays(strokes):
    """The arrays of the images' file: all letters by twenty drawers each, two pixels a byte, and the fixed split."""
    hands = {}
    images = []
    points = strokes["points"].astype(np.float32) / glyphset.STROKE_UNIT
    pieces = np.split(points, strokes["stroke_start"][1:-1])
    for number, script in enumerate(strokes["script"].tolist()):
        if script not in hands:
            hands[script] = drawer.hands(glyphset.DRAWERS, np.random.default_rng([glyphset.SEED, script, 777]))
        letter = pieces[strokes["char_start"][number]:strokes["char_start"][number + 1]]
        images.append(drawer.write(letter, hands[script], np.random.default_rng([glyphset.SEED, script, number])))
    order = np.random.default_rng(3).permutation(np.unique(strokes["script_tag"])).tolist()
    split = np.zeros(len(order), np.uint8)                                      # 0: train
    split[np.isin(strokes["script_tag"], order[:10])] = 2                       # test
    split[np.isin(strokes["script_tag"], order[10:20])] = 1                     # val
    return {"nibbles": glyphset.pack_images(np.concatenate(images)), "split": split,
            **{name: strokes[name] for name in ("script", "codepoint", "script_tag", "script_name")}}


def write_and_compare(path, arrays):
    """Writes an .npz file and says in which arrays it differs from the packaged one."""
    names = ("nibbles", "points", "stroke_start", "char_start", "script", "codepoint", "script_tag", "script_name",
             "font", "font_sha", "split")                                       # the order within the file
    np.savez_compressed(path, **{name: arrays[name] for name in names if name in arrays})
    with np.load(glyphset.FILES / path.name, allow_pickle=False) as packaged:
        differing = [name for name in packaged.files if not np.array_equal(packaged[name], arrays[name])]
    print(f"{path}: {path.stat().st_size} bytes,", f"differs in {', '.join(differing)}" if differing else "as packaged")


def main(fonts, out):
    chosen = choose_letters(Path(fonts))
    strokes = stroke_arrays(chosen, Path(fonts))
    Path(out).mkdir(parents=True, exist_ok=True)
    write_and_compare(Path(out) / glyphset.STROKES, strokes)
    write_and_compare(Path(out) / glyphset.IMAGES, image_arrays(strokes))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python tools/build_glyphs.py FONTS OUT")
    main(*sys.argv[1:])
