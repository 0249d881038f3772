r"""A part of a picture that is worked on alone, and then put back.

Maps       mask, padding  ->  Area: a box in pixels, and the size at which it is worked on
Reference  AUTOMATIC1111's web UI, "Inpaint area: Only masked"
Tests      tests/images/test_area.py
"""

from dataclasses import dataclass

from PIL import Image

RESIZE = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class Area:
    """A box (left, top, right, bottom) of a picture, worked on at `size` (width, height)."""

    box: tuple[int, int, int, int]
    size: tuple[int, int]

    @classmethod
    def around(cls, mask: Image.Image, padding: int, side: int, multiple: int) -> "Area":
        """The smallest square around the white of a mask with `padding` pixels on each side.

        It is cut off at the borders of the picture. Its longer side is worked on at `side`
        pixels, the other in proportion, a multiple of `multiple`. Without any white the area is
        the whole picture.
        """
        left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
        length = max(right - left, bottom - top) + 2 * padding
        columns = _span(left, right, length, mask.width)
        rows = _span(top, bottom, length, mask.height)
        width, height = columns[1] - columns[0], rows[1] - rows[0]
        scale = side / max(width, height)
        size = (max(multiple, round(n * scale / multiple) * multiple) for n in (width, height))
        return cls((columns[0], rows[0], columns[1], rows[1]), (next(size), next(size)))

    def cut(self, image: Image.Image) -> Image.Image:
        """The part, at the size at which it is worked on; the whole picture as it is."""
        part = image.crop(self.box)
        return part if part.size == self.size else part.resize(self.size, RESIZE)

    def put_back(self, part: Image.Image, whole: Image.Image) -> Image.Image:
        """A copy of the whole picture with the part in its place, at its own size."""
        left, top, right, bottom = self.box
        size, result = (right - left, bottom - top), whole.copy()
        result.paste(part if part.size == size else part.resize(size, RESIZE), (left, top))
        return result


def _span(low: int, high: int, length: int, limit: int) -> tuple[int, int]:
    """`length` pixels around low..high, moved inwards where they leave 0..limit."""
    length = min(length, limit)
    start = min(max(0, (low + high - length) // 2), limit - length)
    return start, start + length
