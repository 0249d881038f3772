"""Room: file <-> model.

weights.py           what a file holds, before its numbers are read
open_file.py         a file -> Weights, by its content
read_safetensors.py    ... of safetensors
read_torch.py          ... of torch checkpoints, with zip_members.py and read_pickle.py (a pickle reader that
                       executes nothing: pickle_opcodes.py, _machine.py, _names.py and
                       _values.py)
mapped.py            numbers as views of their file
kind.py              which kind of model, or what else
keys_compvis.py      our names <-> names in a single file
keys_diffusers.py    our names <-> names in a diffusers folder
read_configs.py      a diffusers folder's settings -> ModelConfig; write_configs.py the way back
open_single.py       a single file -> Opened; open_folder.py the same of a diffusers folder
sources.py           "tiny" | path | hub id -> Opened, with hub.py
opened.py            a model on disk before a number is read; networks.py the shapes that it should have
machine.py           "auto" -> device and number type
tokenizer_files.py   the tokenizer, in a folder, inside a file, or by name
printable.py         texts of strangers' files, fit for an error
report.py            what matched and what did not
load.py              Opened -> LatentDiffusion
hashes.py            the hash that a picture names its model by, noted for large files
save.py              LatentDiffusion -> file or folder, with replace.py (whole or not at all)
inspect.py           a file -> what can be said of it
"""

from labml_sd.checkpoint.hashes import model_hash
from labml_sd.checkpoint.inspect import inspect_file
from labml_sd.checkpoint.load import check, load_model
from labml_sd.checkpoint.report import LoadReport, PartReport
from labml_sd.checkpoint.save import save_model

__all__ = [
    "LoadReport",
    "PartReport",
    "check",
    "inspect_file",
    "load_model",
    "model_hash",
    "save_model",
]
