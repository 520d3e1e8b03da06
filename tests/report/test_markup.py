"""Markup in which no text can become more than text."""

import json

import pytest

from seca.report import markup

HOSTILE = "</script><script>alert(1)</script><!--<b>&amp;\u2028"


def test_texts_are_escaped() -> None:
    made = markup.element("p", HOSTILE, markup.element("b", "bold"), class_="x", data_text='a"b', hidden=False)
    assert made == (
        '<p class="x" data-text="a&quot;b">&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;!--&lt;b&gt;'
        "&amp;amp;\u2028<b>bold</b></p>"
    )
    assert markup.element("input", type="checkbox", checked=True) == '<input type="checkbox" checked>'
    assert markup.warnings([]) == "" and HOSTILE not in markup.warnings([HOSTILE])


def test_data_stays_data() -> None:
    text = markup.embedded({"text": HOSTILE + "\u2029"})
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == {"text": HOSTILE + "\u2029"}
    with pytest.raises(ValueError, match="JSON"):
        markup.embedded(float("nan"))


def test_a_policy_names_its_scripts() -> None:
    """The digest of a text is what browsers compute: SHA-256, of an empty script known from its specification."""
    assert markup.policy([""]) == (
        "default-src 'none'; script-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; "
        "style-src 'unsafe-inline'; base-uri 'none'"
    )
