"""The chaos run: four real validators and three observers under faults drawn from a seed, and a judge of what their
clients were told. ``scripts/chaos`` starts it; docs/chaos.md says what it does and how to read its report."""
