r"""Which kind of model a file contains, by its names and shapes, never by the file's name.

Maps       Weights -> Kind
Reference  names and shapes in the first releases of each family (CompVis, kohya, ...)
Tests      tests/checkpoint/test_kind.py
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from labml_sd.checkpoint.files.weights import TensorInfo, Weights
from labml_sd.checkpoint.layouts.embedding import looks_like_embedding
from labml_sd.config import ModelConfig, inpainting, sd_v1, sd_v2

Tensors = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Kind:
    """A kind of file. `advice` says what to do if it cannot be loaded, else it is empty.

    `config` is that of the family, for files that contain none.
    """

    name: str
    title: str
    advice: str = ""
    config: ModelConfig = field(default_factory=sd_v1, repr=False)

    @property
    def loadable(self) -> bool:
        """True for whole models of a family that this package implements."""
        return not self.advice

    @property
    def sentence(self) -> str:
        """What it is, and what to do if it cannot be loaded."""
        return self.title if self.loadable else f"{self.title}: {self.advice}"


OUT = "not supported; expected a Stable Diffusion v1 or v2 model, plain or for in-painting"
ADD_ON = "expected a whole model; load the model that it belongs to"
PART = "one part of a model; expected a whole model, as a single file or a diffusers folder"

SD1 = Kind("sd1", "Stable Diffusion v1 model")
OTHER_SIZE = Kind(
    "latent-diffusion", "latent diffusion model built as Stable Diffusion v1, of another size"
)
SD2 = Kind("sd2", "Stable Diffusion v2 model", config=sd_v2())
SD1_INPAINTING = Kind(
    "sd1-inpainting",
    "Stable Diffusion v1 in-painting model (9 input channels)",
    config=inpainting(sd_v1()),
)
SD2_INPAINTING = Kind(
    "sd2-inpainting",
    "Stable Diffusion v2 in-painting model (9 input channels)",
    config=inpainting(sd_v2("eps")),
)
SDXL = Kind("sdxl", "Stable Diffusion XL model", OUT)
IMAGE_VARIATIONS = Kind(
    "image-variations",
    "Stable Diffusion image variations (a picture in place of a prompt)",
    OUT,
)
BY_CHANNELS = {
    5: Kind("depth", "Stable Diffusion depth-to-image model (5 input channels)", OUT),
    7: Kind("upscaler", "Stable Diffusion x4 upscaler (7 input channels)", OUT),
    8: Kind("pix2pix", "instruct-pix2pix model (8 input channels)", OUT),
}
UNET = Kind("unet", "U-Net alone", PART)
AUTOENCODER = Kind("autoencoder", "autoencoder (VAE) alone", PART)
TEXT_ENCODER = Kind("text-encoder", "text encoder alone", PART)
LORA = Kind("lora", "LoRA", ADD_ON)
CONTROLNET = Kind("controlnet", "ControlNet", ADD_ON)
T2I_ADAPTER = Kind("t2i-adapter", "T2I-Adapter", ADD_ON)
EMBEDDING = Kind(
    "embedding",
    "textual-inversion embedding",
    "expected a whole model; give it as `embeddings` beside the model that it belongs to",
)
ESRGAN = Kind(
    "esrgan",
    "ESRGAN upscaler",
    "not a latent diffusion model; expected a Stable Diffusion v1 or v2 model",
)
UNKNOWN = Kind(
    "unknown", "weights of an unknown kind", "expected a Stable Diffusion v1 or v2 model"
)

LORA_SIGNS = (
    ".lora_down.",
    ".lora_up.",
    ".lora_A.",
    ".lora_B.",
    "_lora.",
    ".hada_w1_a",
    ".lokr_w1",
)
CONTROL_SIGNS = (
    "control_model.",
    "zero_convs.",
    "input_hint_block.",
    "controlnet_cond_embedding.",
)
ESRGAN_SIGNS = (
    "conv_first.weight",
    "model.1.sub.0.RDB1.conv1.0.weight",
    "RRDB_trunk.0.RDB1.conv1.weight",
)


def recognise(weights: Weights) -> Kind:
    """The kind of a file. Add-ons come first: some contain a whole model too."""
    names = weights.tensors
    if any(n.startswith("lora_") or any(sign in n for sign in LORA_SIGNS) for n in names):
        return LORA
    if any(n.startswith(CONTROL_SIGNS) for n in names):
        return CONTROLNET
    if any(n.startswith("model.diffusion_model.") for n in names):
        return _model(names)
    return _part(names) or _small_file(weights)


def recognise_unet(tensors: Tensors) -> Kind:
    """The family of a U-Net, from names of CompVis or of diffusers with any prefix."""
    keys_in = [n for n in tensors if n.endswith("attn2.to_k.weight")]
    first = [n for n in tensors if n.endswith(("input_blocks.0.0.weight", "conv_in.weight"))]
    if not keys_in or not first:
        return UNKNOWN
    d_cond = (0, *tensors[keys_in[0]].shape)[-1]
    channels = tensors[first[0]].shape[1] if len(tensors[first[0]].shape) == 4 else 0
    if d_cond == 2048 or (
        channels == 4 and any(".label_emb." in n or "add_embedding." in n for n in tensors)
    ):
        return SDXL
    if channels in BY_CHANNELS:
        return BY_CHANNELS[channels]
    for_holes = channels == SD1_INPAINTING.config.unet.in_channels
    if d_cond == 1024:
        return SD2_INPAINTING if for_holes else SD2
    if d_cond == 768:
        return SD1_INPAINTING if for_holes else SD1
    return OTHER_SIZE


def _model(tensors: Tensors) -> Kind:
    """The kind of a whole model: that of its U-Net, unless the text encoder says otherwise."""
    if any(n.startswith("cond_stage_model.model.visual.") for n in tensors):
        return IMAGE_VARIATIONS
    kind = recognise_unet(
        {n: info for n, info in tensors.items() if n.startswith("model.diffusion_model.")}
    )
    if kind is SD1 and any(n.startswith("cond_stage_model.model.") for n in tensors):
        return SD2
    return kind


def _part(tensors: Tensors) -> Kind | None:
    """The kind of a file with one network of a model, in either layout."""
    if (
        "input_blocks.0.0.weight" in tensors
        or {"conv_in.weight", "time_embedding.linear_1.weight"} <= tensors.keys()
    ):
        kind = recognise_unet(tensors)
        return UNET if kind.loadable else Kind("unet", f"{UNET.title}, of a {kind.title}", PART)
    if any(
        f"{prefix}decoder.conv_in.weight" in tensors
        for prefix in ("", "first_stage_model.", "vae.")
    ):
        return AUTOENCODER
    if any(n.endswith("embeddings.token_embedding.weight") for n in tensors):
        return TEXT_ENCODER
    return None


def _small_file(weights: Weights) -> Kind:
    """The kind of an add-on that contains no network of Stable Diffusion."""
    tensors = weights.tensors
    plain = {n.removeprefix("adapter.") for n in tensors}
    if "conv_in.weight" in plain and any(
        n.startswith(("body.0.block1", "body.0.body.", "body.0.resnets.")) for n in plain
    ):
        return T2I_ADAPTER
    if looks_like_embedding(weights):
        return EMBEDDING
    if {
        n.removeprefix("params_ema.").removeprefix("params.").removeprefix("module.")
        for n in plain
    } & {*ESRGAN_SIGNS}:
        return ESRGAN
    return UNKNOWN
