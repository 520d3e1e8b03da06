"""The simulator behind the interfaces of others. Import the one you need: each asks for its own extra."""
