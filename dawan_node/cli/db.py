"""``db``: the databases of a node that does not run. Each command lives in a file of its own, loaded when it runs."""

from __future__ import annotations

from typing import Final

from dawan_node.cli.lazy import TableGroup

# name -> (module, attribute, line for --help)
COMMANDS: Final = {
    "info": ("dawan_node.cli.db_read", "info", "What is in it, by kind of record."),
    "verify": ("dawan_node.cli.db_verify", "verify", "Check everything: proofs, execution, state, rules."),
    "replay": ("dawan_node.cli.db_verify", "replay", "Execute the blocks again and print where that leads."),
    "compact": ("dawan_node.cli.db_read", "compact", "Let LevelDB give back what is not needed any more."),
    "prune": ("dawan_node.cli.db_prune", "prune", "Remove old blocks; the state and its proofs stay."),
    "export": ("dawan_node.cli.db_transfer", "export", "Write blocks with their proofs to a file."),
    "import": ("dawan_node.cli.db_transfer", "import_", "Take in blocks from a file, after checking all of them."),
    "diff": ("dawan_node.cli.db_read", "diff", "Compare with a peer's chain: where do they part?"),
    "plan": ("dawan_node.cli.db_read", "plan", "How much disk for so many transactions and years?"),
}

db = TableGroup("db", table=COMMANDS, help="Look into, check, copy and compare the databases of a stopped node.")
