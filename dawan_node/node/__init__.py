"""The shell around the pure parts: it gathers (clock, network, disk), lets the cores decide, and acts."""
