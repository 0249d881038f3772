r"""Presets: how CompVis, labml, diffusers and A1111 run each of their samplers.

Maps       a tool's name, a sampler's name  ->  a sampler with our steps and the tool's levels,
           first noise and meaning of strength
Reference  CompVis ddim.py, plms.py; labml ddim.py, ddpm.py; diffusers 0.42 schedulers/, each
           made with `from_config` of SD v1's scheduler_config.json; AUTOMATIC1111
           modules/sd_samplers_*.py
Tests      tests/sampler/compat/test_tools.py, tests/parity/test_compat_against_diffusers.py
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from labml_sd.errors import GenerationError, quoted
from labml_sd.sampler.compat import levels as lists
from labml_sd.sampler.compat.levels import Levels
from labml_sd.sampler.protocol import StepInput
from labml_sd.sampler.schedule import Level, Schedule
from labml_sd.sampler.solvers.ddim import DDIM
from labml_sd.sampler.solvers.ddpm import DDPM
from labml_sd.sampler.solvers.dpm_2 import DPM2
from labml_sd.sampler.solvers.dpm_2_a import DPM2A
from labml_sd.sampler.solvers.dpmpp_2m import DPMpp2M
from labml_sd.sampler.solvers.dpmpp_2m_sde import DPMpp2MSDE
from labml_sd.sampler.solvers.dpmpp_2s_a import DPMpp2SA
from labml_sd.sampler.solvers.dpmpp_3m_sde import DPMpp3MSDE
from labml_sd.sampler.solvers.dpmpp_sde import DPMppSDE
from labml_sd.sampler.solvers.euler import Euler
from labml_sd.sampler.solvers.euler_a import EulerA
from labml_sd.sampler.solvers.heun import Heun
from labml_sd.sampler.solvers.lms import LMS
from labml_sd.sampler.solvers.plms import PLMS
from labml_sd.sampler.solvers.solver import Solver
from labml_sd.sampler.solvers.unipc import UniPC
from labml_sd.sampler.spacing import check_steps


@dataclass(frozen=True)
class Strength:
    r"""What strength means to a tool: how many steps it runs, and how much it noises a picture.

    $$ n = \max(n_{min},\ \lfloor\min(s, s_{max})\, S\rfloor + n_+) $$
    """

    highest: float = 1.0
    more: int = 0
    fewest: int = 0
    noised_above: int = 0  # how many levels above its first step a picture is noised to
    of_list: bool = False  # S counts the steps of the whole list, not the steps requested

    def n_run(self, strength: float, n_asked: int, n_listed: int) -> int:
        """How many steps are run on a picture."""
        whole = n_listed if self.of_list else n_asked
        return min(
            n_listed, max(self.fewest, int(min(strength, self.highest) * whole) + self.more)
        )


@dataclass(frozen=True)
class Preset:
    """How a tool runs one sampler: which of our solvers, on which levels, from which start."""

    solver: Solver
    levels: Levels
    strength: Strength
    scaled_noise: bool = False  # the std of the first noise is sqrt(1 - alpha_bar), not 1
    spacings: Mapping[str, Levels] = field(default_factory=dict)  # those the tool can choose


# The picture is noised to entry int(s S) of the list, and the run starts one entry below.
_ONE_OFF = Strength(noised_above=1)
_AT_LEAST_ONE = Strength(fewest=1)
SCHEDULE_TYPES = ("linspace", "trailing", "karras", "exponential")  # of the web UI
_WEB_UI_TIMED = Strength(highest=0.999, more=-1, fewest=-1, noised_above=1)


def _sigma(solver: Solver) -> Preset:
    return Preset(solver, lists.diffusers_in_sigma, _AT_LEAST_ONE, scaled_noise=True)


def _web_ui(solver: Solver, spacing: str, drops_lowest: bool = False) -> Preset:
    spacings = {s: lists.k_diffusion(s, drops_lowest) for s in SCHEDULE_TYPES}
    strength = Strength(highest=0.999, more=1)
    return Preset(solver, spacings[spacing], strength, scaled_noise=True, spacings=spacings)


TOOLS: dict[str, Mapping[str, Preset]] = {
    "compvis": {
        "ddim": Preset(DDIM(), lists.compvis, _ONE_OFF),
        "plms": Preset(PLMS(), lists.compvis, _ONE_OFF),
    },
    "labml": {
        "ddim": Preset(DDIM(), lists.compvis, _ONE_OFF),
        "ddpm": Preset(DDPM(), lists.every_time, Strength(fewest=1, of_list=True)),
    },
    "diffusers": {
        "ddpm": Preset(DDPM(), lists.diffusers_to_clean, _AT_LEAST_ONE),
        "ddim": Preset(DDIM(), lists.diffusers_to_zero, _AT_LEAST_ONE),
        "plms": Preset(PLMS(), lists.diffusers_to_zero, _AT_LEAST_ONE),
        "euler": _sigma(Euler()),
        "euler_a": _sigma(EulerA()),
        "heun": _sigma(Heun()),
        "dpm_2": _sigma(DPM2()),
        "dpm_2_a": _sigma(DPM2A()),
        "lms": _sigma(LMS()),
        "dpmpp_sde": _sigma(DPMppSDE()),
        "dpmpp_2m": Preset(DPMpp2M(), lists.diffusers_multistep, _AT_LEAST_ONE),
        "dpmpp_2m_sde": Preset(DPMpp2MSDE(), lists.diffusers_multistep, _AT_LEAST_ONE),
        "unipc": Preset(UniPC(order=2), lists.diffusers_multistep, _AT_LEAST_ONE),
    },
    # The schedule types are those that "Automatic" stands for.
    "a1111": {
        "ddim": Preset(DDIM(), lists.every_stride, _WEB_UI_TIMED),
        "plms": Preset(PLMS(), lists.every_stride, _WEB_UI_TIMED),
        "unipc": Preset(
            UniPC(solver="bh1"), lists.web_ui_unipc, Strength(highest=0.999, fewest=1)
        ),
        "euler": _web_ui(Euler(), "linspace"),
        "euler_a": _web_ui(EulerA(), "linspace"),
        "lms": _web_ui(LMS(), "linspace"),
        "heun": _web_ui(Heun(), "linspace"),
        "dpm_2": _web_ui(DPM2(), "karras", drops_lowest=True),
        "dpm_2_a": _web_ui(DPM2A(), "karras", drops_lowest=True),
        "dpmpp_2s_a": _web_ui(DPMpp2SA(), "karras"),
        "dpmpp_2m": _web_ui(DPMpp2M(), "karras"),
        "dpmpp_sde": _web_ui(DPMppSDE(), "karras"),
        "dpmpp_2m_sde": _web_ui(DPMpp2MSDE(), "exponential"),
        "dpmpp_3m_sde": _web_ui(
            DPMpp3MSDE(solver_type="k_diffusion"), "exponential", drops_lowest=True
        ),
    },
}


@dataclass(frozen=True)
class AsIn:
    """A sampler as a tool runs it; made by `as_in`. Some run more or fewer steps."""

    tool: str
    name: str
    spacing: str | None = None  # None: the one that the tool takes by itself

    @property
    def preset(self) -> Preset:
        """The tool's preset of this sampler."""
        preset = TOOLS[self.tool][self.name]
        if self.spacing is None:
            return preset
        return replace(preset, levels=preset.spacings[self.spacing])

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """The tool's levels for n_steps requested, from its float32 tables."""
        n_steps = check_steps(n_steps, schedule.n_steps)
        table = (
            lists.computed_in_float32 if self.tool == "diffusers" else lists.rounded_to_float32
        )
        schedule = table(schedule)
        return self.preset.solver.completed(schedule, self.preset.levels(schedule, n_steps))

    def step(self, given: StepInput) -> Tensor:
        """The solver's step."""
        return self.preset.solver.step(given)

    def noise_scale(self, first: Level) -> float:
        r"""The std of the first noise, at the first level.

        A tool that works in sigma starts from $\sigma\epsilon$, which is $\sqrt{1 -
        \bar\alpha}\,\epsilon$ in our scale: a latent of zeros, noised.
        """
        return math.sqrt(1 - first.alpha_bar) if self.preset.scaled_noise else 1.0

    def start(
        self, levels: Sequence[Level], n_steps: int, strength: float
    ) -> tuple[Level, list[Level]]:
        """The level that a picture is noised to, and those of the run, which may start lower.

        `levels` are those of a whole run for n_steps requested. Where the tool's index would be
        outside its list, the end of the list is taken.
        """
        rule, last = self.preset.strength, len(levels) - 1
        first = last - rule.n_run(strength, n_steps, last)
        return levels[max(0, first - rule.noised_above)], list(levels[min(first, last) :])


def check_compat(compat: object) -> str:
    """Give a tool's name back; GenerationError when there is no such tool."""
    if not isinstance(compat, str) or compat not in TOOLS:
        raise GenerationError(
            f"compat is {quoted(compat)}; choose one of {', '.join(TOOLS)}, or leave it out"
        )
    return compat


def as_in(tool: object, name: object, spacing: str | None = None) -> AsIn:
    """The sampler of that name as the tool runs it, on the levels of a spacing that it offers.

    GenerationError when there is no such tool, or when it has no such sampler or spacing. A
    sampler object is refused: its settings could contradict the tool's.
    """
    tool = check_compat(tool)
    if not isinstance(name, str):
        raise GenerationError(
            f"compat {tool!r} needs a sampler's name, not {quoted(name)}; leave one of them out"
        )
    if name not in TOOLS[tool]:
        having = [other for other, presets in TOOLS.items() if name in presets]
        raise GenerationError(
            f"{tool} has no sampler {quoted(name)}, it has {', '.join(TOOLS[tool])}; "
            f"{quoted(name)} is in {', '.join(having) or 'none of the tools'}"
        )
    offered = TOOLS[tool][name].spacings
    if spacing is not None and spacing not in offered:
        choice = (
            f"choose one of {', '.join(offered)}, or leave it out"
            if offered
            else "leave it out"
        )
        raise GenerationError(f"{tool} has no spacing {quoted(spacing)} for {name}: {choice}")
    return AsIn(tool, name, spacing)
