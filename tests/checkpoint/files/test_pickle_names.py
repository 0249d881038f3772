import pytest

from labml_sd.checkpoint.files.pickle_names import may_be_called, may_be_named, modern_name


@pytest.mark.parametrize(
    "full_name",
    [
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        "omegaconf.dictconfig.DictConfig",
        "__main__.TrainingSettings",
        "my_project.losses.Perceptual",
        "torch.optim.adamw.AdamW",
        "torch.nn.modules.container.ParameterDict",
        "torch.torch_version.TorchVersion",
        "numpy.dtypes.Float64DType",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray._reconstruct",
        "numpy.dtype",
        "_codecs.encode",
        "collections.defaultdict",
        "collections.OrderedDict",
        "builtins.set",
        "builtins.range",
        "pathlib.PosixPath",
        "decimal.Decimal",
        "functools.partial",
        "uuid.UUID",
        "torch.Size",
        "torch._utils._rebuild_tensor_v3",
    ],
)
def test_constructors_of_values_and_classes_of_programs_may_be_named_and_called(full_name):
    assert may_be_named(full_name) and may_be_called(full_name)


@pytest.mark.parametrize(
    "full_name",
    [
        "torch.float16",
        "torch.float8_e4m3fn",
        "torch.FloatStorage",
        "torch.storage.UntypedStorage",
        "torch._C._nn.gelu",
        "torch.nn.functional.relu",
        "my_project.losses.perceptual",
        "transformers.pipeline",
    ],
)
def test_functions_and_what_is_no_function_may_only_be_named(full_name):
    assert may_be_named(full_name) and not may_be_called(full_name)


@pytest.mark.parametrize(
    "full_name",
    [
        "os.system",
        "posix.system",
        "nt.system",
        "subprocess.Popen",
        "telnetlib.Telnet",  # no longer in every Python
        "builtins.eval",
        "builtins.getattr",
        "builtins.bytearray",  # of a number: that many bytes
        "copyreg._reconstructor",
        "collections.namedtuple",
        "torch.load",
        "torch.hub.load",
        "torch.Tensor",
        "torch.storage._load_from_bytes",
        "torch.distributed.TCPStore",
        "numpy.load",
        "numpy.memmap",
        "numpy.testing._private.utils.runstring",
        "os\x1b[2J.system",
        "a b.C",
        ".C",
        "a" * 200 + ".C",
    ],
)
def test_all_other_names_are_refused(full_name):
    assert not may_be_named(full_name) and not may_be_called(full_name)


@pytest.mark.parametrize(
    ("module", "name", "modern"),
    [
        ("__builtin__", "xrange", "builtins.range"),
        ("__builtin__", "set", "builtins.set"),
        ("commands", "getoutput", "subprocess.getoutput"),
        ("copy_reg", "_reconstructor", "copyreg._reconstructor"),
        ("ldm.util", "Thing", "ldm.util.Thing"),
    ],
)
def test_names_of_python_2_are_those_of_python_3(module, name, modern):
    assert modern_name(module, name) == modern
