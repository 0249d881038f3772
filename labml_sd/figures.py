r"""Pictures of what happens inside: for the notebooks, the documentation and the tests.

Room       figures; nothing in the package imports it
Maps       images, tensors, curves  ->  Picture, shown by a notebook and saved by `.save(path)`
See        tests/test_figures.py

It needs matplotlib: `pip install matplotlib`, or the extra `[notebooks]`.
"""

from labml_sd.figures_grids import captioned_grid, show_images, show_rows
from labml_sd.figures_picture import COLOURS, Picture, film, from_figure, from_image
from labml_sd.figures_plots import axes, curves, heat

__all__ = [
    "COLOURS",
    "Picture",
    "axes",
    "captioned_grid",
    "curves",
    "film",
    "from_figure",
    "from_image",
    "heat",
    "show_images",
    "show_rows",
]
