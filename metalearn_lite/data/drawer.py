"""Simulated drawers: pen strokes in, many people's handwriting out (numpy only).

A character is a list of strokes. A stroke is an array (n, 2) of points (x, y): x grows to the right, y downwards, and
the longer side of the character runs from -1 to 1.

A drawer has a *hand*, kept for all characters of a script (slant, proportions, sloppiness, width of the pen), and
makes new small errors in each character. The order of the steps: each stroke is smoothed, scaled, turned, moved and
wobbled; the whole plane is warped; the character is slanted, sized and turned; it is placed on the canvas; a round
pen draws it. `draw` and `redraw` are what most people need; the embedded images were made by the same functions.
"""

from typing import NamedTuple

import numpy as np

CANVAS = 28                 # pixels of the canvas on which the lengths below are meant
UNIT = 8.0                  # pixels of a length of 1, so a character is 16 pixels high or wide before all variation

# Standard deviations of a drawer's own habits, drawn once a drawer.
HAND_SHEAR = 0.12           # slant to the left or right
HAND_ASPECT = 0.08          # log of width over height
HAND_SIZE = 0.10            # log of the size
HAND_TURN = 0.05            # rotation of everything, radians
HAND_OFFSET = 0.75          # distance from the middle of the canvas, pixels
HAND_SLOPPINESS = 0.35      # log of the sloppiness, which multiplies the errors within a character
PEN_RADIUS = 0.62           # median radius of the pen, pixels
PEN_SPREAD = 0.10           # log of the pen's radius

# Standard deviations of what differs from one character of a drawer to the next.
SHEAR, ASPECT, SIZE, TURN = 0.06, 0.08, 0.06, 0.07      # in addition to the hand's
OFFSET = 0.80               # in addition to the hand's, pixels

# Standard deviations of what happens to one stroke; lengths as fractions of half the character.
STROKE_SMOOTH = (0.6, 0.3)  # mean and deviation of how far each point moves to the mean of its neighbours (0 to 1)
STROKE_TURN = 0.08          # rotation about its middle, radians
STROKE_SCALE = 0.09         # log of its width, and of its height
STROKE_OFFSET = 0.055       # shift
STROKE_WOBBLE = 0.040       # amplitude of the slowest of three sine waves along it, for each unit of its length up to 2
STROKE_ENDS = 0.05          # how much too long each end is; half of them are too short by 0.6 of that
WARP = 0.078                # displacement of the 4 x 4 grid points that bend the plane smoothly


class Hands(NamedTuple):
    """The habits of D drawers, each an array (D,)."""

    shear: np.ndarray
    aspect: np.ndarray
    size: np.ndarray
    turn: np.ndarray
    offset_x: np.ndarray
    offset_y: np.ndarray
    sloppiness: np.ndarray
    pen: np.ndarray


def hands(drawers, rng):
    """The habits of so many new drawers, from the numpy Generator `rng`."""
    deviations = (HAND_SHEAR, HAND_ASPECT, HAND_SIZE, HAND_TURN, HAND_OFFSET, HAND_OFFSET)
    habits = [rng.normal(0, deviation, drawers) for deviation in deviations]
    sloppiness = np.exp(rng.normal(0, HAND_SLOPPINESS, drawers))
    pen = PEN_RADIUS * np.exp(rng.normal(0, PEN_SPREAD, drawers))
    return Hands(*habits, sloppiness, pen)


def draw(strokes, drawers, seed, size=CANVAS):
    """One character, drawn by several new drawers.

    Args:
        strokes: list of at least one array (n, 2) of points (x, y) within [-1, 1], n >= 1; a single point is a dot.
        drawers: how many, D >= 1.
        seed: integer >= 0; the same seed gives the same images, and other strokes the same hands.
        size: side of the images in pixels, at least 8.

    Returns:
        uint8 array (D, size, size): ink = 255, sixteen grey levels (multiples of 17).

    Raises:
        ValueError: an argument outside the bounds above.
    """
    strokes = _checked_strokes(strokes)
    check_count("drawers", drawers, 1)
    check_count("seed", seed, 0)
    return write(strokes, hands(drawers, np.random.default_rng([seed, 777])), np.random.default_rng([seed]), size)


def render(strokes, size=CANVAS, pen=PEN_RADIUS):
    """One character just as its strokes say, in the middle of the canvas, without any drawer's errors.

    Args:
        strokes, size: as for `draw`.
        pen: radius of the pen in pixels of the 28-pixel canvas, > 0.

    Returns:
        uint8 array (size, size): ink = 255, sixteen grey levels.
    """
    strokes = _checked_strokes(strokes)
    check_count("size", size, 8)
    if not pen > 0:
        raise ValueError(f"pen is {pen}; expected more than 0")
    middle = (CANVAS - 1) / 2
    points = np.concatenate(strokes)[None] * UNIT + middle
    return ink(points, strokes, np.array([pen]), size)[0]


def write(strokes, hands, rng, size=CANVAS):
    """One character, drawn by the given hands: uint8 (D, size, size). The same hands may write many characters."""
    check_count("size", size, 8)
    return ink(vary(strokes, hands, rng), strokes, hands.pen, size)


def vary(strokes, hands, rng):
    """The strokes as each of the given hands makes them: points (D, n, 2) on the canvas, in pixels."""
    sloppiness = hands.sloppiness[:, None, None]
    points = np.concatenate([_vary_stroke(stroke, sloppiness, rng) for stroke in strokes], axis=1)
    return _place_on_canvas(_warp_plane(points, sloppiness, rng), hands, rng)


def ink(points, strokes, pen, size):
    """Images uint8 (D, size, size) of points (D, n, 2) in pixels of the canvas, for pens (D,); strokes say where they lift."""
    return _ink(points.astype(np.float32, copy=False), _pen_is_down(strokes), pen, size)


def _vary_stroke(stroke, sloppiness, rng):
    """One stroke (n, 2), sloppiness (D, 1, 1) -> the stroke as D drawers make it, (D, n, 2)."""
    n, drawers = len(stroke), len(sloppiness)
    length = np.sqrt((np.diff(stroke, axis=0) ** 2).sum(1)).sum() + 1e-6
    points = np.repeat(stroke[None], drawers, axis=0).astype(np.float64)

    smooth = np.clip(rng.normal(*STROKE_SMOOTH, drawers), 0, 1)[:, None, None]
    if n > 2:
        rounded = points.copy()
        rounded[:, 1:-1] = (points[:, :-2] + 2 * points[:, 1:-1] + points[:, 2:]) / 4
        points = (1 - smooth) * points + smooth * rounded

    middle = points.mean(axis=1, keepdims=True)
    angle = rng.normal(0, STROKE_TURN, drawers) * sloppiness[:, 0, 0]
    scale = np.exp(rng.normal(0, STROKE_SCALE, (drawers, 1, 2)) * sloppiness)
    points = _turn((points - middle) * scale, angle) + middle
    points += rng.normal(0, STROKE_OFFSET, (drawers, 1, 2)) * sloppiness

    along = np.linspace(0, 1, n)[None, :, None]
    for wave in (1, 2, 3):
        amplitude = rng.normal(0, STROKE_WOBBLE * min(length, 2.0) / wave, (drawers, 1, 2)) * sloppiness
        phase = rng.uniform(0, 2 * np.pi, (drawers, 1, 2))
        points += amplitude * np.sin(2 * np.pi * wave * 0.75 * along + phase)

    for end, neighbour in ((0, 1), (n - 1, n - 2)):
        outwards = points[:, end] - points[:, neighbour]
        outwards /= np.linalg.norm(outwards, axis=1, keepdims=True) + 1e-6
        extra = np.abs(rng.normal(0, STROKE_ENDS, (drawers, 1)))
        points[:, end] += outwards * extra * sloppiness[:, 0] * rng.choice([1, -0.6], (drawers, 1))
    return points


def _warp_plane(points, sloppiness, rng):
    """Moves points (D, M, 2) by a smooth random field: 4 x 4 displacements, blended with a smoothstep in between."""
    drawers = len(points)
    field = rng.normal(0, WARP, (drawers, 4, 4, 2)) * sloppiness[..., None]
    cell = np.clip((points + 1.3) / 2.6 * 3, 0, 2.999)      # the grid spans [-1.3, 1.3]
    corner = cell.astype(int)
    blend = cell - corner
    blend = blend * blend * (3 - 2 * blend)
    column, row, across, down = corner[..., 0], corner[..., 1], blend[..., :1], blend[..., 1:]
    who = np.arange(drawers)[:, None]
    upper = field[who, row, column] * (1 - across) + field[who, row, column + 1] * across
    lower = field[who, row + 1, column] * (1 - across) + field[who, row + 1, column + 1] * across
    return points + (upper * (1 - down) + lower * down)


def _place_on_canvas(points, hands, rng):
    """Slants, sizes, turns and places characters (D, M, 2): unit lengths -> pixels of the 28-pixel canvas, float32."""
    drawers = len(points)
    shear = hands.shear + rng.normal(0, SHEAR, drawers)
    aspect = hands.aspect + rng.normal(0, ASPECT, drawers)
    size = hands.size + rng.normal(0, SIZE, drawers)
    angle = hands.turn + rng.normal(0, TURN, drawers)
    x, y = points[..., 0], points[..., 1]
    x, y = (x - shear[:, None] * y) * np.exp(size + aspect / 2)[:, None], y * np.exp(size - aspect / 2)[:, None]
    points = _turn(np.stack([x, y], axis=-1), angle) * UNIT

    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    offset_x = hands.offset_x + rng.normal(0, OFFSET, drawers)
    offset_y = hands.offset_y + rng.normal(0, OFFSET, drawers)
    offset = np.stack([offset_x, offset_y], axis=-1)
    points = points - (high + low) / 2 + (CANVAS - 1) / 2 + offset[:, None]

    # What is larger than the canvas (less its margins) shrinks, what sticks out is pushed back in.
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    middle = (low + high) / 2
    points = (points - middle) * np.minimum(1, (CANVAS - 3) / np.maximum(high - low, 1e-6)) + middle
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    points += np.maximum(0, 1 - low) - np.maximum(0, high - (CANVAS - 2))
    return points.astype(np.float32)


def _ink(points, pen_is_down, pen, size):
    """Draws with a round pen: points (D, M, 2) float32 in pixels of the 28-pixel canvas, pen radii (D,) -> uint8.

    A pixel's ink falls from full to none as its distance from the nearest segment goes from half a pixel inside the
    pen's edge to half a pixel outside. Drawn at 256 levels, then kept at sixteen, as 4 bits a pixel hold.
    """
    zoom = size / CANVAS
    points, pen = (points + 0.5) * zoom - 0.5, pen * zoom
    pixel = np.arange(size, dtype=np.float32)
    starts, ends = points[:, :-1][:, pen_is_down], points[:, 1:][:, pen_is_down]
    nearest = np.full((len(points), size, size), 1e9, np.float32)      # squared distance
    for m in range(starts.shape[1]):
        start, along = starts[:, m], ends[:, m] - starts[:, m]
        x = pixel[None, None, :] - start[:, 0, None, None]              # (D, 1, size)
        y = pixel[None, :, None] - start[:, 1, None, None]              # (D, size, 1)
        dx, dy = along[:, 0, None, None], along[:, 1, None, None]
        part = np.clip((x * dx + y * dy) / ((along * along).sum(1) + 1e-9)[:, None, None], 0, 1)
        np.minimum(nearest, (x - part * dx) ** 2 + (y - part * dy) ** 2, out=nearest)
    ink = np.clip(pen[:, None, None] + 0.5 - np.sqrt(nearest), 0, 1)
    ink = (ink * 255 + 0.5).astype(np.uint8)
    return ((ink.astype(np.uint16) * 15 + 127) // 255 * 17).astype(np.uint8)


def _turn(points, angle):
    """Rotates points (D, M, 2) by angles (D,) about the origin."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = points[..., 0], points[..., 1]
    return np.stack([x * cos - y * sin, x * sin + y * cos], axis=-1)


def _pen_is_down(strokes):
    """For each step from one point to the next over all strokes, whether it draws: False between two strokes."""
    return np.array(sum([[True] * (len(stroke) - 1) + [False] for stroke in strokes], [])[:-1], bool)


def check_count(argument, value, least):
    """Raises ValueError unless `value` is an integer >= `least`."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ValueError(f"{argument} is {value!r}; expected an integer of at least {least}")


def _checked_strokes(strokes):
    if len(strokes) == 0:
        raise ValueError("strokes is empty; expected at least 1 stroke")
    checked = []
    for i, stroke in enumerate(strokes):
        stroke = np.asarray(stroke, dtype=np.float32)
        if stroke.ndim != 2 or stroke.shape[1] != 2 or len(stroke) == 0:
            raise ValueError(f"strokes[{i}] has shape {stroke.shape}; expected (n, 2) with n >= 1")
        if not (np.abs(stroke) <= 1 + 1e-6).all():              # also catches NaN
            worst = stroke.flat[np.argmax(np.nan_to_num(np.abs(stroke), nan=np.inf))]
            raise ValueError(f"strokes[{i}] contains {worst}; expected coordinates from -1 to 1")
        checked.append(np.repeat(stroke, 2, axis=0) if len(stroke) == 1 else stroke)      # a dot: a step of length 0
    return checked
