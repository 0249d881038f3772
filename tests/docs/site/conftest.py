"""The built site, in the folder SITE: every page parsed, and a browser that opens some."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # only the extra [docs] installs it; pytest collects this file without it
    from playwright.sync_api import Browser, ConsoleMessage, Page, Route

FACTS = (Path(__file__).parent / "facts.js").read_text(encoding="utf-8")
SIZES = {"desktop": (1400, 900), "phone": (390, 844)}

# Attributes whose target is loaded with the page, not opened by a click.
LOADING = {
    ("link", "href"),
    ("object", "data"),
    ("use", "href"),
    ("use", "xlink:href"),
    ("video", "poster"),
}
NAMING = {
    "alternate",
    "canonical",
    "index",
    "search",
    "next",
    "prev",
    "author",
    "license",
    "copyright",
    "help",
}
STYLE_URL = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s]+)""")


@dataclass
class Parsed:
    """The content of an HTML page, read without a browser."""

    path: Path
    name: str  # relative to the folder of the site
    language: str = ""
    ids: set[str] = field(default_factory=set)
    headings: list[int] = field(
        default_factory=list
    )  # of the article, without those of the theme
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    images: list[tuple[str, str]] = field(default_factory=list)  # source, alternative text
    dollars: list[str] = field(default_factory=list)  # formulas that were not rendered


class Reader(HTMLParser):
    """Fill a Parsed."""

    def __init__(self, page: Parsed) -> None:
        super().__init__()
        self.page, self.open, self.verbatim = page, "", 0
        self.in_article = False
        self.feed(page.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.open = tag
        self.in_article |= tag == "article" or given.get("class") == "bd-search-container"
        self.verbatim += tag in ("pre", "code")
        self.page.ids |= {given[key] for key in ("id", "name") if key in given}
        if tag == "html":
            self.page.language = given.get("lang", "")
        if self.in_article and re.fullmatch("h[1-6]", tag):
            self.page.headings.append(int(tag[1]))
        if tag == "img":
            self.page.images.append((given.get("src", ""), given.get("alt", "")))
        if tag == "a" and "href" in given:
            self.page.links.append(given["href"])
        if tag == "link" and given.get("rel", "") in NAMING:
            return
        self.page.loads += [
            url for name, url in given.items() if name == "src" or (tag, name) in LOADING
        ]
        self.page.loads += [
            part.split()[0] for part in given.get("srcset", "").split(",") if part.strip()
        ]
        self.page.loads += STYLE_URL.findall(given.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self.open = ""
        self.in_article &= tag != "article"
        self.verbatim -= tag in ("pre", "code")

    def handle_data(self, data: str) -> None:
        if self.open == "style":
            self.page.loads += STYLE_URL.findall(data)
        if self.in_article and "$" in data and not self.verbatim and self.open != "script":
            self.page.dollars.append(data.strip())


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site."""
    folder = os.environ.get("SITE", "")
    if not folder or not (Path(folder) / "index.html").is_file():
        pytest.fail(
            f"SITE={folder!r} has no index.html: build the site and pass its folder.",
            pytrace=False,
        )
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def style_url() -> re.Pattern[str]:
    """What a style sheet loads."""
    return STYLE_URL


@pytest.fixture(scope="session")
def parsed(site: Path) -> dict[Path, Parsed]:
    """Every page of the site, in both languages."""
    paths = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    return {
        path: Reader(Parsed(path, path.relative_to(site).as_posix())).page for path in paths
    }


class Quiet(SimpleHTTPRequestHandler):
    """A file server without a log."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The address of the site, served on a free local port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """The Chromium of the system."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.fail(
            "No browser: install Chromium (Debian: apt-get install chromium).", pytrace=False
        )
    with sync_playwright() as driver:
        # The sandbox of Chromium cannot start as root or in containers; the pages are ours.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page in a browser, with the errors that occurred while it was loading."""

    page: "Page"
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session")
def visit(browser: "Browser", address: str) -> Callable[..., Visit]:
    """Open a page of the site; requests to other hosts are blocked."""

    def open_page(path: str, size: str = "desktop", scheme: str = "light") -> Visit:
        width, height = SIZES[size]
        screen = {"width": width, "height": height}
        page = browser.new_page(viewport=screen, color_scheme=scheme)
        seen = Visit(page)

        def gate(route: "Route") -> None:
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                seen.foreign.append(route.request.url)
                route.abort()

        def note(message: "ConsoleMessage") -> None:
            if message.type in ("error", "warning"):
                seen.errors.append(f"{message.type}: {message.text}")

        page.route("**/*", gate)
        page.on("console", note)
        page.on("pageerror", lambda error: seen.errors.append(f"error: {error}"))
        page.on("requestfailed", lambda request: seen.errors.append(f"failed: {request.url}"))
        page.on(
            "response",
            lambda r: seen.errors.append(f"{r.status}: {r.url}") if r.status >= 400 else None,
        )
        page.goto(address + path, wait_until="load")
        return seen

    return open_page


PAGES = {
    "start": "index.html",
    "annotated": "annotated/unet/attention.html",
    "api": "api.html",
    "notebook": "notebooks/03_attention.html",
    "chinese": "zh_CN/index.html",
}
CASES = [
    (page, size, scheme) for page in PAGES for size in SIZES for scheme in ("light", "dark")
]


@pytest.fixture(scope="session", params=CASES, ids="-".join)
def seen(request: pytest.FixtureRequest, visit: Callable[..., Visit]) -> Iterator[Visit]:
    """Each page on each screen, in light and dark: opened once and measured."""
    name, size, scheme = request.param
    seen = visit(PAGES[name], size, scheme)
    seen.facts = seen.page.evaluate(FACTS)
    yield seen
    seen.page.close()
