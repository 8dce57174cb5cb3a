"""The access matrix as a page of documentation; ``docs/access.md`` is its output for the installed modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dawan_node.node.access import Table

_HEAD: Final = """\
# Who may do what

Made by `dawan-node channel access --markdown` from the rules the node goes by; a test compares the two. Whatever no
rule allows is refused.
"""

_TEXTS: Final = {
    "JSON-RPC": """\
A caller is judged for every call, and for the channel the call names.

- **local**: over loopback without TLS (`tls = false` in `[rpc]`, the default): whoever has an account on this machine,
  and whoever a proxy or tunnel on this machine lets in.
- **own**: a certificate of the organisation this node belongs to.
- **member**: a certificate of an organisation that is active on the channel; for a method without a channel, on any
  channel of this node.
- **outsider**: a certificate of an organisation of the network that is not on the channel, or is suspended there.
- **anonymous**: over TLS without a certificate. A certificate that no registered CA issued does not get through TLS.

`-32001` is the answer for a channel that does not exist, byte for byte, and given without a look at the store.
`channel_list` and `node_status` show members and outsiders their own channels only, and nothing of peers, disk or
certificates. `-32010` comes with HTTP status 401, as do `-32012` (certificate revoked) and `-32013` (expired).
""",
    "Transactions": """\
A transaction is judged by the role of the identity whose key signed it, as the channel's state says at that place of
the block. Whoever has several roles may do what any of them may. Roles are those of the installed modules. `code 1`
(`E_IDENTITY`) and `code 2` (`E_ROLE`) are receipts: the transaction is on chain, and changed nothing. What a command
asks beyond the role (whose invoice, whose vote) is the module's own business, and has codes of its own. `validator` is
the role of the keys that vote, while they do, and of nobody else: a person of that role has none.
""",
    "Peers": """\
What a node may send to a channel of this node, by what it is there. `sends, is answered`: its requests on the topic are
answered. `ignored`: an honest node may send it, and it is of no use. `link closed`: no honest node sends it; the link
is closed and the node left alone for a while. A stranger does not get past the handshake; an outsider's link carries
no channel. CONTROL is of the link itself.
""",
}


def page(tables: Sequence[Table]) -> str:
    """The whole page, with a final line end."""
    return "\n".join([_HEAD, *(line for table in tables for line in _section(table))])


def _section(table: Table) -> Iterator[str]:
    yield f"## {table.name}\n"
    yield _TEXTS[table.name]
    yield f"{len(table.rows)} rows, {table.cells} cells.\n"
    yield _line([table.object, *table.subjects, ""])
    yield _line(["---"] * (len(table.subjects) + 2))
    for row in table.rows:
        yield _line([f"`{row.object}`", *(row.cells[subject].value for subject in table.subjects), row.note])
    yield ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
