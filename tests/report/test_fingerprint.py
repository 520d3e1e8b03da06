"""What makes numbers comparable."""

import dataclasses
from typing import Any

from report import scored

from seca.learning.options import Adaptation
from seca.presets import PRESETS
from seca.report import fingerprint


def of(preset: str = "seca", **changes: Any) -> fingerprint.Fingerprint:
    return fingerprint.of(dataclasses.replace(scored.config(preset), **changes), "smac/3m version smac-1", 3.5)


def test_what_is_in_it() -> None:
    assert dataclasses.asdict(of()) == {
        "environment": "smac/3m version smac-1",
        "evaluation": "greedy, 8 episodes",
        "budget": 1000,
        "interval": 100_000,
        "runners": 32,
        "updates": 1,
        "gradient_steps": 3.5,
        "setting": "numbers of this comparison",
    }


def test_whose_setting_it_is() -> None:
    assert of("seca-paper").setting == "published numbers"
    assert of("qmix-reference").setting == "published numbers"
    options: Any = PRESETS["seca"].config
    changed = dataclasses.replace(options, actor_lr=1.0)
    assert of(algorithm=changed).setting == "changed options"
    assert of(adaptation=Adaptation(dead="mask-obs")).setting == "changed options"


def test_what_differs_is_said_once_with_who_has_it() -> None:
    one, other = of(), dataclasses.replace(of(), runners=2048, budget=2_000_000)
    runs = [("seca", one), ("seca", one), ("qmix", other), ("mappo", one)]
    assert fingerprint.notes(runs) == [
        "mixed budgets: 1,000 (seca, mappo); 2,000,000 (qmix)",
        "mixed numbers of runners: 32 (seca, mappo); 2,048 (qmix)",
    ]
    assert fingerprint.notes([("seca", one), ("qmix", one)]) == []
    # Methods make different numbers of gradient steps by their nature: captions state them.
    assert fingerprint.notes([("seca", one), ("qmix", dataclasses.replace(one, gradient_steps=9.0))]) == []


def test_many_names_are_cut_short() -> None:
    assert fingerprint.some(["a", "b", "a"]) == "a, b"
    assert fingerprint.some(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
