r"""Reads a picture of the tiny world: the caption that fits it best names every attribute.

Maps       image [b 3 H W] in [-1, 1]  ->  Scene, cosine of picture and caption
Paper      Radford et al. 2021, arXiv:2103.00020, section 3.1 (zero-shot classification)
Tests      tests/interrogator/test_scene_reader.py

There are half a million full captions, too many to compare all. A beam search adds one object
after the other; then single changes are tried as long as one brings caption and picture closer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.interrogator.image_tower import ImageTower, pooled
from labml_sd.text_encoder import CLIPTextEmbedder
from labml_sd.tiny.neighbours import MAX_OBJECTS, empty_scenes, neighbours, one_more
from labml_sd.tiny.scenes import PLACES, Scene

BEAM = 3  # scenes that are kept before the next object is added
CHUNK = 128  # captions encoded at a time
MAX_KEPT = 100_000  # captions whose vectors are kept for the next pictures: 50 MB


@dataclass
class SceneReader:
    """An image tower with the text encoder that it was trained for."""

    tower: ImageTower
    text: CLIPTextEmbedder
    _vectors: dict[str, Float[Tensor, " e"]] = field(default_factory=dict)  # of captions

    @torch.inference_mode()
    def read(self, images: Float[Tensor, "b 3 h w"]) -> list[tuple[Scene, float]]:
        """The scene of each picture, objects from left to right, and how well it fits.

        That is the cosine of picture and full caption.
        """
        return [self._search(picture) for picture in self.embed_images(images)]

    def embed_images(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        """Unit vectors of pictures, on the CPU."""
        device = self.tower.logit_scale.device
        return self.tower.embed_image(images.float().to(device)).cpu()

    def embed_captions(self, captions: Iterable[str]) -> Float[Tensor, "n e"]:
        """Unit vectors of captions, on the CPU; each caption is encoded once."""
        listed = list(captions)
        new = list(dict.fromkeys(c for c in listed if c not in self._vectors))
        for start in range(0, len(new), CHUNK):
            some = new[start : start + CHUNK]
            vectors = self.tower.embed_text(pooled(self.text, some)).cpu()
            self._vectors.update(zip(some, vectors, strict=True))
        return torch.stack([self._vectors[caption] for caption in listed])

    def _search(self, picture: Float[Tensor, " e"]) -> tuple[Scene, float]:
        if len(self._vectors) > MAX_KEPT:
            self._vectors.clear()
        found = self._closest(picture, empty_scenes(), BEAM)
        for _ in range(MAX_OBJECTS):
            more = [scene for one in found for scene in one_more(one)]
            found = self._closest(picture, [*found, *more], BEAM)
        best, before = found[0], None
        while best != before:
            before = best
            (best,) = self._closest(picture, [best, *neighbours(best)], 1)
        return best, float(self.embed_captions([best.caption(full=True)])[0] @ picture)

    def _closest(
        self, picture: Float[Tensor, " e"], scenes: list[Scene], n: int
    ) -> list[Scene]:
        """The `n` scenes whose captions fit best, the best first; of equals the earlier one."""
        ordered = list(dict.fromkeys(map(from_left_to_right, scenes)))
        cosines = self.embed_captions(s.caption(full=True) for s in ordered) @ picture
        order = torch.argsort(cosines, descending=True, stable=True)
        return [ordered[i] for i in order[:n].tolist()]


def from_left_to_right(scene: Scene) -> Scene:
    """The same scene with its objects in the order of their places."""
    objects = sorted(scene.objects, key=lambda item: PLACES.index(item.place))
    return replace(scene, objects=tuple(objects))
