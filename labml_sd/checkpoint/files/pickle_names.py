r"""Which names a checkpoint's pickle may contain, and which of them it may call.

No name outside torch's own list is ever looked up, so none can do harm: an inert stand-in takes
its place (`stand_ins.py`). The lists below exist because a file that names `os.system` was made
to attack somebody, and to read the rest of it without an error would help to pass it on. So of
Python's standard library, torch and numpy only those names are allowed that honest checkpoints
contain. Any other module may belong to the program that wrote the file: its classes may be
named and called, its functions only named.

Maps       module, name -> the name in Python 3; name -> may it occur, may it be called
Reference  torch/_weights_only_unpickler.py for what torch itself builds
Tests      tests/checkpoint/files/test_pickle_names.py
"""

import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

# {storage: bytes of one number}; an untyped storage counts bytes
STORAGES = {
    "torch.storage.UntypedStorage": 1,
    **{f"torch.{kind}Storage": 1 for kind in ("Bool", "Byte", "Char")},
    **{f"torch.{kind}Storage": 2 for kind in ("Short", "Half", "BFloat16")},
    **{f"torch.{kind}Storage": 4 for kind in ("Int", "Float")},
    **{f"torch.{kind}Storage": 8 for kind in ("Long", "Double", "ComplexFloat")},
    "torch.ComplexDoubleStorage": 16,
}
DTYPES = (
    "float16 bfloat16 float32 float64 uint8 uint16 uint32 uint64 int8 int16 int32 int64 bool "
    "float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu"
)
TENSORS = {
    f"torch._utils._rebuild_{what}"
    for what in ("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state")
}
OTHER_TENSORS = {
    f"torch._utils._rebuild_{what}"
    for what in ("sparse_tensor", "qtensor", "device_tensor_from_numpy", "nested_tensor")
}
ORDERED_DICT = "collections.OrderedDict"
PARAMETER_DICT = "torch.nn.modules.container.ParameterDict"  # in embeddings
CONTAINERS = {"collections.Counter", "builtins.set", "torch.Size"}
ENCODE = "_codecs.encode"  # how protocol 2 writes bytes
BUILT_BY_TORCH = {
    *TENSORS,
    *CONTAINERS,
    ORDERED_DICT,
    ENCODE,
    "builtins.complex",
    "torch.device",
}
KNOWN_TO_TORCH = {*BUILT_BY_TORCH, *STORAGES, *(f"torch.{name}" for name in DTYPES.split())}

CLASSES = "bool bytes dict float frozenset int list object range slice str tuple"
NUMBERS = (
    "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 "
    "dtype ndarray"
)
DATES = "datetime date time timedelta timezone"
PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since numpy 2

# Constructors that only turn values into a value.
HARMLESS = {
    *(f"builtins.{name}" for name in CLASSES.split()),
    *(f"numpy.{name}" for name in NUMBERS.split()),
    *(f"{module}.{name}" for module in ARRAYS for name in ("scalar", "_reconstruct")),
    *(f"datetime.{name}" for name in DATES.split()),
    *(f"pathlib.{name}" for name in PATHS.split()),
    *(f"collections.{name}" for name in ("defaultdict", "deque")),
    "argparse.Namespace",
    "decimal.Decimal",
    "fractions.Fraction",
    "functools.partial",
    "torch.Generator",
    "types.SimpleNamespace",
    "uuid.SafeUUID",
    "uuid.UUID",
}
OPEN_PARTS = (
    *("torch.nn", "torch._C._nn", "torch.optim", "torch.torch_version"),
    *("numpy.dtypes", "typing"),
)
REMOVED = "asynchat asyncore cgi commands distutils imp lib2to3 pipes smtpd telnetlib test uu"
MAX_NAME = 200
CLOSED = {*sys.stdlib_module_names, *REMOVED.split(), "torch", "numpy"}


def modern_name(module: str, name: str) -> str:
    """The full name. Protocol 2 writes Python 2's names of modules, as torch knows too."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def may_be_named(full_name: str) -> bool:
    """True for what honest training programs leave in a checkpoint."""
    if full_name in KNOWN_TO_TORCH or full_name in HARMLESS:
        return True
    is_name = all(part.isidentifier() for part in full_name.split("."))
    if not is_name or len(full_name) > MAX_NAME:
        return False
    module = full_name.rpartition(".")[0]
    if any(module == part or module.startswith(f"{part}.") for part in OPEN_PARTS):
        return True
    return module.partition(".")[0] not in CLOSED


def may_be_called(full_name: str) -> bool:
    """True for constructors: those of plain values, and what is spelled as a class is."""
    if full_name in KNOWN_TO_TORCH:
        return full_name in BUILT_BY_TORCH
    is_class = full_name.rpartition(".")[2].lstrip("_")[:1].isupper()
    return full_name in HARMLESS or (is_class and may_be_named(full_name))
