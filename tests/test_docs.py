"""The documentation leads somewhere: every page is in the index, and no link is broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stream.flags import Flag

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```", re.DOTALL)


def links(page: Path) -> list[str]:
    """Targets of the links of a page that do not leave the project, without their anchors."""
    targets = _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8")))
    return [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page: Path) -> None:
    broken = [target for target in links(page) if not (page.parent / target).exists()]
    assert not broken, f"{page.relative_to(ROOT)} links what is not there: {', '.join(broken)}"


def test_the_index_links_every_page_and_the_readme_links_the_index() -> None:
    linked = {(DOCS / target).resolve() for target in links(DOCS / "index.md")}
    missing = [page.name for page in sorted(DOCS.glob("*.md")) if page.name != "index.md" and page not in linked]
    assert not missing, f"docs/index.md does not link {', '.join(missing)}"
    assert (DOCS / "decisions") in linked
    assert "docs/index.md" in links(ROOT / "README.md")


def test_flags_that_pages_name_exist() -> None:
    """Names in capitals with an underscore, or of a known flag: a flag that was renamed must not live on in a page."""
    text = (DOCS / "photometry.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([A-Z][A-Z_]{4,})`", text))
    assert {"MOVED", "SATURATED", "UNALIGNED"} <= named
    assert not named - set(Flag.__members__) - {"XWIN_IMAGE"}


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](there.md#part), [b](https://example.org/x.md), ![c](gone.png)\n```\n[d](code.md)\n```\n")
    assert links(page) == ["there.md", "gone.png"]


def test_tests_that_the_index_of_the_page_names_exist() -> None:
    text = (
        (DOCS / "page.md").read_text(encoding="utf-8").partition("## Which test drives what")[2].partition("\n## ")[0]
    )
    named = [part for part in re.findall(r"`([^`]+)`", text) if "..." in part]
    assert len(named) >= 20
    browser = ROOT / "tests" / "browser"
    for part in named:
        file, _, fragment = part.rpartition(" ")
        source = (browser / (file or "test_real_night.py")).read_text(encoding="utf-8")
        pattern = r"^def test_\w*" + r"\w*".join(re.split(r"_?\.\.\._?", fragment)) + r"\w*\("
        assert re.search(pattern, source, re.MULTILINE), part
    for file in set(re.findall(r"`(?:[^`]*/)?(test_\w+\.py)", text)):
        assert list((ROOT / "tests").rglob(file)), file
