r"""From a caption and lists of phrases to a prompt: the phrases that fit a picture best.

Maps       caption, tables of phrases, picture [d]  ->  a prompt
Reference  clip-interrogator: `interrogate_fast`, `interrogate_classic`, `interrogate`
Tests      tests/interrogator/test_ranking.py

What fits is measured by the cosine of CLIP's vectors of picture and text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

Mode = Literal["fast", "classic", "best"]
MODES: tuple[Mode, ...] = get_args(Mode)

N_FAST = 16  # phrases of all lists
N_FLAVOURS = 3  # of the mode "classic"
N_CANDIDATES = 64  # flavours that the mode "best" tries
MAX_ROUNDS = 32  # in each, it adds one of them


@dataclass(frozen=True)
class Table:
    """Phrases and their unit vectors."""

    phrases: tuple[str, ...]
    vectors: Float[Tensor, "n d"]

    def best(self, picture: Float[Tensor, " d"], n: int = 1) -> list[str]:
        """The `n` phrases closest to a picture, the closest first; of equals the earlier."""
        order = torch.argsort(self.vectors @ picture, descending=True, stable=True)
        return [self.phrases[i] for i in order[:n].tolist()]


@dataclass(frozen=True)
class Ranking:
    """What the modes need: the lists, the picture, and CLIP for whole prompts."""

    tables: Mapping[str, Table]  # mediums, artists, movements, flavours
    picture: Float[Tensor, " d"]
    similarity: Callable[[Sequence[str]], list[float]]  # of the picture and each prompt
    fits: Callable[[str], bool]  # whether CLIP reads all of a prompt
    on_round: Callable[[], object] = lambda: None  # after each set of prompts is compared

    def prompt(self, caption: str, mode: Mode) -> str:
        """The caption, followed by phrases. A caption that is too long stays alone."""
        modes = {"fast": self._fast, "classic": self._classic, "best": self._best}
        return modes[mode](caption)

    def _fast(self, caption: str) -> str:
        """The phrases of all lists together that fit best."""
        tables = list(self.tables.values())
        phrases = tuple(phrase for table in tables for phrase in table.phrases)
        together = Table(phrases, torch.cat([table.vectors for table in tables]))
        return self._joined(caption, together.best(self.picture, N_FAST))

    def _classic(self, caption: str) -> str:
        """The best medium, artist and movement, then some flavours."""
        counts = {"mediums": 1, "artists": 1, "movements": 1, "flavours": N_FLAVOURS}
        found = [self.tables[name].best(self.picture, n) for name, n in counts.items()]
        return self._joined(caption, [phrase for phrases in found for phrase in phrases])

    def _joined(self, caption: str, phrases: Sequence[str]) -> str:
        """The caption and as many of the phrases, from the first on, as CLIP can read."""
        prompt = caption
        for phrase in phrases:
            longer = f"{prompt}, {phrase}"
            if not self.fits(longer):
                break
            prompt = longer
        return prompt

    def _best(self, caption: str) -> str:
        """The best of all subsets of the best phrase of each list; then flavours, one by one.

        A flavour is added as long as one brings prompt and picture closer.
        """
        first = [table.best(self.picture)[0] for table in self.tables.values()]
        subsets = [some for n in range(len(first) + 1) for some in combinations(first, n)]
        prompt, closeness = self._closest([", ".join((caption, *some)) for some in subsets])
        flavours = self.tables["flavours"].best(self.picture, N_CANDIDATES)
        for _ in range(MAX_ROUNDS):
            left = [f for f in flavours if f not in prompt.split(", ")]
            longer = [p for p in (f"{prompt}, {f}" for f in left) if self.fits(p)]
            if not longer:
                break
            better, now = self._closest(longer)
            if now <= closeness:
                break
            prompt, closeness = better, now
        return prompt

    def _closest(self, prompts: Sequence[str]) -> tuple[str, float]:
        """The prompt most similar to the picture; of equals the earlier one."""
        readable = [prompt for prompt in prompts if self.fits(prompt)] or [prompts[0]]
        similar = self.similarity(readable)
        self.on_round()
        at = max(range(len(readable)), key=lambda i: (similar[i], -i))
        return readable[at], similar[at]
