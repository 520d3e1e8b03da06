"""Pictures of recorded battles. Reads recordings and nothing else: no simulator, no JAX."""
