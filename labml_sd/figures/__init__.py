r"""Pictures of what happens inside: for the notebooks, the documentation and the tests.

Maps       images, tensors, curves  ->  Picture, shown by a notebook and saved by `.save(path)`
Tests      tests/figures/test_general.py

It needs matplotlib: `pip install matplotlib`, or the extra `[notebooks]`.
"""

from labml_sd.figures.aims import eps_aims
from labml_sd.figures.attention import look_at, weight_tables
from labml_sd.figures.blocks import layer_orders, windows
from labml_sd.figures.checkpoints import part_sizes
from labml_sd.figures.edits import (
    outlined,
    painted_cells,
    parts_chart,
    show_sizes,
    step_film,
    strength_chart,
)
from labml_sd.figures.features import Stage, feature_maps, map_and_sequence, unet_shape
from labml_sd.figures.flow import data_flow
from labml_sd.figures.grids import captioned_grid, show_images, show_rows
from labml_sd.figures.guidance import clouds, doubled_batch, guidance_arrows
from labml_sd.figures.latents import cell_reach, fields_of_view, level_bars, round_trips
from labml_sd.figures.noise import fan, histograms, latent_colours
from labml_sd.figures.picture import COLOURS, Picture, film, from_figure, from_image
from labml_sd.figures.plots import axes, curves, heat
from labml_sd.figures.posterior import posterior_plane
from labml_sd.figures.samplers import distance_map, error_lines, level_rows, walks
from labml_sd.figures.text import (
    captions_and_pictures,
    position_bars,
    share_bars,
    token_matrix,
    token_strip,
)
from labml_sd.figures.training import kept_picture, learning_curve

__all__ = [
    "COLOURS",
    "Picture",
    "Stage",
    "axes",
    "captioned_grid",
    "captions_and_pictures",
    "cell_reach",
    "clouds",
    "curves",
    "data_flow",
    "distance_map",
    "doubled_batch",
    "eps_aims",
    "error_lines",
    "fan",
    "feature_maps",
    "fields_of_view",
    "film",
    "from_figure",
    "from_image",
    "guidance_arrows",
    "heat",
    "histograms",
    "kept_picture",
    "latent_colours",
    "layer_orders",
    "learning_curve",
    "level_bars",
    "level_rows",
    "look_at",
    "map_and_sequence",
    "outlined",
    "painted_cells",
    "part_sizes",
    "parts_chart",
    "position_bars",
    "posterior_plane",
    "round_trips",
    "share_bars",
    "show_images",
    "show_rows",
    "show_sizes",
    "step_film",
    "strength_chart",
    "token_matrix",
    "token_strip",
    "unet_shape",
    "walks",
    "weight_tables",
    "windows",
]
