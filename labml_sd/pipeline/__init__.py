r"""A prompt, and perhaps a picture, becomes pictures.

txt2img, img2img, inpaint  model, prompt (, image (, mask)) -> list of PIL images
request                    a call's prompt and settings, checked, one entry a picture
binding                    model, request -> the networks of the call, and its Denoiser
denoiser                   (x, moment) -> eps, x0: guidance, extra channels, controls
conditioning, control      what the U-Net is given beside x and t
latents                    noise, pictures and masks -> latents -> pictures
memory                     a batch in parts, where memory is short
float32_fallback           numbers that overflow float16
parameters                 what a picture was made from, and attach_parameters
"""

from labml_sd.pipeline.conditioning import Conditioning
from labml_sd.pipeline.denoiser import Denoiser
from labml_sd.pipeline.img2img import img2img
from labml_sd.pipeline.inpaint import inpaint
from labml_sd.pipeline.outpaint import outpaint
from labml_sd.pipeline.parameters import GenerationParameters, read_parameters
from labml_sd.pipeline.txt2img import txt2img

__all__ = [
    "Conditioning",
    "Denoiser",
    "GenerationParameters",
    "img2img",
    "inpaint",
    "outpaint",
    "read_parameters",
    "txt2img",
]
