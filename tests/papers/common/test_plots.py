"""Pictures: one resolution, few bytes, nothing lost that one sees."""

import io

import numpy as np
from PIL import Image

from papers.common.plots import COLOURS, DPI, new_figure, png, style


def drawn():
    canvas = new_figure(1, 2)
    for panel, role in zip(canvas.axes.flat, ("free", "fixed"), strict=True):
        panel.plot(np.linspace(0, 1, 50), np.linspace(0, 1, 50) ** 2, **style(role))
        panel.set_title("a sentence")
    return canvas.figure


def test_resolution_is_the_same_for_every_figure():
    with Image.open(io.BytesIO(png(drawn()))) as picture:
        width, height = drawn().get_size_inches()
        assert picture.size == (round(width * DPI), round(height * DPI))


def test_few_colours_look_the_same():
    figure, plain = drawn(), io.BytesIO()
    figure.savefig(plain, format="png", dpi=DPI)
    with Image.open(plain) as full, Image.open(io.BytesIO(png(figure))) as few:
        difference = np.abs(np.asarray(full.convert("RGB"), int) - np.asarray(few.convert("RGB"), int))
        colours = {tuple(colour) for colour in np.asarray(few.convert("RGB")).reshape(-1, 3)}
    assert len(png(figure)) < 0.7 * len(plain.getvalue())
    assert difference.max() <= 32 and difference.mean() < 0.2
    for role in ("free", "fixed"):
        wanted = [int(COLOURS[role][place : place + 2], 16) for place in (1, 3, 5)]
        assert min(np.abs(np.subtract(colour, wanted)).max() for colour in colours) <= 8
