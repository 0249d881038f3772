r"""Settings: what a call can be asked for beside its prompt and its pictures, each stated once.

A field of `Settings` is the source of everything that is said about a setting: the keyword and
its default in the signatures of the pipelines, the check of its value, the flags of the command
line with their help, and its keys in the two texts inside a picture. To add a setting, add its
field, and its line in `SettingsDict`.

PyTorch is not imported here, so that `labml-sd txt2img --help` lists the settings at once.

kinds      a value -> the value that is used, or an error that says what was expected
settings   the fields of Settings, and what is said of each
calls      keyword arguments -> Settings; the signature and the docstring of a pipeline
"""

from labml_sd.settings.calls import check_settings, described, takes_settings
from labml_sd.settings.settings import Setting, Settings, SettingsDict

__all__ = ["Setting", "Settings", "SettingsDict"]
__all__ += ["check_settings", "described", "takes_settings"]
