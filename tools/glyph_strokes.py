"""From a letter of a font to pen strokes: the outline is filled, thinned to its middle line, and traced.

Used by build_glyphs.py only. Pixels and points are (row, column) here; `letter_strokes` returns points (x, y).
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.morphology import skeletonize

NEIGHBOURS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
RING = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]      # the same, once round
POINT_STEP = 2 / 14         # distance of two points of a stroke; the letter's longer side is 2

# What follows is measured in widths of the letter's lines.
SPUR = 0.9                  # a side branch shorter than this is no stroke but the thinning's mistake
SPECK = 0.15                # neither is a loose path shorter than this
SMOOTHING = 0.25            # deviation of the Gaussian that smooths a stroke


class Path(NamedTuple):
    """A line between two nodes of the thinned letter; `start` and `end` are junction numbers, None at a free end."""

    points: np.ndarray
    start: int | None
    end: int | None


def letter_strokes(font, letter):
    """The strokes of a letter, in the order and direction in which they might be written.

    Args:
        font: a PIL ImageFont, of 160 pixels or so.
        letter: one character.

    Returns:
        list of float arrays (n, 2), points (x, y), centred, the longer side of the letter from -1 to 1; or None where
        the font draws nothing of any size.
    """
    bitmap = _letter_bitmap(font, letter)
    if bitmap is None:
        return None
    skeleton = skeletonize(bitmap)
    line_width = 2 * np.median(distance_transform_edt(bitmap)[skeleton]) if skeleton.any() else 1
    skeleton = _without_spurs(skeleton, SPUR * line_width)
    paths = _join_across_junctions(_trace(skeleton)[0], max(4, int(line_width)))
    strokes = [_smoothed(p, SMOOTHING * line_width) for p in _worth_drawing(paths, SPECK * line_width)]
    if not strokes:
        return None
    # From the top left: each stroke begins at its upper left end, and the upper left stroke comes first.
    strokes = [s[::-1] if s[0].sum() > s[-1].sum() else s for s in strokes]
    strokes.sort(key=lambda s: s.min(axis=0).sum())

    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(high - low)
    if side < 4:
        return None
    return [_resampled((s - (low + high) / 2) / (side / 2), POINT_STEP)[:, ::-1] for s in strokes]


def length(points):
    """The length of a polyline (n, 2)."""
    return np.sqrt((np.diff(points, axis=0) ** 2).sum(1)).sum() if len(points) > 1 else 0.0


def _letter_bitmap(font, letter):
    """The filled letter as booleans with a margin of 8 pixels, or None if it is a blank."""
    left, top, right, bottom = font.getbbox(letter)
    if right - left < 3 or bottom - top < 3:
        return None
    image = Image.new("L", (right - left + 16, bottom - top + 16), 0)
    ImageDraw.Draw(image).text((8 - left, 8 - top), letter, fill=255, font=font)
    return np.asarray(image) > 127


def _trace(skeleton):
    """A thinned letter (booleans) -> its paths, and the junctions where they meet, each an array (2,)."""
    pixels = set(map(tuple, np.argwhere(skeleton).tolist()))

    def neighbours(pixel, among):
        return [q for dr, dc in NEIGHBOURS if (q := (pixel[0] + dr, pixel[1] + dc)) in among]

    def branches(pixel):
        """How many lines leave the pixel: changes from empty to ink on the way round it."""
        ink = [(pixel[0] + dr, pixel[1] + dc) in pixels for dr, dc in RING]
        return sum(not ink[i] and ink[(i + 1) % 8] for i in range(8))

    def connected(first, among):
        """The pixels that hang together with `first`, depth first."""
        found, stack = [first], [first]
        while stack:
            new = [q for q in neighbours(stack.pop(), among) if q not in found]
            found += new
            stack += new
        return found

    # Junction pixels that touch are one junction.
    crossing = {p for p in pixels if branches(p) >= 3 or len(neighbours(p, pixels)) >= 4}
    junction_of, junctions = {}, []
    for pixel in sorted(crossing):
        if pixel not in junction_of:
            cluster = connected(pixel, crossing)
            junction_of.update((q, len(junctions)) for q in cluster)
            junctions.append(np.mean(cluster, axis=0))

    # What is left when junctions are taken out are simple lines and rings.
    rest, seen, paths = pixels - crossing, set(), []
    for pixel in sorted(rest):
        if pixel in seen:
            continue
        line = connected(pixel, rest)
        seen.update(line)
        ends = [q for q in line if len(neighbours(q, rest)) <= 1]
        walk = [ends[0] if ends else line[0]]
        while steps := [q for q in neighbours(walk[-1], rest) if q not in walk]:
            walk.append(min(steps, key=lambda q: abs(q[0] - walk[-1][0]) + abs(q[1] - walk[-1][1])))

        at_start, at_end = ([junction_of[q] for q in neighbours(end, crossing)] for end in (walk[0], walk[-1]))
        if len(walk) == 1:          # a single pixel between two junctions
            touching = sorted(set(at_start), reverse=True)
            at_start, at_end = touching[:1], touching[1:2]
        start, end = at_start[0] if at_start else None, at_end[0] if at_end else None
        points = [np.array(q, float) for q in walk]
        if start is not None:
            points.insert(0, junctions[start])
        if end is not None:
            points.append(junctions[end])
        if not ends and len(walk) > 6 and start is None:           # a ring
            points.append(points[0])
        paths.append(Path(np.array(points), start, end))
    return paths, junctions


def _without_spurs(skeleton, spur):
    """Rubs out side branches shorter than `spur`, twice, since rubbing out may leave new ones."""
    for _ in range(2):
        paths, junctions = _trace(skeleton)
        spurs = [p for p in paths if (p.start is None) != (p.end is None) and length(p.points) < spur]
        gone = [q for p in spurs for q in p.points if all(np.hypot(*(q - j)) > 1.5 for j in junctions)]
        if len(paths) <= 1 or not gone:
            break
        rows, columns = np.round(gone).astype(int).T
        skeleton[rows, columns] = False
        skeleton = skeletonize(skeleton)
    return skeleton


def _join_across_junctions(paths, reach):
    """Makes one path of two that run straight on through a junction (within 60 degrees), the straightest first.

    `reach` is the number of points over which a path's direction at its end is taken.
    """
    def outwards(points, at_end):
        k = min(len(points) - 1, reach)
        return points[-1] - points[-1 - k] if at_end else points[0] - points[k]

    def turned(path):
        return Path(path.points[::-1], path.end, path.start)

    paths = list(paths)
    while True:
        best, choice = 0.5, None
        for i in range(len(paths)):
            for j in range(i + 1, len(paths)):
                for a in (0, 1):
                    for b in (0, 1):
                        node = paths[i][1 + a]
                        if node is None or node != paths[j][1 + b]:
                            continue
                        u, v = outwards(paths[i].points, a), outwards(paths[j].points, b)
                        norm = np.linalg.norm(u) * np.linalg.norm(v)
                        if norm > 0 and -(u @ v) / norm > best:
                            best, choice = -(u @ v) / norm, (i, j, a, b)
        if choice is None:
            return paths
        i, j, a, b = choice
        first = paths[i] if a else turned(paths[i])
        second = turned(paths[j]) if b else paths[j]
        paths[i] = Path(np.concatenate([first.points, second.points[1:]]), first.start, second.end)
        del paths[j]


def _worth_drawing(paths, speck):
    """The points of each path, without loose specks; a dot becomes a dash of 3 pixels, unless the letter is a swarm."""
    for path in paths:
        points = path.points
        if length(points) < 2 and len(paths) < 8:
            points = np.stack([points[0] - [0, 1.5], points[0] + [0, 1.5]])
        loose = path.start is None and path.end is None and len(paths) > 1
        if len(points) >= 2 and not (loose and length(points) < speck):
            yield points


def _smoothed(points, deviation):
    """A Gaussian along the stroke; open ends stay where they are, a ring stays closed."""
    n = len(points)
    if n <= 5:
        return points
    pad = int(3 * deviation) + 1
    ring = np.hypot(*(points[0] - points[-1])) < 1.5 and n > 8
    if ring and n > pad + 1:
        padded = np.concatenate([points[-pad - 1:-1], points, points[1:pad + 1]])
    else:
        padded = np.concatenate([np.repeat(points[:1], pad, 0), points, np.repeat(points[-1:], pad, 0)])
    smooth = np.stack([gaussian_filter(padded[:, k], deviation) for k in (0, 1)], axis=1)[pad:pad + n]
    if not ring:
        smooth[0], smooth[-1] = points[0], points[-1]
    return smooth


def _resampled(points, step):
    """The same line with points at equal distances, about `step`."""
    along = np.r_[0, np.cumsum(np.sqrt((np.diff(points, axis=0) ** 2).sum(1)))]
    at = np.linspace(0, along[-1], max(2, int(round(along[-1] / step)) + 1))
    return np.stack([np.interp(at, along, points[:, k]) for k in (0, 1)], axis=1)
