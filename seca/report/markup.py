"""Markup of pages that load nothing: escaped texts, embedded data, and a policy by which no other script runs."""

import base64
import hashlib
import html
import importlib.resources
import json
from collections.abc import Iterable, Sequence


class Html(str):
    """Text that is markup already; every other text is escaped where it is put into markup."""


def element(tag: str, /, *inside: str, **attributes: str | int | float) -> Html:
    """`<tag attributes>inside</tag>`. Of attributes `_` stands for `-`, a last one for nothing; False is left out."""
    written = []
    for key, value in attributes.items():
        if value is not False:
            spelled = key.rstrip("_").replace("_", "-")
            written.append(f" {spelled}" if value is True else f' {spelled}="{html.escape(str(value))}"')
    opened = f"<{tag}{''.join(written)}>"
    return Html(opened if tag == "input" else f"{opened}{join(inside)}</{tag}>")


def join(parts: Iterable[str]) -> Html:
    """Parts one after another; those that are no markup are escaped."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def resource(package: str, name: str) -> str:
    """A text of the folder `page` of a package."""
    return (importlib.resources.files(package) / "page" / name).read_text(encoding="utf-8")


def policy(scripts: Iterable[str]) -> str:
    """The content security policy of a page with these scripts: nothing is loaded, and no other script runs."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; base-uri 'none'"


def embedded(data: object) -> str:
    """JSON that can stand in a script element whatever texts it holds."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.translate({ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"})


def warnings(texts: Sequence[str]) -> Html:
    """A list of what to be careful with, or nothing."""
    if not texts:
        return Html()
    title = element("li", "Read with care", class_="warnings-title")
    return element("ul", title, *(element("li", text) for text in texts), class_="warnings", role="list")
