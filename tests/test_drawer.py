"""The simulated drawers: the packed images follow from the strokes, and new drawers write legibly."""

import platform

import numpy as np
import pytest
import torch

from metalearn_lite import data

CROSS = [[(-1, -1), (1, 1)], [(1, -1), (-1, 1)]]


@pytest.mark.slow
def test_strokes_reproduce_every_packed_image():
    images = data.glyphs().items
    drawn = torch.stack([data.redraw(i, drawers=20, seed=0) for i in range(len(images))])
    differing = (drawn != images).float().mean().item()
    # Elsewhere the last digit of sin and exp may tip a pixel over to the next of sixteen levels.
    allowed = 0 if (platform.system(), platform.machine()) == ("Linux", "x86_64") else 1e-4
    assert differing <= allowed
    assert (drawn.int() - images.int()).abs().max() <= 17


def test_strokes_are_centred_and_fill_their_square():
    for i in range(0, 1264, 7):
        points = np.concatenate(data.strokes(i))
        low, high = points.min(0), points.max(0)
        assert abs((high - low).max() - 2) < 0.05 and np.abs(low + high).max() < 0.1, data.glyphs().class_names[i]


def test_two_hundred_drawers_of_a_letter():
    images = data.redraw("Greek alpha")
    assert images.shape == (200, 28, 28) and images.dtype == torch.uint8
    assert (images.flatten(1).max(1).values > 200).all()
    assert len(images.unique(dim=0)) == 200


def test_a_letter_by_number_name_or_character():
    number = data.glyphs().class_names.index("Greek alpha")
    assert data.character(number) == "α"
    for which in (number, np.int64(number), torch.tensor(number), "Greek alpha", "α"):
        assert torch.equal(data.redraw(which, 3, seed=5), data.redraw("Greek alpha", 3, seed=5))
        assert len(data.strokes(which)) == len(data.strokes("α"))


def test_same_seed_same_bytes_other_seed_other_drawers():
    assert torch.equal(data.redraw("α", 30, seed=4), data.redraw("α", 30, seed=4))
    assert not torch.equal(data.redraw("α", 30, seed=4), data.redraw("α", 30, seed=5))
    number = data.glyphs().class_names.index("Greek alpha")
    assert not torch.equal(data.redraw(number, 20, seed=1), data.glyphs().items[number])
    assert np.array_equal(data.drawer.draw(CROSS, 9, seed=2), data.drawer.draw(CROSS, 9, seed=2))
    assert not np.array_equal(data.drawer.draw(CROSS, 9, seed=2), data.drawer.draw(CROSS, 9, seed=3))


def test_numpys_global_random_state_is_neither_read_nor_changed():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = data.redraw("α", 4, seed=6)
    assert (np.random.get_state()[1] == before).all()
    np.random.seed(2)
    assert torch.equal(first, data.redraw("α", 4, seed=6))


def test_new_drawings_resemble_their_letter():
    greek = [i for i, name in enumerate(data.glyphs().class_names) if name.startswith("Greek ")]
    centroids = data.glyphs().items[greek].float().mean(1).flatten(1)
    drawn = torch.stack([data.redraw(i, 40, seed=11) for i in greek]).float().flatten(2)
    found = torch.cdist(drawn, centroids[None]).argmin(-1)
    accuracy = (found == torch.arange(len(greek))[:, None]).float().mean()
    assert accuracy > 0.4, f"{accuracy:.2f} of chance {1 / len(greek):.2f}"


def test_a_drawer_keeps_a_hand_for_a_whole_script():
    # A hand's pen is the same in all letters: who writes thickly once does so again.
    def thickness(letter):
        images = data.redraw(letter, 200, seed=8).float()
        return (images.flatten(1).sum(1) / (images > 0).flatten(1).sum(1))

    same = torch.corrcoef(torch.stack([thickness("α"), thickness("κ")]))[0, 1]
    other = torch.corrcoef(torch.stack([thickness("α"), thickness("ש")]))[0, 1]
    assert same > 0.5 and abs(other) < 0.3


@pytest.mark.parametrize("size", [14, 28, 56, 105])
def test_any_strokes_at_any_size(size):
    images = data.drawer.draw(CROSS, 6, seed=0, size=size)
    assert images.shape == (6, size, size) and images.dtype == np.uint8
    ink = images.astype(float).mean(axis=(1, 2)) / 255
    assert ((ink > 0.02) & (ink < 0.25)).all()
    assert not (images % 17).any()


def test_render_draws_what_the_strokes_say():
    image = data.drawer.render(CROSS)
    assert image.shape == (28, 28) and image.dtype == np.uint8
    assert np.array_equal(image, image[::-1]) and np.array_equal(image, image[:, ::-1])      # a cross is symmetric
    assert image[13, 13] > 200 and image[6, 6] > 100 and image[13, 6] == 0 and image[0].max() == 0
    low = data.drawer.render([[(-1, 0.9), (1, 0.9)]])
    assert low[:14].max() == 0 and low[14:].max() > 150                                       # y grows downwards


def test_a_single_point_is_a_dot():
    dot = data.drawer.render([[(0.0, 0.0)]])
    assert 0 < (dot > 0).sum() <= 9
    assert (data.drawer.draw([[(0.0, 0.0)]], 5, seed=0).max(axis=(1, 2)) > 100).all()


def test_everything_stays_on_the_canvas():
    square = [[(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]]
    images = data.drawer.draw(square, 500, seed=1)
    border = np.concatenate([images[:, [0, -1]].reshape(-1), images[:, :, [0, -1]].reshape(-1)])
    assert border.max() < 128                       # at most the pen's soft edge
    assert (images[:, 1:3].max() > 200) and (images[:, -3:-1].max() > 200)       # though some write as large as can be


@pytest.mark.parametrize("call, says", [
    (lambda: data.redraw(1264), "which is 1264; expected a class number from 0 to 1263"),
    (lambda: data.redraw(-1), "which is -1"),
    (lambda: data.redraw(2.0), "which is 2.0"),
    (lambda: data.redraw("Klingon a"), "which is 'Klingon a'"),
    (lambda: data.redraw("α", drawers=0), "drawers is 0; expected an integer of at least 1"),
    (lambda: data.redraw("α", drawers=2.5), "drawers is 2.5"),
    (lambda: data.redraw("α", seed=-3), "seed is -3; expected an integer of at least 0"),
    (lambda: data.drawer.draw([], 5, 0), "strokes is empty; expected at least 1"),
    (lambda: data.drawer.draw([[(0, 0, 0)]], 5, 0), r"strokes\[0\] has shape \(1, 3\); expected \(n, 2\)"),
    (lambda: data.drawer.draw([*CROSS, [(0, 0), (0, 1.5)]], 5, 0), r"strokes\[2\] contains 1.5; expected .* -1 to 1"),
    (lambda: data.drawer.draw([[(0, 0), (0, float("nan"))]], 5, 0), r"strokes\[0\] contains nan"),
    (lambda: data.drawer.draw(CROSS, -1, 0), "drawers is -1"),
    (lambda: data.drawer.draw(CROSS, 5, 0, size=4), "size is 4; expected an integer of at least 8"),
    (lambda: data.drawer.render(CROSS, size=0), "size is 0"),
    (lambda: data.drawer.render(CROSS, pen=0), "pen is 0; expected more than 0"),
])
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
