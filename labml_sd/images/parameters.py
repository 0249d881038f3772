r"""The settings that made a picture, carried inside its file.

Maps       GenerationParameters <-> two texts in a picture: one that other programs read, one that is exact
Reference  the `parameters` text of AUTOMATIC1111's web UI: its order of fields and its quoting
Tests      tests/images/test_parameters.py
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from PIL import Image, PngImagePlugin

from labml_sd.errors import ImageError
from labml_sd.images.reading import MAX_PIXELS, PathLike, exif_value, read_picture

TEXT_KEY = "parameters"  # the text that other programs look for
JSON_KEY = "labml_sd"  # the exact values
_IMAGE_DESCRIPTION, _SOFTWARE, _EXIF_IFD, _USER_COMMENT = (
    0x010E,
    0x0131,
    0x8769,
    0x9286,
)  # EXIF 2.32, tags

SAMPLER_TITLES = {
    "ddpm": "DDPM",
    "ddim": "DDIM",
    "plms": "PLMS",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm_2": "DPM2",
    "dpm_2_a": "DPM2 a",
    "lms": "LMS",
    "dpmpp_2s_a": "DPM++ 2S a",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "unipc": "UniPC",
}  # the names of the web UI
# A key starts at a word's start and is short, so that a long prompt is not searched over and
# over.
_SETTING = re.compile(r'(?<![\w\-/])(\w[\w \-/]{1,40}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
# Without its texts JSON of ours is short; lists of megabytes would take seconds to read.
_JSON_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SAMPLER_NAMES = {title: name for name, title in SAMPLER_TITLES.items()}


@dataclass(frozen=True, kw_only=True)
class GenerationParameters:
    """Everything one picture was made from. None: not known, or not used by the task."""

    task: str = "txt2img"
    prompt: str = ""
    negative_prompt: str = ""
    seed: int | None = None  # of this picture, not of the call that drew it among others
    steps: int | None = None
    sampler: str | None = None
    compat: str | None = None  # the tool whose noise levels were used; None: ours
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    guidance_low: float | None = None  # sigma; None: guided at every level
    guidance_high: float | None = None
    variation_seed: int | None = None  # of this picture, as its seed
    variation_strength: float | None = None
    noise: str | None = None  # "cuda", or None for that of the CPU
    width: int | None = None
    height: int | None = None
    strength: float | None = None
    model: str | None = None
    model_hash: str | None = None
    dtype: str | None = None
    init_image_sha256: str | None = None  # of the RGB pixels that went in, not of the file
    mask_sha256: str | None = None
    version: str | None = None

    @property
    def guidance_interval(self) -> tuple[float, float] | None:
        """The two noise levels between which the prompt guides, as the pipelines take them."""
        if self.guidance_low is None or self.guidance_high is None:
            return None
        return self.guidance_low, self.guidance_high

    def to_json(self) -> str:
        """Exact values as ASCII JSON, with the mark that the picture was generated."""
        return json.dumps({"ai-generated": True, **asdict(self)})

    def to_text(self) -> str:
        """The text that web UIs show: prompt, negative prompt, and one line of settings."""
        settings: dict[str, object] = {
            "Steps": self.steps,
            "Sampler": None
            if self.sampler is None
            else SAMPLER_TITLES.get(self.sampler, self.sampler),
            "Compat": self.compat,
            "CFG scale": self.guidance_scale,
            "Guidance rescale": self.guidance_rescale,
            "Guidance low": self.guidance_low,
            "Guidance high": self.guidance_high,
            "Seed": self.seed,
            "Variation seed": self.variation_seed,
            "Variation seed strength": self.variation_strength,
            "RNG": "NV" if self.noise == "cuda" else None,
            "Size": None
            if self.width is None or self.height is None
            else f"{self.width}x{self.height}",
            "Model hash": self.model_hash or None,
            "Model": self.model,
            "Denoising strength": self.strength,
            "Version": None if self.version is None else f"labml_sd {self.version}",
        }
        lines = [self.prompt]
        if self.negative_prompt:
            lines.append(f"Negative prompt: {self.negative_prompt}")
        lines.append(
            ", ".join(
                f"{key}: {_quoted(value)}"
                for key, value in settings.items()
                if value is not None
            )
        )
        # Half of a surrogate pair cannot be written as text; the JSON keeps it.
        return "\n".join(lines).encode("utf-8", "replace").decode("utf-8")


def attach(image: Image.Image, parameters: GenerationParameters) -> Image.Image:
    """Return `image` with the two texts in its `.info`, as if it had been read from a file."""
    copy = image.copy()
    copy.info = {**image.info, TEXT_KEY: parameters.to_text(), JSON_KEY: parameters.to_json()}
    return copy


def read_parameters(
    source: PathLike | Image.Image, *, max_pixels: int = MAX_PIXELS
) -> GenerationParameters:
    """Read the parameters of a picture: exactly if this package drew it, else as far as its text goes.

    A prompt that looks like settings stays a prompt. Raises `ImageError` for an unreadable file
    or none.
    """
    image = (
        source
        if isinstance(source, Image.Image)
        else read_picture(source, max_pixels=max_pixels)
    )
    name = "the image" if isinstance(source, Image.Image) else str(source)
    exact, text = _texts(image)
    if exact is not None:
        return parse_json(exact, name)
    if text is not None:
        return parse_text(text)
    raise ImageError(
        f"{name} carries no generation parameters: give a picture as its generator saved it"
    )


def parse_json(text: str, name: str = "the picture") -> GenerationParameters:
    """Read back `to_json`. Fields of a later version are passed over; a wrong type raises `ImageError`."""
    try:
        values = json.loads(text) if len(_JSON_STRING.sub("", text)) < 10_000 else None
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{name} carries damaged parameters: they are no JSON") from error
    if not isinstance(values, dict):
        raise ImageError(f"{name} carries damaged parameters: they are no JSON object")
    known = {
        f.name: _checked(f.name, f.type, values[f.name], name)
        for f in fields(GenerationParameters)
        if f.name in values
    }
    return GenerationParameters(**known)


def _checked(key: str, kind: Any, value: Any, name: str) -> Any:
    allowed = get_args(kind) or (kind,)
    if (
        float in allowed and type(value) is int and abs(value) < 2**1023
    ):  # JSON has whole numbers of any length
        return float(value)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise ImageError(f"{name} carries damaged parameters: {key} is {repr(value)[:100]}")
    return value


def parse_text(text: str) -> GenerationParameters:
    """Read the text of a web UI as far as it goes. What is missing stays None."""
    *body, last = text.strip().split("\n")
    found = _SETTING.findall(last)
    if len(found) < 3:  # a last line with fewer belongs to the prompt
        body, found = [*body, last], []
    settings = {key: _unquoted(value.strip()) for key, value in found}
    begin = next(
        (i for i, line in enumerate(body) if line.startswith("Negative prompt:")), len(body)
    )
    negative = "\n".join(body[begin:]).removeprefix("Negative prompt:").strip()
    size = re.fullmatch(r"(\d{1,9})x(\d{1,9})", settings.get("Size", ""))
    sampler, strength = (
        settings.get("Sampler"),
        _number(float, settings.get("Denoising strength")),
    )
    return GenerationParameters(
        task="txt2img" if strength is None else "img2img",
        prompt="\n".join(body[:begin]).strip(),
        negative_prompt=negative,
        seed=_number(int, settings.get("Seed")),
        steps=_number(int, settings.get("Steps")),
        sampler=None if sampler is None else _SAMPLER_NAMES.get(sampler, sampler),
        compat=settings.get("Compat"),
        guidance_scale=_number(float, settings.get("CFG scale")),
        guidance_rescale=_number(float, settings.get("Guidance rescale")),
        guidance_low=_number(float, settings.get("Guidance low")),
        guidance_high=_number(float, settings.get("Guidance high")),
        variation_seed=_number(int, settings.get("Variation seed")),
        variation_strength=_number(float, settings.get("Variation seed strength")),
        noise="cuda" if settings.get("RNG") == "NV" else None,
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        strength=strength,
        model=settings.get("Model"),
        model_hash=settings.get("Model hash"),
        version=settings.get("Version"),
    )


def _number(kind: type[Any], text: str | None) -> Any:
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None  # another program's field in another form: as unknown as a missing one


def _quoted(value: object) -> str:
    text = (
        f"{value:g}"
        if isinstance(value, float) and float(f"{value:g}") == value
        else str(value)
    )
    return json.dumps(text, ensure_ascii=False) if re.search(r"[,\n:]", text) else text


def _unquoted(text: str) -> str:
    if not (len(text) > 1 and text[0] == text[-1] == '"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def png_text_of(image: Image.Image) -> PngImagePlugin.PngInfo:
    """PNG text chunks for what `attach` put on `image`: Latin-1 where that is enough, else UTF-8."""
    chunks = PngImagePlugin.PngInfo()
    for key in (TEXT_KEY, JSON_KEY):
        if key in image.info:
            chunks.add_text(key, image.info[key])
    return chunks


def exif_of(image: Image.Image) -> bytes:
    """EXIF for what `attach` put on `image`: the text as user comment, the JSON as image description."""
    if TEXT_KEY not in image.info:
        return b""
    exif = Image.Exif()
    exif[_SOFTWARE] = "labml_sd"
    exif[_IMAGE_DESCRIPTION] = image.info[JSON_KEY]
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"UNICODE\0" + image.info[TEXT_KEY].encode(
        "utf-16-be"
    )
    return exif.tobytes()


def _texts(image: Image.Image) -> tuple[str | None, str | None]:
    """(exact JSON, web UI text) of a picture, from PNG text or from EXIF; None for what is not there."""
    exact, text = image.info.get(JSON_KEY), image.info.get(TEXT_KEY)
    if exact is None and text is None:
        if exif_value(image, _SOFTWARE) == "labml_sd":
            exact = exif_value(image, _IMAGE_DESCRIPTION)
        comment = exif_value(image, _USER_COMMENT, _EXIF_IFD)
        if isinstance(comment, bytes) and comment.startswith(b"UNICODE\0"):
            text = comment[8:].decode("utf-16-be", "replace")
    return (exact if isinstance(exact, str) else None), (
        text if isinstance(text, str) else None
    )
