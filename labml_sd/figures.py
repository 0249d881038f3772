r"""Pictures of what happens inside: for the notebooks, the documentation and the tests.

Room       figures; nothing in the package imports it
Maps       images, tensors, curves  ->  pictures to look at
See        tests/test_figures.py
"""

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

__all__ = ["captioned_grid"]

FONT_SIZE = 11
GAP = 10  # pixels between cells
INK, PAPER = (34, 34, 34), (255, 255, 255)


def captioned_grid(
    images: Sequence[Image.Image], captions: Sequence[str], *, columns: int, n_lines: int = 4
) -> Image.Image:
    """Pictures of one size in rows, each with its caption below, wrapped to `n_lines` lines or fewer.

    Raises ValueError when a caption needs more lines: a caption that is cut off would be a wrong one.
    """
    font = ImageFont.load_default(FONT_SIZE)
    width, height = images[0].size
    line = FONT_SIZE + 3
    cell = (width + GAP, height + n_lines * line + GAP)
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * cell[0] + GAP, rows * cell[1] + GAP), PAPER)
    pen = ImageDraw.Draw(page)
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = GAP + i % columns * cell[0], GAP + i // columns * cell[1]
        page.paste(image, (left, top))
        for k, text in enumerate(_wrapped(caption, width, font, n_lines)):
            pen.text((left, top + height + 2 + k * line), text, INK, font)
    return page


def _wrapped(caption: str, width: int, font: ImageFont.FreeTypeFont, n_lines: int) -> list[str]:
    """The longest lines that fit `width`."""
    for letters in range(width // 3, 4, -1):
        lines = textwrap.wrap(caption, letters)
        if all(font.getlength(line) <= width for line in lines):
            break
    if len(lines) > n_lines:
        raise ValueError(f"the caption {caption!r} needs {len(lines)} lines of {width} pixels, not {n_lines}")
    return lines
