"""A Ray cluster is found or refused in a line, under the name of the option that asks for it."""

import importlib.util
import sys
import types

import pytest

from seca.errors import UsageError
from seca.host import cluster


def test_what_ray_says_in_leaving_is_not_heard(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Messages that came twice are held back by Ray, and printed by its `shutdown` in the caller's thread."""

    def leave() -> None:
        print("(raylet) a node was lost\n")
        print("again", file=sys.stderr)

    stub = types.SimpleNamespace(init=lambda **given: None, shutdown=leave)
    monkeypatch.setitem(sys.modules, "ray", stub)
    monkeypatch.setattr(cluster, "quiet", lambda: None)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with cluster.connected("local"):
        print("ours")
    assert capsys.readouterr() == ("ours\n", "")


def test_the_option_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else found(name))
    with pytest.raises(
        UsageError, match=r"^`workers` is 'ray': that needs Ray; install it by: pip install 'seca\[ray\]'"
    ):
        cluster.check(None, "workers")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found("json"))
    with pytest.raises(UsageError, match=r"^`workers` is 'ray://127.0.0.1:1': no Ray cluster is there"):
        cluster.check("ray://127.0.0.1:1", "workers")
    with pytest.raises(UsageError, match=r"^`on` is 'ray://:1:2:': ray://HOST:PORT is needed there"):
        cluster.check("ray://:1:2:")


def test_the_first_line() -> None:
    assert cluster.first_line(ValueError("\n  a \nb")) == "a" and cluster.first_line(ValueError()) == "ValueError"
