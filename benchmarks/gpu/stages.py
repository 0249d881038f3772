"""The stages in order of worth, each with the seconds it may take on the GPU."""

from dataclasses import dataclass

TOTAL = 480.0
"""Seconds for all of it. The budgets below come to that, with LEAST for what takes the rest."""
LEAST = 60.0
"""Seconds that the last stage should have."""
DRY_BUDGET = 600.0
"""A dry run shows that every line works; however slow the CPU is, no stage is cut short."""


BESIDE, QUIET, LOUD = "beside", "quiet", "loud"


@dataclass(frozen=True)
class Stage:
    """A module of this package, whose `measure` runs in a process of its own.

    A quiet one measures time, so nothing may run beside it. One with the manner BESIDE is not
    waited for: it runs beside the loud ones after it.
    """

    name: str
    title: str
    seconds: float | None  # None: whatever is left
    module: str
    variant: str = ""  # what of the module is run
    manner: str = QUIET


STAGES = (
    Stage("environment", "Environment", 20, "gpu.environment"),
    Stage("estimate", "Estimates", 120, "gpu.estimate", manner=BESIDE),
    Stage("ahead", "Compiling ahead", 120, "gpu.steps", "ahead", manner=BESIDE),
    Stage("tests", "Tests", 60, "gpu.gpu_tests", manner=LOUD),
    Stage("images", "Images against the CPU's", 35, "gpu.images", manner=LOUD),
    Stage("waiting", "Waiting for the GPU", 25, "gpu.waiting", manner=LOUD),
    Stage("eager", "U-Net steps, eager", 75, "gpu.steps", "eager"),
    Stage("compiled", "U-Net steps, compiled", 60, "gpu.steps", "compiled"),
    Stage("rival", "U-Net steps, both compiled", 45, "gpu.steps", "rival"),
    Stage("whole", "Whole images", 50, "gpu.whole_images"),
    Stage("finite", "No NaN in float16", 25, "gpu.finite"),
    Stage("offload", "Networks that wait on the CPU", 25, "gpu.offload"),
    Stage("training", "Training", None, "gpu.training"),
)
