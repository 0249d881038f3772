r"""What one picture was made from, as it travels inside its file.

Maps       GenerationParameters <-> two texts: one that other programs read, one that is exact
Reference  the `parameters` text of AUTOMATIC1111's web UI: its keys
Tests      tests/pipeline/test_parameters.py, tests/pipeline/test_attach_parameters.py
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import NoneType
from typing import Any, cast, get_args

from PIL import Image

import labml_sd
from labml_sd.errors import ImageError
from labml_sd.images.other_tools import Written, a1111, read_written
from labml_sd.images.parameters import write_text
from labml_sd.images.reading import MAX_PIXELS, PathLike, read_picture
from labml_sd.images.texts import JSON_KEY, TEXT_KEY, texts_of, with_texts
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.entries import joined, number, settings_of, spread, unused_entries
from labml_sd.pipeline.request import Request
from labml_sd.settings import Settings, SettingsDict, described

# Without its strings our JSON is short; nested lists of megabytes would take seconds to read.
_JSON_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_MAX_JSON = 10_000  # characters beside the strings
_NO_KEYS = ("settings", "tool", "unused")  # fields below that are not keys of the JSON


@dataclass(frozen=True, kw_only=True)
class GenerationParameters:
    """Everything one picture was made from. None: not known, or not used by the task.

    `settings` holds those that are known, so `txt2img(model, p.prompt, **p.settings)` draws the
    picture `p` was read from again; each can be read as an attribute too, `p.seed`.
    """

    task: str = "txt2img"
    prompt: str = ""
    settings: SettingsDict = field(default_factory=lambda: SettingsDict())
    strength: float | None = None
    model: str | None = None
    model_hash: str | None = None
    vae: str | None = None  # the file of another autoencoder than the model's own
    vae_hash: str | None = None
    ti_hashes: str | None = None  # of embeddings in the prompts: "name: hash, name: hash"
    dtype: str | None = None
    init_image_sha256: str | None = None  # of the RGB pixels that went in, not of the file
    mask_sha256: str | None = None
    version: str | None = None
    # Of a picture that another program drew; neither is written into one.
    tool: str | None = None
    unused: Mapping[str, str] = field(default_factory=dict)  # what no setting stands for

    def __getattr__(self, name: str) -> Any:
        """The value of a setting; None where it is not known."""
        if name in described():
            return self.settings.get(name)
        raise AttributeError(f"GenerationParameters has no attribute {name!r}")

    def to_dict(self) -> dict[str, Any]:
        """All values under their keys in the JSON; None for what is not known."""
        settings: dict[str, Any] = {}
        for name, about in described().items():
            settings |= spread(about.json_keys, self.settings.get(name))
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NO_KEYS}
        return {"task": own.pop("task"), "prompt": own.pop("prompt"), **settings, **own}

    def to_json(self) -> str:
        """Exact values as ASCII JSON, with the mark that the picture was generated."""
        return json.dumps({"ai-generated": True, **self.to_dict()})

    def to_text(self) -> str:
        """The text that web UIs show: prompt, negative prompt, and one line of settings."""
        entries: dict[str, object] = {}
        for name, about in described().items():
            value = self.settings.get(name)
            title = about.titles.get(value, value) if isinstance(value, str) else value
            entries |= spread(about.text_keys, title)
        sizes = self.width, self.height
        entries |= {
            "Size": None if None in sizes else f"{self.width}x{self.height}",
            "Model hash": self.model_hash or None,
            "Model": self.model,
            "VAE hash": self.vae_hash,
            "VAE": self.vae,
            "TI hashes": self.ti_hashes,
            "Denoising strength": self.strength,
            "Version": None if self.version is None else f"labml_sd {self.version}",
        }
        known = {key: value for key, value in entries.items() if value is not None}
        return write_text(self.prompt, self.negative_prompt or "", known)


def parameters_of(
    request: Request, task: str, size: tuple[int, int], **facts: Any
) -> list[GenerationParameters]:
    """What draws each picture of a call again by itself, one entry per picture.

    `size` is (width, height) in pixels of the finished pictures; `facts` are the fields of
    `GenerationParameters` that a request does not know: the model and the inputs.
    """
    facts |= {"task": task, "version": labml_sd.__version__}
    if task != "txt2img":
        facts["strength"] = request.strength
    found = []
    for i, prompt in enumerate(request.prompts):
        settings = replace(request.settings_of(i), width=size[0], height=size[1])
        facts["ti_hashes"] = request.hashes_of(i)
        found.append(GenerationParameters(prompt=prompt, settings=_known(settings), **facts))
    return found


def _known(settings: Settings) -> SettingsDict:
    """The settings that say something of one picture: neither None, nor switched off."""
    values = {
        name: getattr(settings, name)
        for name, about in described().items()
        if about.json_keys and getattr(settings, name) not in (None, about.off, [])
    }
    return cast(SettingsDict, values)


def attach(image: Image.Image, parameters: GenerationParameters) -> Image.Image:
    """A copy of `image` with its parameters in `.info`, where a reader would put them."""
    return with_texts(image, parameters.to_text(), parameters.to_json())


def attach_parameters(
    model: LatentDiffusion,
    request: Request,
    images: Sequence[Image.Image],
    task: str,
    init_image: Image.Image | None = None,
    mask: Image.Image | None = None,
) -> list[Image.Image]:
    """Copies of the pictures of a call, each with its own parameters attached."""
    parameters = parameters_of_call(model, request, images[0].size, task, init_image, mask)
    return [attach(image, each) for image, each in zip(images, parameters, strict=True)]


def parameters_of_call(
    model: LatentDiffusion,
    request: Request,
    size: tuple[int, int],
    task: str,
    init_image: Image.Image | None = None,
    mask: Image.Image | None = None,
) -> list[GenerationParameters]:
    """As `parameters_of`, with the model and the inputs, in the size of the picture."""
    return parameters_of(
        request,
        task=task,
        size=size,
        model=model.config.name,
        model_hash=model.weights_hash,
        vae=None if model.vae_file is None else model.vae_file.path.name,
        vae_hash=None if model.vae_file is None else model.vae_file.hash,
        dtype=str(model.dtype).removeprefix("torch."),
        init_image_sha256=None if init_image is None else pixels_sha256(init_image),
        mask_sha256=None if mask is None else pixels_sha256(mask),
    )


def pixels_sha256(image: Image.Image) -> str:
    """64 hex digits that identify the pixels, their mode and size, not the file."""
    header = f"{image.mode} {image.width}x{image.height} "
    return hashlib.sha256(header.encode() + image.tobytes()).hexdigest()


def read_parameters(
    source: PathLike | Image.Image, *, max_pixels: int = MAX_PIXELS
) -> GenerationParameters:
    """Read the parameters of a picture.

    They are exact if this package drew it. The texts of other programs, the web UI, ComfyUI,
    InvokeAI, Fooocus, SwarmUI and NovelAI, are read as far as possible: `settings` holds what
    can be drawn again here, `unused` what cannot. A prompt that looks like settings stays a
    prompt. Raises `ImageError` for an unreadable file or one without parameters.
    """
    if isinstance(source, Image.Image):
        image, name = source, "the image"
    else:
        image, name = read_picture(source, max_pixels=max_pixels), str(source)
    texts = texts_of(image)
    if JSON_KEY in texts:
        return parse_json(texts[JSON_KEY], name)
    if (written := read_written(texts)) is not None:
        return _of_written(written)
    raise ImageError(
        f"{name} carries no generation parameters: give a picture as its generator saved it"
    )


def parse_json(text: str, name: str = "the picture") -> GenerationParameters:
    """Read back `to_json`; keys of a later version are ignored.

    Raises `ImageError` for what is not such JSON, and for a value of a wrong type.
    """
    try:
        values = json.loads(text) if len(_JSON_STRING.sub("", text)) < _MAX_JSON else None
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{name} carries damaged parameters: they are not JSON") from error
    if not isinstance(values, dict):
        raise ImageError(f"{name} carries damaged parameters: they are not a JSON object")
    settings = {
        setting: joined(
            [
                _checked(key, (about.kind.stored, NoneType), values.get(key), name)
                for key in about.json_keys
            ]
        )
        for setting, about in described().items()
    }
    if "emphasis" not in values:  # written before prompts had marks
        settings["emphasis"] = "none"
    own = {
        f.name: _checked(f.name, get_args(f.type) or (f.type,), values[f.name], name)
        for f in fields(GenerationParameters)
        if f.name not in _NO_KEYS and f.name in values
    }
    known = {name: value for name, value in settings.items() if value is not None}
    return GenerationParameters(settings=cast(SettingsDict, known), **own)


def _checked(key: str, allowed: tuple[Any, ...], value: Any, name: str) -> Any:
    if float in allowed and type(value) is int and abs(value) < 2**1023:
        return float(value)  # JSON has whole numbers of any length; a float ends at 2**1024
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise ImageError(f"{name} carries damaged parameters: {key} is {repr(value)[:100]}")
    return value


def parse_text(text: str) -> GenerationParameters:
    """Read the text of a web UI as far as possible. What is missing is not known."""
    written = a1111.read({TEXT_KEY: text})
    assert written is not None
    return _of_written(written)


def _of_written(written: Written) -> GenerationParameters:
    entries = written.entries
    is_drawn_over, is_ours = written.task != "txt2img", written.tool == "labml_sd"
    return GenerationParameters(
        task=written.task,
        prompt=written.prompt,
        settings=cast(SettingsDict, settings_of(written)),
        strength=number(float, entries.get("Denoising strength")) if is_drawn_over else None,
        model=entries.get("Model"),
        model_hash=entries.get("Model hash"),
        vae=entries.get("VAE") if is_ours else None,
        vae_hash=entries.get("VAE hash") if is_ours else None,
        ti_hashes=entries.get("TI hashes") if is_ours else None,
        version=entries.get("Version"),
        tool=None if is_ours else written.tool,
        unused=unused_entries(written),
    )
