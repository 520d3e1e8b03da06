"""Environments that are Python, not JAX: played by worker processes beside the training loop."""
