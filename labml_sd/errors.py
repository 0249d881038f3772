"""The errors a user can meet. Each message is one line: what was wrong, what was expected, what to do.

Catch `LabmlSdError` for all of them. A bug of ours stays a plain Python error with its stack
trace.
"""


def one_line(text: str) -> str:
    """Escape what cannot be printed: names and prompts from strangers hold line breaks and terminal codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(value: object) -> str:
    """`repr` for a message: cut after 200 characters; where there is none, the type."""
    try:
        text = repr(value)
    except (
        Exception
    ):  # a whole number of more than 4300 digits, or an object that is not whole itself
        return f"<{type(value).__name__}>"
    return text if len(text) <= 200 else f"{text[:200]}..."


class LabmlSdError(Exception):
    """Base of every error that the user can mend. Its message is one printable line, whatever is quoted."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(one_line(a) if isinstance(a, str) else a for a in args))


class CheckpointError(LabmlSdError):
    """A model file or folder cannot be used as it is."""


class ImageError(LabmlSdError):
    """A picture or a mask cannot be used as it is."""


class PromptError(LabmlSdError):
    """A prompt is not text, or too much of it."""


class GenerationError(LabmlSdError):
    """A setting is out of its range, or the numbers broke down during a run."""
