"""The errors a user can meet. Each message is one line: what was wrong, what was expected, what to do.

Catch `LabmlSdError` for all of them. A bug of ours stays a plain Python error with its stack trace.
"""


class LabmlSdError(Exception):
    """Base of every error that the user can mend."""


class CheckpointError(LabmlSdError):
    """A model file or folder cannot be used as it is."""


class ImageError(LabmlSdError):
    """A picture or a mask cannot be used as it is."""


class PromptError(LabmlSdError):
    """A prompt is not text."""


class GenerationError(LabmlSdError):
    """A setting is out of its range, or the numbers broke down during a run."""
