"""Nodes and revocation lists: what an organisation says of its own machines, without asking the others.

A node record lets the organisation's nodes find and believe each other's peers without anybody editing a file: the
key of its hello and its addresses. Whether the organisation belongs to the channel at all is for the others to vote.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from dawan_node.execution.module import (
    ORG_ADMIN,
    Context,
    NodeRecord,
    RevocationRecord,
    is_public_key,
    key_of,
    replace,
)
from dawan_node.modules.governance.declaration import (
    ADDRESSES_MAX,
    AUTHORITIES_MAX,
    NODES_PER_ORG_MAX,
    REVOCATION_BYTES_MAX,
    NodeRegistered,
    NodeRemoved,
    PublishRevocations,
    RegisterNode,
    RemoveNode,
    RevocationsPublished,
    module,
)
from dawan_node.modules.governance.terms import open_changes, term_of
from dawan_node.primitives.names import is_label

_ADDRESS: Final = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")
_PORT_MAX: Final = 65_535


@module.command("register_node", args=RegisterNode, roles=(ORG_ADMIN,))
def register_node(ctx: Context, args: RegisterNode) -> None:
    """Register a node of the sender's organisation, or give it a new key or new addresses."""
    put_node(ctx, ctx.sender.org, args.name, args.suite, args.public_key, args.addresses)


@module.command("remove_node", args=RemoveNode, roles=(ORG_ADMIN,))
def remove_node(ctx: Context, args: RemoveNode) -> None:
    """End a node of the sender's organisation: its links are cut. A validator's seat is a matter of votes."""
    node = ctx.get(NodeRecord, key_of(args.name))
    if node is None or node.status != "active":
        ctx.fail("E_UNKNOWN")
    ctx.require(node.org == ctx.sender.org, "E_OTHER_ORG")
    ctx.put(replace(node, status="removed", since_height=ctx.height))
    ctx.emit(NodeRemoved(name=node.name, org=node.org))


@module.command("publish_revocations", args=PublishRevocations, roles=(ORG_ADMIN,))
def publish_revocations(ctx: Context, args: PublishRevocations) -> None:
    """Publish the organisation's newest certificate revocation lists."""
    # One for each authority; each is parsed, and its signature checked, by every node at every change.
    ctx.require(len(args.lists) <= AUTHORITIES_MAX, "E_VALUE")
    size = sum([len(each) for each in args.lists])
    ctx.require(size <= REVOCATION_BYTES_MAX, "E_VALUE")
    ctx.put(RevocationRecord(ctx.sender.org, tuple(args.lists), ctx.height))
    ctx.emit(RevocationsPublished(org=ctx.sender.org, lists=len(args.lists)))


def put_node(ctx: Context, org: str, name: str, suite: str, public_key: bytes, addresses: Sequence[str]) -> None:
    """Write the record of a node of ``org``, checked."""
    require_node(ctx, org, name, suite, public_key, addresses)
    ctx.put(NodeRecord(name, org, suite, public_key, tuple(addresses), "active", ctx.height))
    ctx.emit(NodeRegistered(name=name, org=org, public_key=public_key))


def require_node(ctx: Context, org: str, name: str, suite: str, public_key: bytes, addresses: Sequence[str]) -> None:
    """Fail unless the node may be registered like this."""
    ctx.require(is_label(name), "E_NAME")
    ctx.require(is_public_key(suite, public_key), "E_KEY")
    require_addresses(ctx, addresses)
    known = ctx.get(NodeRecord, key_of(name))
    ctx.require(known is None or known.org == org, "E_OTHER_ORG")
    seats = {seat: (owner, key) for seat, owner, _, key in ctx.configuration().validators}
    if name in seats:
        # A validator's key is the one that votes; its record only adds addresses.
        ctx.require(seats[name][0] == org, "E_OTHER_ORG")
        ctx.require(seats[name][1] == public_key, "E_KEY")
    else:
        term = term_of(ctx, public_key)
        # A validator that was removed may stay and observe. A key that was replaced is no node's any more.
        stays = term is not None and (term.name, term.org, term.ended) == (name, org, "removed")
        ctx.require(term is None or stays, "E_KEY_USED")
        for change in open_changes(ctx):
            claimed = change.public_key == public_key and (change.subject, change.proposer) != (name, org)
            ctx.require(not claimed, "E_KEY_USED")
    ctx.require(ctx.credential(public_key) is None, "E_KEY_USED")
    for other in ctx.scan(NodeRecord, "by_key", (public_key,), limit=2):
        ctx.require(other.name == name, "E_KEY_USED")
    if known is None:
        ctx.require(len(ctx.scan(NodeRecord, "by_org", (org,), limit=NODES_PER_ORG_MAX)) < NODES_PER_ORG_MAX, "E_LIMIT")


def require_addresses(ctx: Context, addresses: Sequence[str]) -> None:
    """Fail unless a node may be registered with these addresses."""
    ctx.require(len(addresses) <= ADDRESSES_MAX and len(set(addresses)) == len(addresses), "E_ADDRESS")
    for address in addresses:
        ctx.require(is_address(address), "E_ADDRESS")


def require_unused_key(ctx: Context, public_key: bytes, *, node: str = "", proposal: str = "") -> None:
    """Fail if the key stands for a person, is or was a validator's, is proposed for one, or is a node's: one key, one
    meaning. Nobody proves that a node's or a person's key is theirs, so whoever could register another's key as their
    own would shut that one out of it. ``node`` and ``proposal`` are whose it may be."""
    ctx.require(ctx.credential(public_key) is None, "E_KEY_USED")
    ctx.require(term_of(ctx, public_key) is None, "E_KEY_USED")
    for change in open_changes(ctx):
        ctx.require(change.id == proposal or change.public_key != public_key, "E_KEY_USED")
    for other in ctx.scan(NodeRecord, "by_key", (public_key,), limit=2):
        ctx.require(other.name == node, "E_KEY_USED")


def is_address(text: str) -> bool:
    """Whether ``text`` is host:port or [IPv6]:port with a port from 1 to 65535."""
    found = _ADDRESS.fullmatch(text)
    return found is not None and 1 <= int(found.group(2)) <= _PORT_MAX
