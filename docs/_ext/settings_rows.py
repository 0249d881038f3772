"""The rows of the table of settings, from the fields of `Settings`; needs no Sphinx."""

from rows import markdown

from labml_sd.settings import described


def settings() -> list[tuple[str, ...]]:
    """For each setting: its flag, other names of the flag, its default, its description."""
    rows = []
    for about in described().values():
        flag, *also = (f"`{name}`" for name in about.flags)
        default = about.none or (f"`{about.default}`" if about.default != "" else "empty")
        rows.append((flag, ", ".join(also), markdown(default), markdown(about.help)))
    return rows
