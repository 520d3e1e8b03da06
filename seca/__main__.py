"""`python -m seca` is `seca`."""

from seca.cli import main

main()
