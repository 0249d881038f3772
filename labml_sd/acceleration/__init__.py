"""Room: the networks once more, sooner. Nothing here computes anything new.

attention.py    attention in bfloat16 on AMX, by a kernel in C (attention.c)
layers.py       convolution and linear layer, weights laid out for the machine once
winograd.py     a 3x3 convolution with a quarter of the multiplications
transformer.py  the spatial transformer on tokens that stay where they are
unet.py         the U-Net for a whole run: what does not change from level to level is computed once
upsampling.py   a repeated map convolved without being repeated
bands.py        a map's rows, made when they are asked for
autoencoder.py  encoder and decoder in bands, exactly
text_encoder.py the text transformer
compiled.py     the plain U-Net through torch.compile, and as one CUDA graph
road.py         which road a model takes

Read `text_encoder/`, `unet/` and `autoencoder/` to learn; read this room to see what speed
costs in lines.
"""

from labml_sd.acceleration.accelerate import accelerate, accelerated

__all__ = ["accelerate", "accelerated"]
