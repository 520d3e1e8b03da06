"""Orders that need no critic: by probability, by entropy, fixed, random."""
