r"""Picture -> prompt.

interrogate.py          a picture, the name of a model -> a prompt
interrogators.py        the two ways to read one: as a tiny scene, or by BLIP and CLIP

Scenes of the tiny model:

image_tower.py          image, pooled text -> unit vectors of one space
tower_file.py           the image tower <-> a file
scene_reader.py         image -> Scene, by the caption that fits best

All other pictures:

preprocessing.py        image -> the input of CLIP and BLIP
captioner.py            image -> BLIP's caption
clip.py                 image, texts -> CLIP's vectors
phrase_lists.py         text files -> lists of phrases
phrase_cache.py         phrases -> their vectors, kept on the disk
ranking.py              caption, phrases, vectors -> a prompt
"""

from labml_sd.interrogator.interrogate import interrogate, load_interrogator
from labml_sd.interrogator.interrogators import Interrogator

__all__ = ["Interrogator", "interrogate", "load_interrogator"]
