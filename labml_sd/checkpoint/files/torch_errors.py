r"""Why a torch checkpoint is not read, each with the advice that fits.

Maps       what is wrong, in a few words -> an error whose text ends with what to do
Tests      tests/checkpoint/files/test_torch_file.py
"""

CONVERT = (
    'python -c "import sys, torch; '
    "c = torch.load(sys.argv[1], map_location='cpu', weights_only=False); "
    "s = c.get('state_dict', c) if isinstance(c, dict) else c.state_dict(); "
    "t = {k: v.to_dense() for k, v in s.items() if torch.is_tensor(v)}; "
    'torch.save(t, sys.argv[2])" OLD NEW'
)


class TorchFileError(Exception):
    """A torch checkpoint that is not read. Its text lacks only the path."""


def damaged(what: str) -> TorchFileError:
    """The file is cut short, or its parts contradict each other."""
    return TorchFileError(f"cut short or damaged ({what}); get the file again")


def suspicious(what: str) -> TorchFileError:
    """The file contains what no training program leaves in a checkpoint."""
    return TorchFileError(
        f"refused, since it contains what no checkpoint needs: {what}; nothing in it was run; "
        "get the model as .safetensors, or from another source"
    )


def unsupported(what: str) -> TorchFileError:
    """The file may be honest, but torch's `weights_only` reader does not take it."""
    return TorchFileError(
        f"not read, since torch's weights_only reader does not support {what}; "
        "get the model as .safetensors, or, if you trust it, convert it where it was made: "
        f"{CONVERT}"
    )
