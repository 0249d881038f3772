"""Pictures: files and PIL images <-> tensors, and the parameters that travel inside a file.

reading     a path or a PIL image -> an upright RGB image
tensors     image <-> [b 3 H W] in [-1, 1]; masks; padding
writing     images -> files, whole or not at all
parameters  the settings that drew a picture, as a text inside it
"""

from labml_sd.images.parameters import GenerationParameters, read_parameters
from labml_sd.images.tensors import load_img, save_images

__all__ = ["GenerationParameters", "load_img", "read_parameters", "save_images"]
