r"""Pictures side by side, with titles, captions or as a table; and one after the other.

Maps       PIL images or tensors [b 3 h w] in [-1, 1]  ->  Picture
Tests      tests/figures/test_grids.py
"""

import textwrap
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from labml_sd.figures.page import FONT_SIZE, Page, enlarged, font, text_width
from labml_sd.figures.picture import DENSITY, Picture, animation, from_image
from labml_sd.images.tensors import to_pil

GAP = 10  # CSS pixels between cells
LINE = FONT_SIZE + 6  # height of a title
HEAD = GAP // 2 + LINE  # of a frame of an animation
PAGE_WIDTH = 960  # of pictures of different sizes

Images = Sequence[Image.Image] | Float[Tensor, "b 3 h w"]


def show_images(
    images: Images, titles: Sequence[str] = (), *, columns: int = 0, scale: int = 1
) -> Picture:
    """Images of one size, enlarged by `scale`, in rows of `columns` (0: one row)."""
    drawn = [enlarged(image, scale) for image in as_images(images)]
    captions = [*titles, *[""] * len(drawn)][: len(drawn)]
    return from_image(captioned_grid(drawn, captions, columns=columns))


def captioned_grid(
    images: Sequence[Image.Image],
    captions: Sequence[str],
    *,
    columns: int = 0,
    n_lines: int | None = None,
) -> Image.Image:
    """Pictures of one size in rows of `columns` (0: one row), each with its caption below.

    Captions are wrapped to `n_lines` lines, by default as many as the longest needs. Raises
    ValueError if a caption needs more.
    """
    width, height = images[0].size
    wrapped, line = [_wrapped(caption, width) for caption in captions], FONT_SIZE + 3
    n_lines = max(map(len, wrapped)) if n_lines is None else n_lines
    for caption, lines in zip(captions, wrapped, strict=True):
        if len(lines) > n_lines:
            raise ValueError(
                f"the caption {caption!r} needs {len(lines)} lines of {width} pixels, "
                f"n_lines is {n_lines}"
            )
    columns = columns or len(images)
    cell = (width + GAP, height + n_lines * line + GAP)
    page = Page(columns * cell[0] + GAP, -(-len(images) // columns) * cell[1] + GAP)
    for i, (image, lines) in enumerate(zip(images, wrapped, strict=True)):
        left, top = GAP + i % columns * cell[0], GAP + i // columns * cell[1]
        page.paste(image, (left, top))
        for k, text in enumerate(lines):
            page.text((left, top + height + 2 + k * line), text)
    return page.image


def show_rows(rows: Mapping[str, Images], titles: Sequence[str] = ()) -> Picture:
    """A table of images with the name of each row at its left and titles above the columns."""
    table = {name: as_images(row) for name, row in rows.items()}
    width, height = (side + 4 for side in next(iter(table.values()))[0].size)
    margin, head = text_width(*table) + 2 * GAP, GAP + (LINE if titles else 0)
    n = max(len(row) for row in table.values())
    page = Page(margin + n * width + GAP, head + len(table) * height + GAP)
    for k, title in enumerate(titles):
        page.text((margin + k * width + width / 2 - 2, GAP), title, anchor="ma")
    for r, (name, row) in enumerate(table.items()):
        top = head + r * height
        page.text((margin - GAP, top + height / 2 - 2), name, anchor="rm")
        for k, image in enumerate(row):
            page.paste(image, (margin + k * width, top))
    return from_image(page.image)


def show_sizes(
    images: Sequence[Image.Image], titles: Sequence[str], *, scale: int = 1
) -> Picture:
    """Pictures of different sizes, enlarged by `scale`, in rows of at most `PAGE_WIDTH` pixels.

    Each has its title above it, on one line.
    """
    placed: list[tuple[Image.Image, str, int, int]] = []
    left, top, tallest, right = GAP, GAP, 0, 0
    for image, title in zip(images, titles, strict=True):
        large = enlarged(image, scale)
        width = max(large.width, text_width(title) + 1)
        if left > GAP and left + width + GAP > PAGE_WIDTH:
            left, top, tallest = GAP, top + tallest + LINE + GAP, 0
        placed.append((large, title, left, top))
        right, tallest = max(right, left + width), max(tallest, large.height)
        left += width + 2 * GAP
    page = Page(right + GAP, top + LINE + tallest + GAP)
    for image, title, x, y in placed:
        page.text((x, y), title)
        page.paste(image, (x, y + LINE))
    return from_image(page.image)


def step_animation(
    columns: Mapping[str, Sequence[Image.Image]], captions: Sequence[str]
) -> Picture:
    """Pictures side by side, one frame a step: names above them, the step's caption below."""
    frames = []
    for k, caption in enumerate(captions):
        shown = [enlarged(row[k], 2) for row in columns.values()]
        width, height = shown[0].size
        page = Page(len(shown) * (width + GAP) + GAP, HEAD + height + LINE + 4)
        for i, (name, image) in enumerate(zip(columns, shown, strict=True)):
            x = GAP + i * (width + GAP)
            page.text((x, GAP // 2), name)
            page.paste(image, (x, HEAD))
        page.text((GAP, HEAD + height + 4), caption)
        frames.append(page.image)
    return animation(frames, milliseconds=200)


def as_images(images: Images) -> list[Image.Image]:
    """PIL images in RGB, from PIL images or a tensor."""
    if isinstance(images, Tensor):
        return to_pil(images)
    return [image.convert("RGB") for image in images]


def coloured(
    values: Float[Tensor, "h w"], low: float, high: float, colours: str = "viridis"
) -> Image.Image:
    """A map from `low` to `high` in the colours of matplotlib."""
    unit = ((values - low) / ((high - low) or 1.0)).detach().double().cpu().numpy()
    return Image.fromarray(colormaps[colours](unit, bytes=True)[..., :3])


def _wrapped(caption: str, width: int) -> list[str]:
    """The caption in the longest lines that fit `width` pixels."""
    written, lines = font(), list[str]()
    for letters in range(max(width // 3, 5), 4, -1):
        lines = textwrap.wrap(caption, letters)
        if all(written.getlength(line) <= width * DENSITY for line in lines):
            break
    return lines
