"""Asks axe-core, which a Python package brings along, for faults that shut somebody out of the page."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe

from tests.browser.page_driver import NightPage

_GRAVE = ("serious", "critical")


def assert_accessible(page: NightPage, where: str, *, within: str | None = None) -> None:
    """There is no serious or critical fault in what the page shows now, by the rules of axe-core.

    `within` is the selector of a part of the page, where only that is another one than before.
    """
    found = Axe().run(page.page, context=within).response["violations"]
    faults = [
        f"{where}: {fault['impact']} {fault['id']}: {node['target']} {node['html'][:120]}"
        for fault in found
        if fault["impact"] in _GRAVE
        for node in fault["nodes"]
    ]
    assert not faults, "\n".join(faults)
