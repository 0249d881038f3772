r"""Which names a checkpoint's pickle may hold, and which of them it may call. All others are refused.

Nothing that is named is ever looked up, so no name can do harm here. The list is there because
a file that names `os.system` was made to attack somebody: to load the rest of it in silence
would help to pass it on. Training code does leave names in its checkpoints, of callbacks,
settings and numpy numbers. They come from a few families, and pickling them takes few calls. So
a family's classes may be named and made empty, as the pickle of an object does, and only what
stands in `HARMLESS` may be called.

Maps       module and name -> bool
Tests      tests/checkpoint/files/test_pickle_names.py
"""

FAMILIES = (
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "lightning_lite",
    "lightning_utilities",
    "omegaconf",
    "ml_collections",
    "yacs",
    "easydict",
    "argparse",
    "typing",
    "ldm",
    "diffusers",
    "transformers",
    "accelerate",
    "deepspeed",
    "torch.nn",
    "torch.optim",
    "torch.torch_version",
    "numpy.dtypes",
    "__main__",  # classes of the training script itself
)
CLASSES = (
    "dict list tuple set frozenset int float str bool bytes bytearray complex object slice"
)
NUMBERS = "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 dtype ndarray"
ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since numpy 2
DTYPES = "float16 bfloat16 float32 float64 uint8 int8 int16 int32 int64 bool"

# Constructors that only make a value out of values. Both spellings of builtins: protocol 2
# keeps Python 2's.
HARMLESS = {
    "_codecs.encode",  # how protocol 2 writes bytes
    *(f"collections.{name}" for name in ("defaultdict", "Counter", "deque")),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in CLASSES.split()),
    *(f"numpy.{name}" for name in NUMBERS.split()),
    *(f"{module}.{name}" for module in ARRAYS for name in ("scalar", "_reconstruct")),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(f"pathlib.{kind}{name}" for kind in ("", "Posix", "Windows") for name in ("Path",)),
    *(f"pathlib.Pure{kind}Path" for kind in ("", "Posix", "Windows")),
    *(f"torch.{name}" for name in ("Size", "device", "Generator")),
    *(
        f"torch._utils._rebuild_{kind}"
        for kind in ("sparse_tensor", "qtensor", "device_tensor_from_numpy")
    ),
    "diffusers.configuration_utils.FrozenDict",
    "types.SimpleNamespace",
}
NAMED = {f"torch.{name}" for name in DTYPES.split()}


def may_be_named(module: str, name: str) -> bool:
    """True for what training code leaves behind. A dotted name would reach through a module to another."""
    if "." in name:
        return False
    family = any(module == top or module.startswith(f"{top}.") for top in FAMILIES)
    return family or f"{module}.{name}" in HARMLESS or f"{module}.{name}" in NAMED


def may_be_made(full_name: str) -> bool:
    """True for names that look like a class: its objects may be made, empty and without its constructor."""
    return full_name in HARMLESS or full_name.rpartition(".")[2].lstrip("_")[:1].isupper()


def may_be_called(full_name: str) -> bool:
    """True for constructors of plain values."""
    return full_name in HARMLESS
