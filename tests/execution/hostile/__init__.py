"""The hostile module of ``test_hostile_modules``."""
