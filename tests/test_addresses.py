"""Every address in the repository is one that is known to exist and to belong to whom it names.

An invented address may be registered by anyone: an install command that points there would run
their code on a reader's machine.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What may follow is part of the pattern: a host alone vouches for nothing that is below it.
KNOWN = (
    r"https://arxiv\.org/abs/(\d{4}\.\d{4,5}(v\d+)?)?",  # the docs add the number
    r"https://pytorch\.org/get-started/locally/",
    r"https://git-lfs(\.github\.com/spec/v1)?",  # how every Git LFS pointer begins
    r"http://www\.w3\.org/2000/svg",  # a namespace, never opened
    r"https://example\.org/\S*",  # reserved for examples: nobody can register it (RFC 2606)
    r"http://(127\.0\.0\.1|localhost)(:(\d+|\{[\w.]+))?(/\S*)?",
)
ADDRESS = re.compile(
    r"(?:https?|ssh|ftp)://[^\s\"'<>)\]}`\\,]+|git\+\w+:\S*|\bgithub\.com/[\w./-]+"
)
SKIPPED = ("docs/_static/mathjax/",)  # MathJax as its authors publish it
HERE = Path(__file__).relative_to(ROOT).as_posix()


def text_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [
        n for n in names if n != HERE and not n.startswith(SKIPPED) and (ROOT / n).is_file()
    ]


def addresses(text: str) -> set[str]:
    joined = re.sub(r'"\n"', "", text)  # catalogues and JSON divide long lines
    return {found.rstrip(".:;") for found in ADDRESS.findall(joined)}


def is_known(address: str) -> bool:
    return any(re.fullmatch(pattern, address) for pattern in KNOWN)


def test_every_address_is_known():
    unknown = {}
    for name in text_files():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content:  # else it is a picture or a file of weights
            found = {
                a for a in addresses(content.decode("utf-8", "replace")) if not is_known(a)
            }
            unknown |= {name: found} if found else {}
    assert unknown == {}


@pytest.mark.parametrize(
    "text",
    [
        "pip install git+https://github.com/labml-sd/labml_sd",
        "[open](https://colab.research.google.com/github/labml-sd/labml_sd/blob/main/a.ipynb)",
        "see github.com/labml-sd/labml_sd.",
        "https://arxiv.org/abs/2112.10752/../evil",
        '"https://pypi.org/project/"\n"labml-sd-tools"',
        "http://localhost.example.org/",
    ],
)
def test_an_address_that_nobody_vouches_for_is_found(text):
    assert [a for a in addresses(text) if not is_known(a)]
