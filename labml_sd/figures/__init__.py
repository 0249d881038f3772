r"""Figures of what happens inside the model, for notebooks, documentation and tests.

Maps       images, tensors, curves  ->  Picture, which a notebook shows and `.save(path)` writes
Tests      tests/figures/test_general.py

Needs matplotlib: `pip install matplotlib`, or the extra `[notebooks]`.
"""

from labml_sd.figures.attention import attention_overlay, weight_tables
from labml_sd.figures.bars import level_bars, part_sizes, parts_chart
from labml_sd.figures.blocks import layer_orders, windows
from labml_sd.figures.cost import measured
from labml_sd.figures.edits import mask_cells, mask_outline, strength_chart
from labml_sd.figures.features import Stage, feature_maps, map_and_sequence, unet_shape
from labml_sd.figures.flow import data_flow
from labml_sd.figures.grids import (
    captioned_grid,
    show_images,
    show_rows,
    show_sizes,
    step_animation,
)
from labml_sd.figures.guidance import doubled_batch, guidance_arrows, guided_samples
from labml_sd.figures.latents import cell_reach, posterior_plane, receptive_fields, round_trips
from labml_sd.figures.noise import histograms, latent_colours, random_walks
from labml_sd.figures.picture import Picture, animation, saved_picture
from labml_sd.figures.plots import curves, heat_maps, learning_curve
from labml_sd.figures.points import point_panels, point_paths, points_film, vector_fields
from labml_sd.figures.rotation import turned_axes
from labml_sd.figures.same import same
from labml_sd.figures.samplers import (
    distance_map,
    eps_arrows,
    error_lines,
    level_rows,
    sampling_paths,
)
from labml_sd.figures.text import (
    captions_and_pictures,
    position_bars,
    share_bars,
    token_matrix,
    token_strip,
)

__all__ = ["attention_overlay", "weight_tables"]
__all__ += ["level_bars", "part_sizes", "parts_chart"]
__all__ += ["layer_orders", "windows"]
__all__ += ["mask_cells", "mask_outline", "measured", "strength_chart"]
__all__ += ["Stage", "feature_maps", "map_and_sequence", "unet_shape"]
__all__ += ["captioned_grid", "show_images", "show_rows", "show_sizes", "step_animation"]
__all__ += ["doubled_batch", "guidance_arrows", "guided_samples"]
__all__ += ["cell_reach", "posterior_plane", "receptive_fields", "round_trips"]
__all__ += ["histograms", "latent_colours", "random_walks"]
__all__ += ["Picture", "animation", "saved_picture"]
__all__ += ["curves", "data_flow", "heat_maps", "learning_curve"]
__all__ += ["point_panels", "point_paths", "points_film", "vector_fields"]
__all__ += ["turned_axes"]
__all__ += ["same"]
__all__ += ["distance_map", "eps_arrows", "error_lines", "level_rows", "sampling_paths"]
__all__ += ["captions_and_pictures", "position_bars", "share_bars"]
__all__ += ["token_matrix", "token_strip"]
