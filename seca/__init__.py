"""SeCA: cooperative multi-agent reinforcement learning whose credit assignment can be seen.

    env = seca.make("smac/2s3z")        an environment by name
    run = seca.load("runs/x")           a trained run, ready to act
    seca.audit(run)                     its credit, held against the truth

Importing this package is light and changes no setting of JAX; these names are loaded when first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seca.envs.registry import make as make
    from seca.runs.load import load as load
    from seca.truth.audit import audit as audit

__version__ = "0.1.0"

_LAZY = {"make": "seca.envs.registry", "load": "seca.runs.load", "audit": "seca.truth.audit"}


def __getattr__(name: str) -> Any:
    """Import `make`, `load` and `audit` on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'seca' has no attribute '{name}'")
    import importlib

    value = globals()[name] = importlib.import_module(_LAZY[name]).__dict__[name]
    return value
