"""Pictures: none without a text, the same bytes each time, no pyplot, readable."""

import io
import subprocess
import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from metalearn_lite import figures


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def result(mean):
    return SimpleNamespace(mean=mean, half_width=0.012)


def bowl(w):
    return (w**2 * torch.tensor([1.0, 9.0])).sum(-1)


def an_episode():
    images = torch.rand(2, 30, 1, 8, 8, generator=drawn())
    return (
        images[:, :10],
        torch.arange(5).repeat_interleave(2).repeat(2, 1),
        images[:, 10:],
        torch.arange(5).repeat_interleave(4).repeat(2, 1),
    )


PICTURES = {
    "images": lambda: figures.images(
        torch.rand(2, 3, 8, 8, generator=drawn()), alt="noise", titles=["a", "b", "c"], labels=["x", "y"]
    ),
    "episode": lambda: figures.episode(an_episode(), task=1),
    "curve": lambda: figures.curve(
        {"plain": [3.0, 2.0, 1.0], "other": ([0, 5, 9], torch.tensor([2.0, 1.5, 0.5]))}, "update", "loss"
    ),
    "smooth curve": lambda: figures.curve(
        {"plain": torch.rand(50, generator=drawn())}, "update", "loss", smooth=5, log=True
    ),
    "bars": lambda: figures.bars({"pixels": result(0.433), "network": result(0.881)}, chance=0.2),
    "histogram": lambda: figures.histogram(torch.rand(100, generator=drawn()), "accuracy", interval=(0.4, 0.6)),
    "shrinking": lambda: figures.shrinking(torch.rand(600, generator=drawn()), truth=0.5),
    "scatter": lambda: figures.scatter(
        torch.randn(9, 2, generator=drawn()), torch.arange(9) % 3, extra=torch.zeros(3, 2)
    ),
    "paths": lambda: figures.paths(bowl, {"one": torch.tensor([[1.0, 1.0], [0.5, -0.5]])}, (-1, 1), (-1, 1)),
}
every_picture = pytest.mark.parametrize("make", PICTURES.values(), ids=PICTURES)


@every_picture
def test_a_picture_has_a_text_and_the_same_bytes_each_time(make):
    first, second = make(), make()
    assert first.png == second.png and first.alt == second.alt
    bundle = first._repr_mimebundle_()
    assert bundle["text/plain"] == f"picture: {first.alt}" == repr(first)
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle == second._repr_mimebundle_()
    assert f'alt="{first.alt}"' in bundle["text/html"] or "&" in bundle["text/html"]
    image = Image.open(io.BytesIO(first.png))
    assert image.info.keys() <= {"dpi"}  # no time, no software's version
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert len(np.unique(np.asarray(image.convert("L")))) > 3, "nothing is drawn"


@pytest.mark.parametrize(
    "name, words",
    [
        (
            "episode",
            "a 5-way 2-shot task: 5 rows, one for each label; "
            "2 support images of each on the left, 4 to be labelled on the right",
        ),
        ("curve", "loss against update: plain from 3 to 1; other from 2 to 0.5"),
        ("bars", "accuracy, %: pixels 43.3 ± 1.2; network 88.1 ± 1.2; chance is 20.0"),
        ("paths", "paths on contour lines: one ends at (0.50, -0.50) after 1 steps, height 2.5"),
    ],
)
def test_the_text_tells_the_data(name, words):
    assert PICTURES[name]().alt == words


def test_shrinking_tells_means_and_intervals():
    values = torch.rand(20, generator=drawn()).double()
    text = figures.shrinking(values, counts=[10, 20]).alt
    half = 100 * 1.96 * values.std().item() / 20**0.5
    assert f"20 tasks {100 * values.mean().item():.1f} ± {half:.1f}" in text


@pytest.mark.parametrize("alt", ["", "  ", None, 3])
def test_no_picture_without_a_text(alt):
    fig, _ = figures.new()
    with pytest.raises(ValueError, match="alt: expected a text"):
        figures.show(fig, alt)


def test_a_text_cannot_break_out_of_its_attribute():
    fig, _ = figures.new()
    page = figures.show(fig, 'x" onerror="alert(1)\n<script>').html()
    assert 'alt="x&quot; onerror=&quot;alert(1) &lt;script&gt;"' in page


def test_a_picture_is_taken_when_it_is_shown():
    fig, ax = figures.new()
    before = figures.show(fig, "an empty plot")
    ax.plot([0, 1], [0, 1])
    assert figures.show(fig, "a line").png != before.png


def test_the_style_is_readable_and_every_ready_picture_names_its_axes(monkeypatch):
    seen = []
    monkeypatch.setattr(figures, "show", lambda fig, alt: seen.append(fig))
    for name, make in PICTURES.items():
        make()
        if name not in ("images", "episode"):  # these name rows and columns
            assert all(ax.get_xlabel() and (ax.get_ylabel() or name == "bars") for ax in seen[-1].axes), name
    for fig in seen:
        fig.draw_without_rendering()
        sizes = [text.get_fontsize() for text in fig.findobj(matplotlib.text.Text) if text.get_text()]
        assert min(sizes) >= 10


def test_series_differ_in_colour_line_and_marker():
    looks = [figures.look(i) for i in range(7)]
    for part in ("color", "linestyle", "marker"):
        assert len({str(look[part]) for look in looks}) == 7
    assert figures.look(7) == figures.look(0)


def test_axes_come_as_from_subplots_and_the_users_settings_change_nothing():
    assert figures.new(1, 2)[1].shape == (2,) and figures.new(2, 3)[1].shape == (2, 3)
    plain = PICTURES["curve"]().png
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "figure.dpi": 300}):
        assert PICTURES["bars"]().png and figures.new()[1].get_facecolor() == (1, 1, 1, 1)
    assert PICTURES["curve"]().png == plain


def test_svg_is_the_same_each_time_keeps_text_and_leaves_the_figure_alone():
    fig, ax = figures.new()
    ax.set(xlabel="step size", ylabel="loss")
    before = figures.show(fig, "an empty plot").png
    first = figures.svg(fig)
    assert first == figures.svg(fig)
    assert ">step size</text>" in first and "<dc:date>" not in first and "Matplotlib v" not in first
    assert figures.show(fig, "an empty plot").png == before


def test_images_of_any_kind_and_a_clear_error():
    ink = torch.zeros(4, 1, 6, 6, dtype=torch.uint8)
    ink[:, :, 2] = 255
    assert figures.images(ink, alt="lines").png == figures.images((ink / 255).squeeze(1), alt="lines").png
    with pytest.raises(ValueError, match=r"grid: shape \(6, 6\), expected"):
        figures.images(torch.zeros(6, 6), alt="one")


def test_nothing_global_is_touched():
    code = (
        "import sys, matplotlib; from metalearn_lite import figures, widgets; before = str(matplotlib.rcParams.copy());"
        "fig, _ = figures.new(); figures.show(fig, 'an empty plot'); figures.svg(fig);"
        "assert 'matplotlib.pyplot' not in sys.modules; assert str(matplotlib.rcParams.copy()) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
