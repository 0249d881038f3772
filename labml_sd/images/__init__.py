"""Pictures: files and PIL images <-> tensors, and the texts that travel inside a file.

reading     a path or a PIL image -> an upright RGB image
masks       a mask -> 8-bit grey, white where to paint
tensors     image <-> [b 3 H W] in [-1, 1]; sizes; blending
writing     images -> files, whole or not at all
texts       the texts inside a picture by their names: in PNG, in EXIF, in the pixels
parameters  the text that web UIs write: prompt, negative prompt, and a line of entries
other_tools what other programs write, brought into one form
"""

from labml_sd.images.tensors import load_img, save_images

__all__ = ["load_img", "save_images"]
