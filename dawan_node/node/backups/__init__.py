"""Backups of a node's ledgers: made while it runs, verified to the byte, restored into a home that then observes."""
