"""The public test kit: what the project's own tests, and those of module developers, are built from."""
