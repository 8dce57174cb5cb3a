"""Validators: how a channel takes one in, gives one another key, and lets one go.

Each is a proposal like any other; from the block after the one that enacts it the changed set votes, in a new epoch
(amendments U3, U11). One change is under way at a time (L13), because what voters weigh, how many validators there are
and how many may fail, must still be so when it is enacted. The executor judges by state only: that every key is one
nobody else has or had, and that 1 to 64 validators are left. How many may fail then, and who is live, is for the tools
to show and for voters to weigh.

A validator that forgot what it signed (its log is lost, its disk was restored or copied) may vote again only under
another key (amendment U6). So a key that was replaced or removed never comes back, in any seat, and the proposal brings
a signature of the new key (``primitives.seat``): a seat whose key nobody holds would be a fault nobody sees.

An organisation proposes seats and keys of its own only; anybody may propose that a validator goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from dawan_node.execution.module import (
    ORG_ADMIN,
    Configuration,
    Context,
    NodeRecord,
    Page,
    Params,
    QueryContext,
    is_public_key,
    key_of,
    replace,
)
from dawan_node.modules.governance.declaration import (
    NodeEntry,
    Proposal,
    ProposalKind,
    ProposeValidator,
    ProposeValidatorKey,
    ProposeValidatorRemoval,
    ValidatorEpoch,
    ValidatorKey,
    ValidatorsChanged,
    module,
)
from dawan_node.modules.governance.evidence import begin_epoch
from dawan_node.modules.governance.nodes import require_addresses, require_unused_key
from dawan_node.modules.governance.opening import open_proposal
from dawan_node.modules.governance.terms import open_changes, orgs_of_seat, term_of
from dawan_node.primitives.names import is_label
from dawan_node.primitives.seat import SEAT_TAG, seat_claim_bytes
from dawan_node.primitives.validators import VALIDATORS_MAX, fault_bound, quorum

#: The policy that counts the votes on each of these kinds, where the genesis has one.
VALIDATOR_POLICY: Final = "validator"


class ValidatorParams(Params):
    """All validators that ever voted, or those of one name."""

    validator: str = ""


class EpochParams(Params):
    """Nothing."""


@module.command("propose_validator", args=ProposeValidator, roles=(ORG_ADMIN,))
def propose_validator(ctx: Context, args: ProposeValidator) -> None:
    """Propose one more validator, of the sender's organisation."""
    _propose_seat(ctx, "validator_added", args)


@module.command("propose_validator_key", args=ProposeValidatorKey, roles=(ORG_ADMIN,))
def propose_validator_key(ctx: Context, args: ProposeValidatorKey) -> None:
    """Propose another voting key for a validator of the sender's organisation; the old one never votes again."""
    _propose_seat(ctx, "validator_key", args)


@module.command("propose_validator_removal", args=ProposeValidatorRemoval, roles=(ORG_ADMIN,))
def propose_validator_removal(ctx: Context, args: ProposeValidatorRemoval) -> None:
    """Propose that a validator votes no longer; its node may stay and observe."""
    _require_removable(ctx, args.validator)
    _require_no_other_change(ctx)
    open_proposal(ctx, args.id, "validator_removed", args.validator, policy=VALIDATOR_POLICY)


def change_validators(ctx: Context, now: Configuration, proposal: Proposal) -> Configuration:
    """Enact: the configuration with the change; the new set votes from the next height on.

    What was checked when the proposal opened is checked again, but for the signature, which cannot have changed.
    """
    name, seats = proposal.subject, now.validators
    if proposal.kind == "validator_removed":
        _require_removable(ctx, name)
        _end_term(ctx, name, "removed")
        changed = tuple([seat for seat in seats if seat[0] != name])
    else:
        node = proposal.nodes[0]
        org = proposal.proposer
        _require_seat(ctx, proposal.kind, name, org, node, own=proposal.id)
        if proposal.kind == "validator_key":
            _end_term(ctx, name, "replaced")
        seat = (name, org, node.suite, node.public_key)
        changed = tuple(sorted([*[other for other in seats if other[0] != name], seat]))
        ctx.put(ValidatorKey(node.public_key, node.suite, name, org, ctx.height + 1, 0, ""))
        _put_node(ctx, name, org, node)
    number = begin_epoch(ctx, changed)
    n = len(changed)
    ctx.emit(
        ValidatorsChanged(epoch=number, from_height=ctx.height + 1, n=n, tolerated=fault_bound(n), quorum=quorum(n))
    )
    return replace(now, validators=changed)


def _propose_seat(ctx: Context, kind: ProposalKind, args: ProposeValidator | ProposeValidatorKey) -> None:
    org = ctx.sender.org
    node = NodeEntry(args.validator, args.suite, args.public_key, tuple(args.addresses))
    _require_seat(ctx, kind, args.validator, org, node)
    _require_no_other_change(ctx)
    # Last, because it costs most.
    claim = seat_claim_bytes(ctx.genesis.genesis.chain_id, args.validator, org, args.suite, args.public_key)
    ctx.require(ctx.is_signed(args.public_key, SEAT_TAG, claim, args.possession), "E_POSSESSION")
    open_proposal(
        ctx,
        args.id,
        kind,
        args.validator,
        policy=VALIDATOR_POLICY,
        suite=args.suite,
        public_key=args.public_key,
        nodes=(node,),
        possession=args.possession,
    )


def _require_seat(ctx: Context, kind: ProposalKind, name: str, org: str, node: NodeEntry, *, own: str = "") -> None:
    """Fail unless ``org`` may have validator ``name`` with the key of ``node``, as one more or in place of its key.

    ``own`` is the proposal being enacted, whose key is taken by itself.
    """
    seats = ctx.configuration().validators
    known = [seat for seat in seats if seat[0] == name]
    if kind == "validator_key":
        ctx.require(len(known) == 1, "E_UNKNOWN")
        ctx.require(known[0][1] == org, "E_OTHER_ORG")
    else:
        ctx.require(is_label(name), "E_NAME")
        ctx.require(not known, "E_EXISTS")
        ctx.require(len(seats) < VALIDATORS_MAX, "E_VALIDATORS")
        # Suspended meanwhile: its people send nothing, and so it gets no further vote on blocks either.
        ctx.require(ctx.is_org(org), "E_STATUS")
        ctx.require(all(other == org for other in orgs_of_seat(ctx, name)), "E_OTHER_ORG")
    ctx.require(is_public_key(node.suite, node.public_key), "E_KEY")
    require_addresses(ctx, node.addresses)
    record = ctx.get(NodeRecord, key_of(name))
    ctx.require(record is None or record.org == org, "E_OTHER_ORG")
    # A node that observes already becomes a validator with the key it has: it voted nowhere with it.
    itself = name if record is not None and record.public_key == node.public_key else ""
    require_unused_key(ctx, node.public_key, node=itself, proposal=own)


def _require_removable(ctx: Context, name: str) -> None:
    seats = ctx.configuration().validators
    ctx.require(name in [seat[0] for seat in seats], "E_UNKNOWN")
    ctx.require(len(seats) > 1, "E_VALIDATORS")


def _require_no_other_change(ctx: Context) -> None:
    ctx.require(not open_changes(ctx), "E_OPEN_CHANGE")


def _end_term(ctx: Context, name: str, ended: Literal["replaced", "removed"]) -> None:
    """The key of ``name`` votes up to this block, which it helps to decide, and never again."""
    for seat, _, _, key in ctx.configuration().validators:
        term = term_of(ctx, key)
        if seat == name and term is not None:
            ctx.put(replace(term, until_height=ctx.height, ended=ended))


def _put_node(ctx: Context, name: str, org: str, node: NodeEntry) -> None:
    """The record by which others find the validator. Without addresses in the proposal the known ones stay."""
    record = ctx.get(NodeRecord, key_of(name))
    addresses = node.addresses
    if not addresses and record is not None:
        addresses = record.addresses
    if addresses or record is not None:
        ctx.put(NodeRecord(name, org, node.suite, node.public_key, addresses, "active", ctx.height))


def all_terms(ctx: QueryContext) -> dict[bytes, ValidatorKey]:
    """Every key that votes or ever voted, by key."""
    first = {
        entry.public_key: ValidatorKey(entry.public_key, entry.suite, entry.name, entry.org, 1, 0, "")
        for entry in ctx.genesis.genesis.validators
    }
    return {**first, **{term.public_key: term for term in ctx.iterate(ValidatorKey, "by_name")}}


def _place(term: ValidatorKey) -> bytes:
    return key_of(term.name, term.from_height)


@module.query("validators", params=ValidatorParams, item=ValidatorKey)
def validators(ctx: QueryContext, params: ValidatorParams, limit: int, cursor: bytes | None) -> Page[ValidatorKey]:
    """Who voted with which key from which height to which (0: still), by name and height; nobody is left out."""
    stored = all_terms(ctx)
    after = b"" if cursor is None else cursor
    wanted = [term for term in sorted(stored.values(), key=_place) if params.validator in ("", term.name)]
    left = [term for term in wanted if _place(term) > after]
    return Page(tuple(left[:limit]), _place(left[limit - 1]) if len(left) > limit else None)


@module.query("validator_epochs", params=EpochParams, item=ValidatorEpoch)
def validator_epochs(ctx: QueryContext, params: EpochParams, limit: int, cursor: bytes | None) -> Page[ValidatorEpoch]:
    """Every epoch after the first with all its validators, from which height and block time on."""
    return ctx.page(ValidatorEpoch, "by_number", limit=limit, cursor=cursor)


@module.invariant("validators_and_keys_agree")
def validators_and_keys_agree(ctx: QueryContext) -> Iterator[str]:
    """The keys in force are the configuration's, each in one seat, and whoever voted at a height is on record with it;
    no key of a validator is a person's or another node's."""
    known = all_terms(ctx)
    in_force = [(term.name, term.org, term.suite, key) for key, term in known.items() if not term.until_height]
    if sorted(in_force) != sorted(ctx.configuration().validators):
        yield "the keys in force are not those of the configuration"
    if len({name for name, _, _, _ in in_force}) != len(in_force):
        yield "one validator has two keys"
    for epoch in ctx.iterate(ValidatorEpoch, "by_number"):
        for name, org, _, key in epoch.validators:
            term = known.get(key)
            if term is None or (term.name, term.org) != (name, org) or term.from_height > epoch.from_height:
                yield f"the key of {name} in epoch {epoch.number} is not on record"
            elif term.until_height and term.until_height < epoch.from_height:
                yield f"the key of {name} votes in epoch {epoch.number}, after its end"
    for key, term in known.items():
        if ctx.credential(key) is not None:
            yield f"the key of validator {term.name} is a person's"
        for node in ctx.iterate(NodeRecord, "by_key", (key,)):
            if node.name != term.name:
                yield f"the key of validator {term.name} is node {node.name}'s"
