r"""Bar charts: the parts of a model, of several models, and the levels of an autoencoder.

Maps       numbers by name  ->  Picture
Tests      tests/figures/test_bars.py
"""

from collections.abc import Mapping, Sequence

from labml_sd.figures.picture import COLOURS, Picture, from_figure
from labml_sd.figures.plots import axes


def parts_chart(counts: Mapping[str, int]) -> Picture:
    """A bar for each part of a model, with its number of parameters."""
    with axes(size=(7.4, 0.6 + 0.42 * len(counts))) as (figure, ((panel,),)):
        bars = panel.barh([*counts], [*counts.values()], color=COLOURS, height=0.6)
        panel.bar_label(bars, [f"{n / 1e6:.2f} M" for n in counts.values()], padding=4)
        panel.invert_yaxis()
        panel.grid(visible=False)
        panel.set(xticks=[], xlim=(0, 1.15 * max(counts.values())))
        panel.spines["bottom"].set_visible(False)
        return from_figure(figure)


def part_sizes(models: Mapping[str, Sequence[float]], parts: Sequence[str]) -> Picture:
    """A group of bars for each model, a bar for each part: million parameters, log scale."""
    height = 0.8 / len(parts)
    with axes(size=(6.4, 0.8 + 0.9 * len(models))) as (figure, ((panel,),)):
        by_part = zip(*models.values(), strict=True)
        for k, (part, sizes) in enumerate(zip(parts, by_part, strict=True)):
            places = [row + k * height for row in range(len(models))]
            style = {"color": COLOURS[k], "label": part.replace("_", " "), "log": True}
            bars = panel.barh(places, sizes, 0.9 * height, **style)
            panel.bar_label(bars, [f"{size:.1f}" for size in sizes], padding=3, fontsize=9)
        panel.set_yticks([row + 0.4 - height / 2 for row in range(len(models))], list(models))
        panel.set(xlabel="million parameters, log scale", xlim=(0.3, 4000))
        panel.grid(visible=False)
        panel.invert_yaxis()
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return from_figure(figure)


def level_bars(names: Sequence[str], measures: Mapping[str, Sequence[float | int]]) -> Picture:
    """A panel for each measure with a bar for each level and the number at its end."""
    with axes(len(measures), size=(3.1, 0.35 + 0.38 * len(names))) as (figure, (panels,)):
        for k, (title, values) in enumerate(measures.items()):
            panel, rows = panels[k], range(len(names))
            bars = panel.barh(rows, values, color=COLOURS[k], height=0.65)
            panel.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3)
            panel.set(title=title, xlim=(0, 1.35 * max(values)), xticks=[])
            panel.set_yticks(rows, names if k == 0 else [""] * len(names))
            panel.tick_params(left=False)
            panel.spines["bottom"].set_visible(False)
            panel.grid(visible=False)
            panel.invert_yaxis()
        return from_figure(figure)
