"""Pictures: files and PIL images <-> tensors, and the texts that travel inside a file.

reading     a path or a PIL image -> an upright RGB image
tensors     image <-> [b 3 H W] in [-1, 1]; masks; padding
writing     images -> files, whole or not at all
parameters  the two texts inside a picture: their places and their grammar
"""

from labml_sd.images.tensors import load_img, save_images

__all__ = ["load_img", "save_images"]
