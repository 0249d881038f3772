r"""The half of a CLIP that sees: an image tower, and the projection of a text transformer.

Maps       image [b 3 H W] in [-1, 1]  ->  unit vectors [b e]
           the text transformer's pooled vectors [b d]  ->  unit vectors [b e]
Paper      Radford et al. 2021, arXiv:2103.00020, section 2.3 and figure 3
Tests      tests/interrogator/test_image_tower.py

The text transformer itself is that of a finished model and is not part of this module. The
U-Net depends on it, so it stays as it is; the tower learns to meet it.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.text_encoder import CLIPTextEmbedder, trimmed

MAX_LOGIT_SCALE = 100.0  # as in CLIP (section 2.5): a sharper softmax is unstable


@dataclass(frozen=True, kw_only=True)
class ImageTowerConfig:
    """Shape of the tower. Defaults: that of the tiny model, 1.1 M parameters."""

    d_text: int = 128  # width of the text transformer
    d_embed: int = 128  # width of the space that captions and pictures share
    grid: int = 64  # side to which pictures are reduced; the smallest object is 14 of 128 wide
    channels: int = 32  # of the first layer
    d_hidden: int = 384
    norm_groups: int = 8


class ImageEncoder(nn.Module):
    """Strided convolutions, and two linear layers over the flattened map.

    The last map is not averaged: left and right would be the same.
    """

    def __init__(self, config: ImageTowerConfig) -> None:
        super().__init__()
        self.grid = config.grid
        c = config.channels
        layers: list[nn.Module] = []
        for a, b in pairwise((3, c, 2 * c, 4 * c, 4 * c)):
            norm = nn.GroupNorm(config.norm_groups, b)
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), norm, nn.SiLU()]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(4 * c * (config.grid // 16) ** 2, config.d_hidden)
        self.project = nn.Linear(config.d_hidden, config.d_embed)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        """Pictures of any size are first averaged to the grid."""
        maps = self.convolutions(F.adaptive_avg_pool2d(image, self.grid))  # [b 4c g/16 g/16]
        # [b d_hidden]: which object has which colour is no sum over positions
        features = F.silu(self.hidden(rearrange(maps, "b c h w -> b (c h w)")))
        return self.project(features)  # [b e]


class ImageTower(nn.Module):
    """Image encoder, text projection, and the temperature of the softmax."""

    def __init__(self, config: ImageTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ImageEncoder(config)
        self.text_projection = nn.Linear(config.d_text, config.d_embed, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())  # section 2.5

    def embed_text(self, pooled: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """Unit vectors of captions, given what the text transformer makes of them."""
        return F.normalize(self.text_projection(pooled), dim=-1)

    def embed_image(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        """Unit vectors of pictures, close to those of captions that describe them."""
        return F.normalize(self.image(image), dim=-1)

    @property
    def scale(self) -> Float[Tensor, ""]:
        """What cosines are multiplied by before the softmax."""
        return cosine_scale(self.logit_scale)


def cosine_scale(logit_scale: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The learned scale of cosines, at most 100."""
    return logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)


@torch.inference_mode()
def pooled(text: CLIPTextEmbedder, captions: list[str]) -> Float[Tensor, "b d"]:
    """What the text transformer makes of captions: the vectors that a tower projects."""
    ids = trimmed(text.ids(captions), text.config.eos_id)
    return text.transformer.pooled(ids).float()
