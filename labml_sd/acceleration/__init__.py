"""Acceleration: the same networks with faster layers. Nothing here computes anything new.

accelerate.py    accelerate(network): the wiring as it is, its layers exchanged for packed ones
packed.py        when a packed layer may take the place of a plain one
copies.py        packed copies of weights, kept while the weights stay the same
fingerprint.py   tells whether a weight has changed

layers.py        convolution and linear layer with packed weights
winograd.py      a 3x3 convolution with a quarter of the multiplications
upsampling.py    up-sampling and a convolution in one step
onednn.py        matrix products by oneDNN, with packed weights
attention.py     attention in bfloat16 and float32, by a kernel in C (attention.c)

unet_blocks.py   packed ResBlock, up- and down-sampling
transformer.py   packed spatial transformer
text_encoder.py  packed layer of the text transformer
row_tiling.py    feature maps computed some rows at a time
autoencoder.py   encoder and decoder in row tiles
compiled.py      the U-Net through torch.compile, and as a CUDA graph

To learn how the networks work, read `text_encoder/`, `unet/` and `autoencoder/`.
"""

from labml_sd.acceleration.accelerate import accelerate

__all__ = ["accelerate"]
