"""Images for few-shot tasks: letters of fifty scripts (embedded), MNIST digits, Omniglot. See its README.md."""

from .dataset import FewShotDataset, pack
from .glyphset import character, glyphs, intact, redraw, strokes
from .handwriting import digits, omniglot

__all__ = ["FewShotDataset", "character", "digits", "glyphs", "intact", "omniglot", "pack", "redraw", "strokes"]
