r"""The sizes of the parts of models.

Maps       parameter counts of parts  ->  Picture
Tests      tests/figures/test_checkpoints.py
"""

from collections.abc import Mapping, Sequence

from labml_sd.figures.picture import COLOURS, Picture, from_figure
from labml_sd.figures.plots import axes


def part_sizes(
    models: Mapping[str, Sequence[float]], parts: Sequence[str], *, alt: str
) -> Picture:
    """A group of bars for each model, a bar for each part: million parameters, log scale."""
    height = 0.8 / len(parts)
    with axes(size=(6.4, 0.8 + 0.9 * len(models))) as (figure, ((panel,),)):
        for k, part in enumerate(parts):
            places = [row + k * height for row in range(len(models))]
            sizes = [values[k] for values in models.values()]
            bars = panel.barh(
                places,
                sizes,
                0.9 * height,
                color=COLOURS[k],
                label=part.replace("_", " "),
                log=True,
            )
            panel.bar_label(bars, [f"{size:.1f}" for size in sizes], padding=3, fontsize=9)
        panel.set_yticks([row + 0.4 - height / 2 for row in range(len(models))], list(models))
        panel.set(xlabel="million parameters, log scale", xlim=(0.3, 4000))
        panel.grid(visible=False)
        panel.invert_yaxis()
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return from_figure(figure, alt)
