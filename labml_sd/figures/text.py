r"""Tokens in boxes, matrices between tokens, numbers for each position.

Maps       tokens, matrices [n m], numbers for each position  ->  Picture
Tests      tests/figures/test_text.py
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.patches import Patch, Rectangle
from PIL import Image
from torch import Tensor

from labml_sd.figures.picture import COLOURS, Picture, from_figure
from labml_sd.figures.plots import array, axes, bare, diagram

START, END, END_OF_WORD = "<|startoftext|>", "<|endoftext|>", "</w>"
KINDS = {"start": COLOURS[3], "word": COLOURS[5], "end": COLOURS[4], "padding": "#D9D9D9"}
SPECIAL = {"start": "start", "end": "end", "padding": "pad"}
LETTER, GAP, WIDTH = 0.088, 0.1, 9.2  # inches; wider rows are broken into lines
LINE, LINE_WITH_IDS = 0.36, 0.54
CELL = 0.45  # side of a cosine


class TokenBox(NamedTuple):
    """One token: its text, its kind, its position."""

    text: str
    kind: str
    left: float
    width: float
    line: int
    number: str


def token_kinds(tokens: Sequence[str]) -> list[str]:
    """The kind of each token: start, word, the first end, then padding."""
    first_end = tokens.index(END) if END in tokens else len(tokens)
    kinds = ["word"] * first_end + ["end"] + ["padding"] * len(tokens)
    return [
        "start" if token == START else kind for token, kind in zip(tokens, kinds, strict=False)
    ]


def shown_text(token: str, kind: str) -> str:
    """The text in the box of a token."""
    return SPECIAL.get(kind, token.removesuffix(END_OF_WORD))


def lay_out(tokens: Sequence[str], ids: Sequence[int], line: int) -> list[TokenBox]:
    """Boxes from left to right, broken into lines, with gaps between words."""
    boxes: list[TokenBox] = []
    left = 0.0
    for k, (token, kind) in enumerate(zip(tokens, token_kinds(tokens), strict=True)):
        text, number = shown_text(token, kind), str(ids[k]) if ids else ""
        width = LETTER * max(len(text), 0.8 * len(number)) + 0.12
        if left > 0 and left + width > WIDTH:
            left, line = 0.0, line + 1
        boxes.append(TokenBox(text, kind, left, width, line, number))
        left += width + (GAP if kind != "word" or token.endswith(END_OF_WORD) else 0.0)
    return boxes


def token_strip(
    rows: Mapping[str, Sequence[str]], ids: Mapping[str, Sequence[int]] | None = None
) -> Picture:
    """Rows of tokens as boxes coloured by kind, with the row's name at the left, and `ids`."""
    laid: dict[str, list[TokenBox]] = {}
    line = 0
    for name, tokens in rows.items():
        laid[name] = lay_out(tokens, (ids or {}).get(name, ()), line)
        line = laid[name][-1].line + 1
    margin = 0.15 + LETTER * max(map(len, laid))
    right = max(box.left + box.width for boxes in laid.values() for box in boxes)
    height = LINE_WITH_IDS if ids else LINE
    size, across = (margin + right + 0.1, height * line + 0.1), (-margin, right + 0.05)
    with diagram(size, across, (height * line, -0.05)) as (figure, panel):
        for name, boxes in laid.items():
            y = height * boxes[0].line + 0.17
            panel.text(-0.12, y, name, ha="right", va="center", fontsize=9.5)
            for box in boxes:
                _draw_box(panel, box, height * box.line)
        return from_figure(figure)


def _draw_box(panel: Any, box: TokenBox, top: float) -> None:
    style: dict[str, Any] = {"fc": KINDS[box.kind], "ec": "white", "lw": 1.2}
    panel.add_patch(Rectangle((box.left, top + 0.03), box.width, 0.28, **style))
    centred = {"x": box.left + box.width / 2, "ha": "center", "va": "center"}
    panel.text(y=top + 0.175, s=box.text, fontsize=9.5, family="DejaVu Sans Mono", **centred)
    panel.text(y=top + 0.4, s=box.number, fontsize=7.5, color="#555555", **centred)


def token_matrix(
    tables: Mapping[str, Float[Tensor, "n m"]],
    tokens: Sequence[str],
    *,
    x: str = "",
    y: str = "",
) -> Picture:
    """Matrices between positions, each with its own scale, with the tokens on both axes."""
    kinds, places = token_kinds(tokens), range(len(tokens))
    names = [shown_text(token, kind) for token, kind in zip(tokens, kinds, strict=True)]
    with axes(len(tables), size=(4.6, 4.3)) as (figure, (panels,)):
        for (title, table), panel in zip(tables.items(), panels, strict=True):
            shown = panel.imshow(array(table), cmap="cividis", vmin=0)
            panel.set(title=title, xlabel=x, ylabel=y)
            panel.set_xticks(places, names, rotation=90, fontsize=8.5)
            panel.set_yticks(places, names, fontsize=8.5)
            panel.grid(visible=False)
            figure.colorbar(shown, ax=panel, shrink=0.7)
        return from_figure(figure)


def position_bars(
    rows: Mapping[str, Float[Tensor, " n"]], tokens: Sequence[str], *, y: str
) -> Picture:
    """A number for each position, as bars coloured by the kind of token, on one scale."""
    colours = [KINDS[kind] for kind in token_kinds(tokens)]
    limits = {
        "xlim": (-1, len(tokens)),
        "ylim": (0, 1.08 * max(float(values.max()) for values in rows.values())),
    }
    with axes(1, len(rows), size=(8.6, 1.9)) as (figure, panels):
        for (title, values), panel in zip(rows.items(), panels.flat, strict=True):
            panel.bar(range(len(tokens)), array(values), color=colours, width=0.9)
            panel.set(title=title, ylabel=y, **limits)
        panels.flat[-1].set_xlabel("position")
        return from_figure(_with_kinds(figure))


def share_bars(rows: Mapping[str, Sequence[float] | Float[Tensor, " k"]]) -> Picture:
    """Shares of start, words, end and padding, stacked in one bar for each row."""
    with axes(size=(8.2, 0.7 + 0.42 * len(rows))) as (figure, ((panel,),)):
        for at, shares in enumerate(rows.values()):
            left = 0.0
            for share, colour in zip(map(float, shares), KINDS.values(), strict=True):
                panel.barh(at, share, left=left, color=colour, height=0.7)
                if share > 0.045:
                    style = {"ha": "center", "va": "center", "fontsize": 9}
                    panel.text(left + share / 2, at, f"{share:.0%}", **style)
                left += share
        panel.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xticks=[])
        panel.set_yticks(range(len(rows)), list(rows))
        bare(panel)
        return from_figure(_with_kinds(figure))


def _with_kinds(figure: Any) -> Any:
    """The figure with a legend of the kinds of tokens."""
    handles = [Patch(color=colour, label=kind) for kind, colour in KINDS.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(KINDS))
    return figure


def captions_and_pictures(
    tables: Mapping[str, Float[Tensor, "n m"]],
    captions: Sequence[str],
    images: Sequence[Image.Image],
) -> Picture:
    """Tables of cosines with a caption for each row and a small picture for each column."""
    n, m = len(captions), len(images)
    longest = max(map(len, captions))
    with axes(len(tables)) as (figure, (panels,)):
        width = CELL * m * len(tables) + 0.07 * longest + 0.4
        figure.set_size_inches(width, CELL * (n + 1.3) + 0.3)
        for (title, table), panel in zip(tables.items(), panels, strict=True):
            values = array(table)
            panel.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, aspect="equal")
            for (i, j), value in np.ndenumerate(values):
                ink = "white" if abs(value) > 0.7 else "black"
                style = {"ha": "center", "va": "center", "color": ink, "fontsize": 8}
                panel.text(j, i, f"{value:.1f}".replace("-0.0", "0.0"), **style)
            for j, image in enumerate(images):
                area = (j - 0.47, j + 0.47, -0.6, -1.54)
                panel.imshow(np.asarray(image), extent=area, interpolation="antialiased")
            panel.set(title=title, xlim=(-0.5, m - 0.5), ylim=(n - 0.5, -1.6), xticks=[])
            names = captions if panel is panels[0] else [""] * n
            panel.set_yticks(range(n), names, fontsize=9)
            bare(panel)
        return from_figure(figure)
