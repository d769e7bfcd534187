"""The page that tells how a source is added: its code is run, and passes the contract."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from rag_assets.sources import OPENERS
from rag_assets_tests.sources import site
from rag_assets_tests.sources.contract import DeletingSourceContract
from rag_assets_tests.sources.contract_http import HttpContract, slept
from rag_assets_tests.sources.test_contract_web import LOOPBACK
from rag_assets_tests.sources.test_contract_web import NotionWorld as Served

__all__ = ["slept"]
PAGE = Path(__file__).parents[2] / "docs" / "sources.md"


class NotionWorld(Served):
    def config(self):
        return CODE["NotionConfig"](
            name="s", type="notion", token="t", url=self.site.url(""), http=LOOPBACK
        )


CODE = {
    "DeletingSourceContract": DeletingSourceContract,
    "HttpContract": HttpContract,
    "NotionWorld": NotionWorld,
    "pytest": pytest,
    "site": site,
    "__name__": __name__,
}
SECTION = PAGE.read_text(encoding="utf-8").partition("## Add a source in ten minutes")[2]
for block in re.findall(r"    ```python\n(.*?)    ```", SECTION, re.DOTALL):
    exec(dedent(block), CODE)
TestNotion = CODE["TestNotion"]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(OPENERS, CODE["NotionConfig"], CODE["NotionSource"])
