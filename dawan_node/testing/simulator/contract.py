"""The channel that simulations run: a till that counts, and a governance that changes validators at once.

``till`` is the business: payments between accounts of a fixed sum, so that a payment done twice, lost, or done by some
nodes only shows in balances and state roots. ``governance`` is a test module under that name: its ``enact``, a barrier
command like the real one, installs any validator set in one transaction, because the votes before it are the
module's business and the change of the set is consensus' (amendment U11).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Final, cast

from dawan_node.crypto.hashing import domain_separated, sha256
from dawan_node.crypto.signatures import ED25519, PrivateKey
from dawan_node.execution.channel import Configuration
from dawan_node.execution.module import Args, Context, Entity, Module, QueryContext, ShortText, key_of, replace
from dawan_node.execution.registry import Registry
from dawan_node.node.verifier import Mode, Verifier
from dawan_node.primitives.genesis import (
    TX_LIFETIME_MS_CEILING,
    Genesis,
    IdentityEntry,
    ModuleEntry,
    OrgEntry,
    ParamEntry,
    ValidatorEntry,
)
from dawan_node.primitives.transaction import TX_TAG, Body, Transaction, assemble_envelope
from dawan_node.testing.simulated_node import CREATED_MS, fake_signature

ORGS: Final = ("gz", "hk", "hq", "mo")
#: One client per organisation; what each account begins with.
CLIENTS: Final = tuple(f"{org}-client" for org in ORGS)
OPENING_BALANCE: Final = 1_000_000
#: Clients sign for nearly as long as a channel allows: clocks that jump by hours must not expire what was promised.
VALID_FOR_MS: Final = 20 * 3_600_000


class Account(Entity, collection="account", schema=1):
    """A client's balance, and how many payments it took part in."""

    owner: str
    balance: int
    payments: int

    indexes = {"by_owner": lambda account: [(account.owner,)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.owner)


class Pay(Args):
    """Pay ``amount`` to another client."""

    to: ShortText
    amount: int


till = Module("till", version=1, entities=(Account,), errors={"E_AMOUNT": "Not positive, or more than there is."})


@till.command("pay", args=Pay, roles=("client",))
def pay(ctx: Context, args: Pay) -> None:
    """Move money; a payment to oneself only counts."""
    payer = _account(ctx, ctx.sender.name)
    ctx.require(0 < args.amount <= payer.balance and args.to in CLIENTS, "E_AMOUNT")
    ctx.put(replace(payer, balance=payer.balance - args.amount, payments=payer.payments + 1))
    payee = _account(ctx, args.to)
    ctx.put(replace(payee, balance=payee.balance + args.amount, payments=payee.payments + 1))


def _account(ctx: Context, owner: str) -> Account:
    return ctx.get(Account, key_of(owner)) or Account(owner, OPENING_BALANCE, 0)


@till.invariant("no_money_comes_or_goes")
def no_money_comes_or_goes(ctx: QueryContext) -> list[str]:
    """Whatever moved, the sum of the accounts that were touched is what they began with."""
    accounts = list(ctx.iterate(Account, "by_owner"))
    total = sum(account.balance for account in accounts)
    return [] if total == OPENING_BALANCE * len(accounts) else [f"{total} in {len(accounts)} accounts"]


class Enact(Args):
    """The validators from now on, as (name, organisation, public key), and the window."""

    validators: list[tuple[str, str, bytes]]
    window: int


governance = Module("governance", version=1, entities=(Configuration,))


@governance.command("enact", args=Enact, roles=("org_admin",))
def enact(ctx: Context, args: Enact) -> None:
    """Install a validator set at once."""
    now = ctx.configuration()
    entries = tuple([(name, org, ED25519, key) for name, org, key in args.validators])
    params = tuple(sorted({**dict(now.params), "window": args.window}.items()))
    ctx.put(replace(now, validators=entries, params=params, since_height=ctx.height))


@cache
def node_key(number: int) -> PrivateKey:
    """The key of node ``number``."""
    return PrivateKey.from_seed(sha256(b"simulated node %d" % number))


@cache
def person_key(name: str) -> PrivateKey:
    """The key of a client or administrator."""
    return PrivateKey.from_seed(sha256(b"simulated person " + name.encode()))


def node_name(number: int) -> str:
    """``v00``, ``v01``, ..."""
    return f"v{number:02d}"


def org_of(number: int) -> str:
    """Nodes are dealt out to the organisations in turn."""
    return ORGS[number % len(ORGS)]


def seats(validators: int) -> list[ValidatorEntry]:
    """The first nodes as validators of a genesis."""
    return [
        ValidatorEntry(node_name(number), org_of(number), ED25519, node_key(number).public_key)
        for number in range(validators)
    ]


def registry() -> Registry:
    """The modules of the channel."""
    return Registry((governance, till))


def genesis_of(seed: int, validators: int, params: Sequence[tuple[str, int]]) -> Genesis:
    """A channel of its own for each seed, so that nothing of one run means anything in another."""
    people = [IdentityEntry(name, name[:2], ["client"], ED25519, person_key(name).public_key) for name in CLIENTS]
    people += [
        IdentityEntry(f"{org}-admin", org, ["org_admin"], ED25519, person_key(f"{org}-admin").public_key)
        for org in ORGS
    ]
    return Genesis(
        1,
        "simulation",
        f"seed-{seed}",
        CREATED_MS,
        [OrgEntry(org, org.upper(), True, [b"root of " + org.encode()]) for org in ORGS],
        seats(validators),
        sorted(people, key=lambda person: person.name),
        [ModuleEntry("governance", 1, bytes(32)), ModuleEntry("till", 1, bytes(32))],
        [
            ParamEntry(name, value)
            for name, value in sorted({**dict(params), "tx_lifetime_ms_max": TX_LIFETIME_MS_CEILING}.items())
        ],
        [],
    )


class Author:
    """Makes the clients' transactions, each with a nonce of its own."""

    def __init__(self, genesis: Genesis, real_signatures: bool) -> None:
        self._chain_id = genesis.chain_id
        self._is_real = real_signatures
        self._nonces = 0

    def payment(self, client: str, to: str, amount: int, time_ms: int) -> Transaction:
        """A payment signed at ``time_ms``."""
        return self._signed(client, "till", "pay", {"amount": amount, "to": to}, time_ms)

    def change(self, members: Sequence[int], window: int, time_ms: int) -> Transaction:
        """The barrier that makes the nodes ``members`` the validators."""
        entries = [[node_name(number), org_of(number), node_key(number).public_key] for number in members]
        return self._signed("gz-admin", "governance", "enact", {"validators": entries, "window": window}, time_ms)

    def _signed(self, person: str, module: str, command: str, args: dict[str, object], time_ms: int) -> Transaction:
        self._nonces += 1
        nonce = self._nonces.to_bytes(16, "big")
        body = Body(1, self._chain_id, nonce, time_ms + VALID_FOR_MS, module, command, args).encode()
        key = person_key(person)
        if self._is_real:
            signature = key.sign(TX_TAG, body)
        else:
            signature = fake_signature(key.public_key, domain_separated(TX_TAG, body))
        return Transaction.decode(assemble_envelope(body, ED25519, key.public_key, signature))


class InlineChecks(Verifier):
    """The node's verifier with its queue and its memory, on the spot."""

    def __init__(self, real_signatures: bool) -> None:
        check = partial(_check, real_signatures)
        super().__init__(Mode.INLINE, check=check, loop=cast(asyncio.AbstractEventLoop, _AtOnce()))


class _AtOnce:
    """Stands for the event loop: what is to be done soon is done now."""

    def call_soon(self, callback: Callable[[], object]) -> None:
        callback()

    def create_future(self) -> asyncio.Future[None]:
        return asyncio.Future(loop=cast(asyncio.AbstractEventLoop, self))

    def get_debug(self) -> bool:
        return False


def _check(is_real: bool, transactions: Sequence[Transaction]) -> list[bool]:
    return [is_signed(transaction, is_real) for transaction in transactions]


def is_signed(transaction: Transaction, is_real: bool) -> bool:
    """Whether the signature in an envelope is its key's over its body."""
    if is_real:
        return transaction.verify_signature()
    signed = domain_separated(TX_TAG, transaction.body_bytes)
    return fake_signature(transaction.public_key, signed) == transaction.signature
