r"""Networks, data and loss of each stage, one file a task.

autoencoder.py  stage 1: image <-> latent
decoder.py      stage 2: the decoder alone, with the encoder frozen
clip.py         stage 3: which caption belongs to which picture
diffusion.py    stage 4: the noise in a latent, given a caption
image_tower.py  beside a finished model: pictures that meet its text transformer
"""
