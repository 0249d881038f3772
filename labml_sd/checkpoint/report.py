r"""What matched in a load and what did not: every tensor of the file is accounted for.

Maps       the weights that a model needs, the tensors in a file -> LoadReport
Tests      tests/checkpoint/test_report.py
"""

from collections.abc import Mapping
from dataclasses import dataclass

from labml_sd.checkpoint.files.weights import Stored, TensorInfo
from labml_sd.checkpoint.kind import Kind

Shape = tuple[int, ...]
SHOWN = 3  # names of each kind in the one line of an error
SHOWN_IN_FULL = 20  # names of each kind in the printed report


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """One network, with the names of its modules. `n_parameters` counts the matched weights.

    `n_tensors` counts the file's tensors that they are in: OpenCLIP has three weights in one.
    """

    part: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    wrong_shape: tuple[tuple[str, Shape, Shape], ...]  # name, expected, found
    n_tensors: int
    n_parameters: int
    dtypes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when every weight has its tensor and every tensor its weight."""
        return not (self.missing or self.extra or self.wrong_shape)


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """A whole model. `ignored` are tensors beside the weights, `refused` objects not built.

    `predicts` says what the U-Net predicts. `tokenizer` says what is wrong with the tokenizer;
    it is empty if nothing is.
    """

    source: str
    kind: Kind
    layout: str
    parts: tuple[PartReport, ...]
    ignored: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    predicts: str = ""
    tokenizer: str = ""

    @property
    def ok(self) -> bool:
        """True when the model can be loaded."""
        return all(part.ok for part in self.parts) and not self.tokenizer

    @property
    def matched(self) -> tuple[str, ...]:
        """Names with a tensor, each with its part in front."""
        return tuple(f"{p.part}.{name}" for p in self.parts for name in p.matched)

    @property
    def missing(self) -> tuple[str, ...]:
        """Names without a tensor."""
        return tuple(f"{p.part}.{name}" for p in self.parts for name in p.missing)

    @property
    def extra(self) -> tuple[str, ...]:
        """Names inside the parts that the networks do not have."""
        return tuple(f"{p.part}.{name}" for p in self.parts for name in p.extra)

    @property
    def wrong_shape(self) -> tuple[tuple[str, Shape, Shape], ...]:
        """Names whose tensor has another shape: (name, expected, found)."""
        return tuple(
            (f"{p.part}.{name}", want, found)
            for p in self.parts
            for name, want, found in p.wrong_shape
        )

    @property
    def n_tensors(self) -> int:
        """How many tensors of the file matched."""
        return sum(part.n_tensors for part in self.parts)

    @property
    def n_parameters(self) -> int:
        """How many numbers the matched tensors have."""
        return sum(part.n_parameters for part in self.parts)

    def short(self) -> str:
        """What is wrong, in one line, with the first names of each kind; "" if nothing is."""
        faults = [few(title, names) for title, names in self._faults() if names]
        return "; ".join([*faults, self.tokenizer] if self.tokenizer else faults)

    def _faults(self) -> list[tuple[str, list[str]]]:
        shapes = [
            f"{name} (expected {list(want)}, found {list(found)})"
            for name, want, found in self.wrong_shape
        ]
        return [
            ("wrong shape", shapes),
            ("missing", list(self.missing)),
            ("extra", list(self.extra)),
        ]

    def __str__(self) -> str:
        """One line for each part, then everything that did not match."""
        lines = [f"{self.source}", f"  {self.kind.title}, {self.layout} layout"]
        if self.predicts:
            lines.append(f"  {self.predicts}")
        for part in self.parts:
            dtypes = ", ".join(part.dtypes) or "-"
            lines.append(
                f"  {part.part:<13}{part.n_tensors:>5} tensors "
                f"{part.n_parameters:>13,} parameters  {dtypes}  "
                f"missing {len(part.missing)}, extra {len(part.extra)}, "
                f"wrong shape {len(part.wrong_shape)}"
            )
        lines.append(
            f"  {'all':<13}{self.n_tensors:>5} tensors {self.n_parameters:>13,} parameters"
        )
        notes = [
            ("ignored, not weights of the model", list(self.ignored)),
            ("not built from the pickle", list(self.refused)),
        ]
        for title, names in [*self._faults(), *notes]:
            if names:
                lines.append(
                    "  " + few(title, sorted(names), SHOWN_IN_FULL, "\n    ", first="\n    ")
                )
        if self.tokenizer:
            lines.append(f"  tokenizer: {self.tokenizer}")
        return "\n".join(lines)


def compare(part: str, wanted: Mapping[str, Shape], found: Mapping[str, Stored]) -> PartReport:
    """Compare the shapes that a network needs with the tensors found, both under our names."""
    missing = tuple(key for key in wanted if key not in found)
    extra = tuple(key for key in found if key not in wanted)
    shared = [key for key in wanted if key in found]
    wrong = tuple(
        (k, wanted[k], found[k].info.shape)
        for k in shared
        if not fits(wanted[k], found[k].info)
    )
    refused = {key for key, _, _ in wrong}
    matched = tuple(key for key in shared if key not in refused)
    return PartReport(
        part=part,
        matched=matched,
        missing=missing,
        extra=extra,
        wrong_shape=wrong,
        n_tensors=len({found[key].name for key in matched}),
        n_parameters=sum(found[key].info.n_parameters for key in matched),
        dtypes=tuple(sorted({found[key].info.dtype for key in matched})),
    )


def fits(wanted: Shape, info: TensorInfo) -> bool:
    """True for equal shapes; diffusers stores 1x1 convolutions of the VAE as matrices."""
    return info.shape == wanted or (wanted[2:] == (1, 1) and info.shape == wanted[:2])


def few(
    title: str, names: list[str], n: int = SHOWN, between: str = ", ", first: str = " "
) -> str:
    """The number of names and the first of them."""
    more = f"{between}and {len(names) - n} more" if len(names) > n else ""
    return f"{title} {len(names)}:{first}{between.join(names[:n])}{more}"
