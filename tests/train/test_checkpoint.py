"""Checkpoints are whole or absent, and give back every bit."""

import os
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from seca.errors import RunError
from seca.train import checkpoint


class Tree(eqx.Module):
    """All kinds of arrays a state may hold."""

    weights: list[Array]
    counter: Array
    key: Array
    nothing: None = None


def _tree(scale: float = 1.0) -> Tree:
    weights = jax.random.normal(jax.random.key(1), (3, 4)) * scale
    return Tree([weights, jnp.array([jnp.nan, jnp.inf, -0.0])], jnp.uint32(4_000_000_000), jax.random.key(9))


def _bits(tree: Tree) -> list[bytes]:
    plain = eqx.tree_at(lambda t: t.key, tree, jax.random.key_data(tree.key))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(plain)]


def _save(folder: pathlib.Path, kind: str = "latest", **metadata: object) -> pathlib.Path:
    checkpoint.save(folder, kind, _tree(), metadata)
    return checkpoint.find(folder, kind)[0]


def test_round_trip_of_every_bit(tmp_path: pathlib.Path) -> None:
    path = _save(tmp_path / "checkpoints", env_steps=5)
    assert checkpoint.read_metadata(path)["env_steps"] == 5
    for template in (_tree(0.0), jax.eval_shape(_tree)):
        read = checkpoint.load(path, template)
        assert _bits(read) == _bits(_tree())
        assert jax.tree.structure(read) == jax.tree.structure(_tree())
        assert [leaf.dtype for leaf in jax.tree.leaves(read)] == [leaf.dtype for leaf in jax.tree.leaves(_tree())]


def test_only_the_newest_of_a_kind_is_kept(tmp_path: pathlib.Path) -> None:
    for _ in range(3):
        _save(tmp_path)
    _save(tmp_path, "best")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-000004", "latest-000003"]


def test_snapshots_stay_beside_the_newest(tmp_path: pathlib.Path) -> None:
    """Each under the env steps of its policy, written once; those after a point can be dropped."""
    _save(tmp_path)
    for env_steps in (0, 2_000_123_456, 77):
        checkpoint.keep(tmp_path, env_steps, _tree(), {"env_steps": env_steps})
    checkpoint.keep(tmp_path, 77, _tree(), {"env_steps": "another time"})
    assert _save(tmp_path).name == "latest-000002"
    found = checkpoint.snapshots(tmp_path)
    assert list(found) == [0, 77, 2_000_123_456]
    assert [checkpoint.read_metadata(path)["env_steps"] for path in found.values()] == list(found)
    assert _bits(checkpoint.load(found[77], _tree(0.0))) == _bits(_tree())
    checkpoint.drop_snapshots(tmp_path, after=77)
    assert list(checkpoint.snapshots(tmp_path)) == [0, 77]


def test_a_failure_before_the_rename_leaves_the_old_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = _save(tmp_path, env_steps=1)

    def fail(*paths: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(RunError, match="cannot be written: no space left"):
        patch.setattr(os, "rename", fail)
        _save(tmp_path, env_steps=2)
    assert checkpoint.find(tmp_path, "latest") == [old]
    assert checkpoint.read_metadata(old)["env_steps"] == 1
    checkpoint.clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [old.name]
    assert checkpoint.read_metadata(_save(tmp_path, env_steps=3))["env_steps"] == 3


def test_every_file_is_guarded(tmp_path: pathlib.Path) -> None:
    """One flipped bit anywhere, and the checkpoint is refused."""
    path = _save(tmp_path)
    files = [file for file in path.rglob("*") if file.is_file() and file.name != "manifest.json"]
    assert len(files) > 3
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(checkpoint.CheckpointError, match=f"damaged: .*{file.name}"):
            checkpoint.read_metadata(path)
        file.write_bytes(content)
    checkpoint.read_metadata(path)


def test_another_structure_is_refused(tmp_path: pathlib.Path) -> None:
    path = _save(tmp_path)
    wider = eqx.tree_at(lambda tree: tree.weights[0], _tree(), jnp.zeros((3, 5)))
    with pytest.raises(checkpoint.CheckpointError, match=r"weights\[0\] is float32\[3, 4\].*needs float32\[3, 5\]"):
        checkpoint.load(path, wider)
    longer = eqx.tree_at(lambda tree: tree.weights, _tree(), [*_tree().weights, jnp.zeros(())])
    with pytest.raises(checkpoint.CheckpointError, match=r"weights\[2\] is not in it"):
        checkpoint.load(path, longer)
    shorter = eqx.tree_at(lambda tree: tree.weights, _tree(), _tree().weights[:1])
    with pytest.raises(checkpoint.CheckpointError, match=r"weights\[1\] is not part of this configuration"):
        checkpoint.load(path, shorter)
