r"""Pictures side by side, with titles, captions or as a table.

Maps       PIL images or tensors [b 3 h w] in [-1, 1]  ->  Picture
Tests      tests/figures/test_general.py
"""

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from labml_sd.figures.picture import Picture, from_image
from labml_sd.images.tensors import to_pil

FONT_SIZE = 11
GAP = 10  # pixels between cells
INK, PAPER = (34, 34, 34), (255, 255, 255)

Images = Sequence[Image.Image] | Float[Tensor, "b 3 h w"]


def show_images(
    images: Images, titles: Sequence[str] = (), *, columns: int = 0, scale: int = 1, alt: str
) -> Picture:
    """Images of one size, enlarged by `scale`, in rows of `columns` (0: one row)."""
    drawn = [enlarged(image, scale) for image in as_images(images)]
    captions = [title for title, _ in zip_longest(titles, drawn, fillvalue="")][: len(drawn)]
    n_lines = max((len(_wrapped(c, drawn[0].width)) for c in captions), default=0)
    return from_image(
        captioned_grid(drawn, captions, columns=columns or len(drawn), n_lines=n_lines), alt
    )


def show_rows(
    rows: dict[str, Images], titles: Sequence[str] = (), *, scale: int = 1, alt: str
) -> Picture:
    """A table of images with the name of each row at its left and titles above the columns."""
    table = {
        name: [enlarged(image, scale) for image in as_images(row)] for name, row in rows.items()
    }
    font = ImageFont.load_default(FONT_SIZE)
    width, height = next(iter(table.values()))[0].size
    margin = GAP + int(max(font.getlength(name) for name in table)) + GAP
    head = GAP + (FONT_SIZE + 6 if titles else 0)
    n = max(len(row) for row in table.values())
    page = Image.new(
        "RGB", (margin + n * (width + 4) + GAP, head + len(table) * (height + 4) + GAP), PAPER
    )
    pen = ImageDraw.Draw(page)
    for k, title in enumerate(titles):
        pen.text((margin + k * (width + 4) + width / 2, GAP), title, INK, font, anchor="ma")
    for r, (name, row) in enumerate(table.items()):
        top = head + r * (height + 4)
        pen.text((margin - GAP, top + height / 2), name, INK, font, anchor="rm")
        for k, image in enumerate(row):
            page.paste(image, (margin + k * (width + 4), top))
    return from_image(page, alt)


def as_images(images: Images) -> list[Image.Image]:
    """PIL images in RGB, from PIL images or a tensor."""
    if isinstance(images, Tensor):
        return to_pil(images)
    return [image.convert("RGB") for image in images]


def captioned_grid(
    images: Sequence[Image.Image], captions: Sequence[str], *, columns: int, n_lines: int = 4
) -> Image.Image:
    """Pictures of one size in rows, each with its caption below, wrapped to `n_lines` lines.

    Raises ValueError if a caption needs more lines.
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
        wrapped = _wrapped(caption, width)
        if len(wrapped) > n_lines:
            raise ValueError(
                f"the caption {caption!r} needs {len(wrapped)} lines of {width} pixels, "
                f"n_lines is {n_lines}"
            )
        for k, text in enumerate(wrapped):
            pen.text((left, top + height + 2 + k * line), text, INK, font)
    return page


def enlarged(image: Image.Image, scale: int) -> Image.Image:
    """Each pixel as a square of `scale` x `scale` pixels, without smoothing."""
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _wrapped(caption: str, width: int) -> list[str]:
    """The caption in the longest lines that fit `width` pixels."""
    font = ImageFont.load_default(FONT_SIZE)
    lines: list[str] = []
    for letters in range(max(width // 3, 5), 4, -1):
        lines = textwrap.wrap(caption, letters)
        if all(font.getlength(line) <= width for line in lines):
            break
    return lines
