import pytest

from labml_sd.checkpoint.files.pickle_names import may_be_called, may_be_named


@pytest.mark.parametrize(
    "full_name",
    [
        "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint",
        "pytorch_lightning.utilities.parsing AttributeDict",
        "lightning.pytorch.callbacks.model_checkpoint ModelCheckpoint",
        "omegaconf.dictconfig DictConfig",
        "omegaconf.base ContainerMetadata",
        "typing Any",
        "argparse Namespace",
        "__main__ TrainingSettings",
        "torch.optim.adamw AdamW",
        "torch.nn.modules.container ParameterDict",
        "torch float16",
        "numpy.dtypes Float64DType",
        "deepspeed.runtime.fp16.loss_scaler LossScaler",
    ],
)
def test_what_training_code_leaves_behind_may_be_named_only(full_name):
    assert may_be_named(*full_name.split()) or may_be_called(full_name.replace(" ", "."))


@pytest.mark.parametrize(
    "full_name",
    [
        "numpy.core.multiarray scalar",
        "numpy._core.multiarray _reconstruct",
        "numpy dtype",
        "_codecs encode",
        "collections defaultdict",
        "builtins set",
        "__builtin__ dict",
        "pathlib PosixPath",
        "torch Size",
    ],
)
def test_constructors_of_plain_values_may_be_named_and_called(full_name):
    assert may_be_named(*full_name.split())
    assert may_be_called(full_name.replace(" ", "."))


@pytest.mark.parametrize(
    "full_name",
    [
        "os system",
        "builtins eval",
        "builtins getattr",
        "torch load",
        "torch.hub load",
        "torch.storage _load_from_bytes",
        "numpy load",
        "numpy.testing._private.utils runstring",
        "numpy memmap",
        "collections namedtuple",
        "functools partial",
        "typing os.system",  # through a module to another
        "omegaconf os.path.join",
        "typingx Any",
        "lightningrod Strike",
        "copyreg _reconstructor",
    ],
)
def test_all_other_names_are_refused(full_name):
    assert not may_be_named(*full_name.split())
    assert not may_be_called(full_name.replace(" ", "."))


@pytest.mark.parametrize(
    "full_name", ["__main__.Popen", "typing.Any", "transformers.pipeline", "torch.float16"]
)
def test_a_name_of_a_family_may_not_be_called(full_name):
    assert not may_be_called(full_name)
