r"""`interrogate(image)`: the prompt of a picture.

Maps       a picture, the name of a model  ->  a prompt
Tests      tests/interrogator/test_interrogate.py
"""

from os import PathLike

import torch
from PIL import Image

from labml_sd.checkpoint import load_model
from labml_sd.checkpoint.bundled import TINY
from labml_sd.errors import GenerationError, quoted
from labml_sd.images.reading import MAX_PIXELS, open_image
from labml_sd.interrogator.captioner import load_captioner
from labml_sd.interrogator.clip import load_clip
from labml_sd.interrogator.interrogators import (
    ClipInterrogator,
    Interrogator,
    SceneInterrogator,
    known_mode,
)
from labml_sd.interrogator.phrase_lists import read_phrases
from labml_sd.interrogator.scene_reader import SceneReader
from labml_sd.interrogator.tower_file import bundled_tower, load_tower
from labml_sd.utilities.device import pick_device, pick_dtype

Name = str | PathLike[str]
BLIP = "Salesforce/blip-image-captioning-large"


def interrogate(
    image: Name | Image.Image,
    model: Name | Interrogator = TINY,
    *,
    mode: str | None = None,
    caption_model: Name | None = None,
    phrases: Name | None = None,
    cache: Name | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    max_pixels: int = MAX_PIXELS,
    progress: bool = True,
) -> str:
    """The prompt of a picture, given as a path or a PIL image.

    `model` "tiny" reads the scenes that the bundled model draws, and answers with a full
    prompt; it warns if the picture is unlike them. For others give the folder or the hub id of
    a CLIP model. The other arguments but `mode` and `max_pixels` are those of
    `load_interrogator`. Its result can also be given as `model`: it is loaded once then, for
    many pictures.

    `mode` is for CLIP models: "fast" (the default) gives BLIP's caption and the 16 phrases
    closest to the picture; "classic" the caption with the best medium, artist and movement, and
    three flavours; "best" tries all subsets of the best phrase of each list, then adds flavours
    one by one while the prompt as a whole comes closer to the picture. No prompt is longer than
    CLIP reads: 77 tokens.

    Raises ImageError for a picture that cannot be read, GenerationError for an unknown mode,
    PromptError for lists that cannot be read, CheckpointError for a model that is not there.
    """
    known_mode(mode)  # before a large model is loaded
    picture = open_image(image, max_pixels=max_pixels)
    if not isinstance(model, Interrogator):
        model = load_interrogator(
            model,
            caption_model=caption_model,
            phrases=phrases,
            cache=cache,
            device=device,
            dtype=dtype,
        )
    return model.prompt(picture, mode, progress=progress)


def load_interrogator(
    model: Name = TINY,
    *,
    caption_model: Name | None = None,
    phrases: Name | None = None,
    cache: Name | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
) -> Interrogator:
    """What `interrogate` needs, to be loaded once for many pictures.

    `model` is "tiny", or the folder or the hub id of a CLIP model of transformers, such as
    openai/clip-vit-large-patch14. With CLIP goes `caption_model`, a BLIP model (None:
    Salesforce/blip-image-captioning-large), and `phrases`, a folder whose mediums.txt,
    artists.txt, movements.txt and flavours.txt replace the bundled lists. The vectors of the
    lists are kept in `cache` (None: a folder in the cache of the hub's client). `device` "auto"
    is CUDA, else Apple's MPS, else the CPU; `dtype` "auto" is float16 on a GPU, float32 on a
    CPU. Raises CheckpointError, PromptError and GenerationError.
    """
    where, number = pick_device(device), pick_dtype(dtype)
    number = number or (torch.float32 if where.type == "cpu" else torch.float16)
    if model == TINY:
        extra = {"caption_model": caption_model, "phrases": phrases, "cache": cache}
        for name, value in extra.items():
            if value is not None:
                raise GenerationError(
                    f"{name} is {quoted(value)}, and the tiny model takes none: leave it out, "
                    "or give a CLIP model too"
                )
        text = load_model(TINY, device=where, dtype="float32").text_encoder
        tower = load_tower(bundled_tower(), text.transformer).to(where)
        return SceneInterrogator(SceneReader(tower, text))
    lists = read_phrases(phrases)
    clip = load_clip(model, where, number)
    return ClipInterrogator(
        clip, load_captioner(caption_model or BLIP, where, number), lists, cache
    )
