"""Run folders: what makes them and what reads them."""
