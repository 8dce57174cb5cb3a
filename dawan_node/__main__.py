"""``python -m dawan_node``: the command line, for where the console script is not on the path."""

from dawan_node.cli.main import main

main()
