r"""A prompt, and perhaps a picture, becomes pictures.

Maps       model, prompt (, image (, mask)) -> list of PIL images
Tests      tests/pipeline/
"""

from labml_sd.pipeline.img2img import img2img
from labml_sd.pipeline.inpaint import inpaint
from labml_sd.pipeline.parameters import GenerationParameters, read_parameters
from labml_sd.pipeline.txt2img import txt2img

__all__ = ["GenerationParameters", "img2img", "inpaint", "read_parameters", "txt2img"]
