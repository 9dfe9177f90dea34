"""A person in front of a browser, for programs that need one to sign in.

The person opens the sign-in page, chooses somebody, and lets the answer go where it goes. ``python
person.py WHO ADDRESS`` stands in for a browser (the variable BROWSER). ``tests/browser`` tests what
the pages look like in a real one.
"""

import os
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import urljoin

import requests


class _Page(HTMLParser):
    """The form of a page: where it goes, what it holds, and whom one can choose by which value."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action = ""
        self.kept: dict[str, str] = {}
        self.choices: dict[str, str] = {}
        self._choice: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = given["action"]
        elif tag == "input" and given.get("type") == "hidden":
            self.kept[given["name"]] = given["value"]
        elif tag == "button":
            self._choice = given.get("value")

    def handle_data(self, data: str) -> None:
        if self._choice and data.strip():
            self.choices.setdefault(data.strip(), self._choice)


class Person:
    """``who`` is a name on the sign-in page; ``bundle`` is the PEM file to trust."""

    def __init__(self, who: str, bundle: str) -> None:
        self._who = who
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = bundle

    def visit(self, address: str, typed: Mapping[str, str] | None = None) -> str:
        """Sign in at an address, and return the text of the last page.

        Types a device's code where a page asks for one.
        """
        answer = self._session.get(address, timeout=10)
        if typed is not None:
            answer = self._session.post(address, data=typed, timeout=10)
        page = _Page(answer.text)
        chosen = next(value for name, value in page.choices.items() if name.startswith(self._who))
        answer = self._session.post(
            urljoin(answer.url, page.action), data={**page.kept, "user": chosen}, timeout=10
        )
        if "document.forms[0].submit()" in answer.text:
            page = _Page(answer.text)
            answer = self._session.post(page.action, data=page.kept, timeout=10)
        return answer.text

    def close(self) -> None:
        """Close the browser."""
        self._session.close()


if __name__ == "__main__":
    Person(sys.argv[1], os.environ["REQUESTS_CA_BUNDLE"]).visit(sys.argv[2])
