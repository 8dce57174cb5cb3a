"""Two small modules for the executor's tests: ``bank``, well behaved, and ``poison``, which is not."""

from __future__ import annotations

import sys
from typing import Literal

from dawan_node.execution.module import (
    ANY_ROLE,
    UNSET,
    Args,
    Context,
    Entity,
    Event,
    Hash32,
    Module,
    Money,
    Page,
    Params,
    QueryContext,
    ShortText,
    UnsetType,
    key_of,
    replace,
)


class Account(Entity, collection="account", schema=1, exported=True):
    owner: str
    number: str
    balance: Money
    changed_ms: int

    indexes = {  # noqa: RUF012
        "by_owner": lambda account: [(account.owner, account.number)],
        "by_currency": lambda account: [(account.balance.currency,)] if account.balance.minor else [],
    }

    def primary_key(self) -> bytes:
        return key_of(self.owner, self.number)


class Secret(Entity, collection="secret", schema=1):
    text: str

    def primary_key(self) -> bytes:
        return b"only"


class Deposit(Args):
    number: ShortText
    amount: Money
    note: str | UnsetType = UNSET


class Close(Args):
    number: ShortText


class Deposited(Event):
    number: str
    balance: Money
    note: str | UnsetType = UNSET


class OwnerParams(Params):
    owner: str = ""


bank = Module(
    "bank",
    version=1,
    entities=(Account, Secret),
    events=(Deposited,),
    errors={"E_AMOUNT": "The amount is not positive.", "E_CURRENCY": "Another currency.", "E_NONE": "No account."},
)


@bank.command("deposit", args=Deposit, roles=("customer",))
def deposit(ctx: Context, args: Deposit) -> None:
    """Put money into an account, which the first deposit opens."""
    credit(ctx, args.number, args.amount)
    account = ctx.get(Account, key_of(ctx.sender.name, args.number))
    if account is None:
        ctx.fail("E_NONE")
    ctx.emit(Deposited(number=args.number, balance=account.balance, note=args.note))
    # After everything was written: a refusal must still undo it.
    ctx.require(args.amount.minor > 0, "E_AMOUNT")


@bank.command("close", args=Close, roles=("customer", "clerk"))
def close(ctx: Context, args: Close) -> None:
    """Remove an account."""
    ctx.require(ctx.delete(Account, key_of(ctx.sender.name, args.number)), "E_NONE")


@bank.export("credit")
def credit(ctx: Context, number: str, amount: Money) -> None:
    """Add to the sender's account."""
    account = ctx.get(Account, key_of(ctx.sender.name, number))
    if account is None:
        account = Account(ctx.sender.name, number, Money(amount.currency, 0), ctx.time_ms)
    ctx.require(account.balance.currency == amount.currency, "E_CURRENCY")
    ctx.put(replace(account, balance=account.balance + amount, changed_ms=ctx.time_ms))


@bank.query("accounts", params=OwnerParams, item=Account)
def accounts(ctx: QueryContext, params: OwnerParams, limit: int, cursor: bytes | None) -> Page[Account]:
    """Accounts by owner and number."""
    prefix = (params.owner,) if params.owner else ()
    return ctx.page(Account, "by_owner", prefix, limit=limit, cursor=cursor)


@bank.invariant("balances_are_not_negative")
def balances_are_not_negative(ctx: QueryContext) -> list[str]:
    return [account.number for account in ctx.iterate(Account, "by_owner") if account.balance.minor < 0]


class Behave(Args):
    how: Literal[
        "raise", "recurse", "allocate", "exit", "emit", "steps", "swallow", "fat", "type", "wide", "key", "write_other",
        "read_secret", "read_exported", "call", "call_unknown", "call_undeclared", "undeclared_error",
        "undeclared_event", "mixed",
    ]  # fmt: skip
    commitment: Hash32 | UnsetType = UNSET


class Noise(Event):
    text: str


class Stray(Event):
    text: str


class Junk(Entity, collection="junk", schema=1):
    name: str
    number: int
    text: str = ""

    def primary_key(self) -> bytes:
        return self.name.encode()


poison = Module("poison", version=1, entities=(Junk,), events=(Noise,), errors={"E_OWN": "Its own."}, uses=("bank",))


def deeper(n: int) -> int:
    return deeper(n + 1) + 1


@poison.command("behave", args=Behave, roles=ANY_ROLE)
def behave(ctx: Context, args: Behave) -> None:
    """Write something, then misbehave as asked."""
    ctx.put(Junk("before", 1))
    match args.how:
        case "raise":
            raise ValueError("text that must not reach the chain")
        case "recurse":
            deeper(0)
        case "allocate":
            ctx.put(Junk("x" * (10**15), 1))
        case "exit":
            sys.exit(3)
        case "emit":
            for _ in range(1_000):
                ctx.emit(Noise(text="x" * 1_000))
        case "steps":
            for _ in range(1_000_000):
                ctx.get(Junk, b"none")
        case "swallow":
            for _ in range(1_000_000):
                try:
                    ctx.get(Junk, b"none")
                except BaseException:  # noqa: BLE001 - this module misbehaves on purpose
                    return
        case "fat":
            ctx.put(Junk("fat", 1, "x" * 40_000))
        case "type":
            ctx.put(Junk("typed", "not a number"))  # type: ignore[arg-type]
        case "wide":
            ctx.put(Junk("wide", 2**63))
        case "key":
            ctx.put(Junk("k" * 257, 1))
        case "write_other":
            ctx.put(Account("eve", "1", Money("CNY", 1), 0))
        case "read_secret":
            ctx.get(Secret, b"only")
        case "read_exported":
            ctx.get(Account, key_of("anna", "1"))
        case "call":
            ctx.call("bank", "credit", "1", Money("CNY", 7))
        case "call_unknown":
            ctx.call("bank", "close", "1")
        case "call_undeclared":
            ctx.call("governance", "active_admins", "gz")
        case "undeclared_error":
            ctx.fail("E_AMOUNT")
        case "undeclared_event":
            ctx.emit(Stray(text=""))
        case "mixed":
            Money("CNY", 1) + Money("HKD", 1)


MODULES = (bank, poison)
PEOPLE = {
    "anna": ("gz", ["customer"]),
    "ben": ("hk", ["customer"]),
    "clara": ("hk", ["clerk"]),
}
