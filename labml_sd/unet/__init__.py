"""The U-Net: (x_t, t, c) -> eps.

time_embedding.py       t [b] -> t_emb [b 4c]
blocks.py               ResBlock with time, down-sampling, up-sampling
attention.py            attention in three implementations, GeGLU, feed-forward
spatial_transformer.py  feature map -> tokens -> feature map, with cross-attention to the prompt
unet.py                 the wiring: down, middle, up, skip connections
rows.py                 repeats a batch when several prompts share it
residuals.py            feature maps from other networks, added inside the U-Net
attention_maps.py       records where each word attends
"""

from labml_sd.unet.attention_maps import AttentionMap, record_attention
from labml_sd.unet.residuals import NO_RESIDUALS, UNetResiduals
from labml_sd.unet.unet import UNet

__all__ = ["NO_RESIDUALS", "AttentionMap", "UNet", "UNetResiduals", "record_attention"]
