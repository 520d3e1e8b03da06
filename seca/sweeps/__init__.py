"""Many runs from one file: which they are, who runs them, and how far they are."""
