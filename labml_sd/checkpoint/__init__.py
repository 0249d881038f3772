"""File, folder or hub id <-> model.

files/               named tensors in a file of any format
  open_file.py         a file -> Weights, by its content
  weights.py           tensors whose shapes are known and whose numbers are not read yet
  safetensors_file.py  .safetensors
  torch_file.py        .ckpt, with torch_zip.py (the zip), pickle_scan.py and pickle_names.py
                       (what its pickle may contain), stand_ins.py, torch_errors.py
layouts/             the names and settings that different programs give the same weights
  compvis.py           our names <-> names in a single file; single_file.py opens one
  diffusers.py         our names <-> names in a diffusers folder; diffusers_folder.py opens one
  embedding.py         a word's vectors under the names of each program
  read_configs.py      a folder's settings -> ModelConfig; write_configs.py writes them
kind.py              which kind of model a file contains
sources.py           "tiny" | path | hub id -> OpenedCheckpoint, with hub.py and bundled.py
opened_checkpoint.py a model on disk before its numbers are read
networks.py          the parts of a model and the shapes of their weights
report.py            what matched and what did not
embeddings.py        textual inversion: a file <-> Embedding
tokenizer_files.py   the tokenizer: in a folder, inside a file, or by name
load.py              OpenedCheckpoint -> LatentDiffusion
save.py              LatentDiffusion -> file or folder
hashes.py            the hash by which a picture names its model
inspect.py           a file -> a text about it
transformers_folder.py  a network of transformers from a folder or the hub
printable.py         texts from unknown files, made safe for an error message
"""

from labml_sd.checkpoint.embeddings import load_embedding, load_embeddings, save_embedding
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
    "load_embedding",
    "load_embeddings",
    "load_model",
    "model_hash",
    "save_embedding",
    "save_model",
]
