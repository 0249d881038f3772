r"""Textual inversion: a new word whose token embeddings are learned, and nothing else.

Maps       a name in a prompt  ->  vectors [n d] in the place of n token embeddings
           a word of the vocabulary  ->  vectors [n d] to start from
Paper      Gal et al. 2022, arXiv:2208.01618, section 3
Reference  rinongal/textual_inversion ldm/modules/embedding_manager.py; AUTOMATIC1111
           modules/textual_inversion/textual_inversion.py
Tests      tests/adapters/test_textual_inversion.py
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from labml_sd.errors import PromptError, quoted
from labml_sd.text_encoder import CLIPTextEmbedder, chunks_of

FAMILIES = {
    768: "Stable Diffusion 1",
    1024: "Stable Diffusion 2",
    1280: "the larger text encoder of Stable Diffusion XL",
}
"""Which models have token embeddings of a width."""
MAX_NAME = 200  # characters


@dataclass(frozen=True, eq=False)
class Embedding:
    """Learned vectors and the name that stands for them in a prompt.

    n vectors take the places of n tokens. `stem` is the name of the file without its ending:
    ComfyUI's prompts have `embedding:stem`. `hash` is what AUTOMATIC1111 writes under "TI
    hashes": twelve hex digits of the SHA-256 of the file. Both are empty without a file.

    Raises PromptError for a name that no prompt can have, for other shapes, and for vectors
    with NaN or Inf.
    """

    name: str
    vectors: Shaped[Tensor, "..."]  # [n d], which is checked
    stem: str = ""
    hash: str = ""

    def __post_init__(self) -> None:
        """Check the name and the vectors."""
        if not self.name.isprintable() or not self.name.strip() or len(self.name) > MAX_NAME:
            raise PromptError(
                f"{quoted(self.name)} cannot be the name of an embedding: give a word of at "
                f"most {MAX_NAME} characters"
            )
        vectors = self.vectors
        if vectors.ndim != 2 or 0 in vectors.shape:
            raise PromptError(
                f"embedding {self.name!r} is {list(vectors.shape)}: give a tensor [n d], "
                "a row a vector"
            )
        if not vectors.is_floating_point() or not torch.isfinite(vectors).all():
            raise PromptError(
                f"embedding {self.name!r} holds NaN, Inf or whole numbers: get the file again"
            )

    @property
    def width(self) -> int:
        """Numbers in a vector: that of the text encoder it was learned with."""
        return self.vectors.shape[1]

    @property
    def names(self) -> tuple[str, ...]:
        """All that stand for it in a prompt: its name, and ComfyUI's if that differs."""
        by_file = (f"embedding:{self.stem}",) if self.stem not in ("", self.name) else ()
        return self.name, *by_file


def by_name(
    embeddings: Iterable[Embedding], width: int, family: str = "this model"
) -> dict[str, Embedding]:
    """Embeddings by every name that stands for them in a prompt.

    `width` is that of the text encoder of `family`. Raises PromptError for an embedding of
    another width, and for two of one name; letter case makes no difference to names.
    """
    found: dict[str, Embedding] = {}
    seen: dict[str, str] = {}
    for embedding in embeddings:
        if embedding.width != width:
            raise PromptError(
                f"embedding {embedding.name!r} has vectors of width {embedding.width}"
                f"{_of_family(embedding.width)}; {family} has {width}: give an embedding that "
                "was learned with a model of the same family"
            )
        for name in embedding.names:
            if name.lower() in seen:
                raise PromptError(
                    f"two embeddings are called {name!r}: give one of them another name, as in "
                    "(name, file)"
                )
            seen[name.lower()] = name
            found[name] = embedding
    return found


def initial_vectors(encoder: CLIPTextEmbedder, init: str, n: int = 1) -> Float[Tensor, "n d"]:
    """Copies of a token's embedding, from which n vectors are learned.

    `init` is a word that is one token; or n words, the i-th of which vector i starts as. Raises
    PromptError for any other text.
    """
    tokens = [token.id for chunk in chunks_of(init, encoder.tokenizer, encoder.config, "none")
              for token in chunk.tokens]  # fmt: skip
    ids = tokens[1 : tokens.index(encoder.config.eos_id)]
    if len(ids) not in {1, n}:
        what = f"{len(ids)} tokens" if ids else "no token"
        raise PromptError(
            f"{quoted(init)} is {what} of this model, not one: begin with a common word"
            + (f", or learn {len(ids)} vectors" if len(ids) > 1 else "")
        )
    rows = encoder.transformer.embeddings.token_embedding.weight.detach()[ids]
    return rows.expand(n, -1).float().clone()


def described(name: str, n: int, width: int) -> str:
    """An embedding in words: its name, how many vectors, and which models have their width."""
    return f"{name!r}: {n} vector{'s' * (n > 1)} of width {width}{_of_family(width)}"


def _of_family(width: int) -> str:
    family = FAMILIES.get(width)
    return f" ({family})" if family else ""
