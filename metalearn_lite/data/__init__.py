"""Images for few-shot tasks: letters of fifty scripts (embedded), MNIST digits, Omniglot, CIFAR. See its README.md."""

from .cifar import cifar10, cifar100
from .dataset import FewShotDataset, pack
from .glyphset import character, glyphs, intact, redraw, strokes
from .handwriting import digits, omniglot

__all__ = ["FewShotDataset", "character", "cifar10", "cifar100", "digits", "glyphs", "intact", "omniglot", "pack", "redraw",
           "strokes"]
