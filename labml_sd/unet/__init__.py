"""Room: (x_t, t, c) -> eps.

time_embedding.py       t [b] -> t_emb [b 4c]
blocks.py               ResBlock with time, down- and up-sampling
attention.py            attention in three ways, GeGLU, feed-forward
spatial_transformer.py  feature map -> tokens -> feature map, with the prompt in between
unet.py                 the wiring: down, middle, up, skips
attention_maps.py       records what each word is looked at with
"""

from labml_sd.unet.attention_maps import AttentionMap, record_attention
from labml_sd.unet.residuals import NO_RESIDUALS, UNetResiduals
from labml_sd.unet.unet import UNet

__all__ = ["NO_RESIDUALS", "AttentionMap", "UNet", "UNetResiduals", "record_attention"]
