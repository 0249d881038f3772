"""The errors that a user can cause.

Each message is one line: what was wrong, what was expected, what to do.

Catch `LabmlSdError` for all of them. A bug of this package is a plain Python error with its
stack trace.
"""


def one_line(text: str) -> str:
    """Escape what is not printable.

    File names and prompts can hold line breaks and codes that command a terminal.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(value: object) -> str:
    """`repr` for a message, cut after 200 characters; the type of a value that has none."""
    try:
        text = repr(value)
    except Exception:  # a whole number of over 4300 digits, or an object whose repr fails
        return f"<{type(value).__name__}>"
    return text if len(text) <= 200 else f"{text[:200]}..."


class LabmlSdError(Exception):
    """Base of every error that a user can correct. Its message is one printable line."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(one_line(a) if isinstance(a, str) else a for a in args))


class CheckpointError(LabmlSdError):
    """A model file or folder cannot be used as it is."""


class ImageError(LabmlSdError):
    """A picture or a mask cannot be used as it is."""


class PromptError(LabmlSdError):
    """A prompt is not text, or too long."""


class GenerationError(LabmlSdError):
    """A setting is out of its range, or a network gave NaN or Inf during a run."""
