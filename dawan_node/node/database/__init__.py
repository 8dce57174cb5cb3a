"""Tools on the database of a node that does not run: what is in it, whether it is right, in and out of it."""
