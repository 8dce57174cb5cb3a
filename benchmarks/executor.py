"""What executing a block costs per transaction, the state tree apart: ``python -m benchmarks.executor``.

The workload is the smallest honest one: a module with one entity, one index and one event, a thousand transactions by
a hundred signers in a block. Half of them insert a record, half replace one. Signatures are not verified here; on a
node that happens once, elsewhere. Figures are processor time, the median over the blocks.
"""

from __future__ import annotations

import statistics
import time

from benchmarks.timing import parser_of, tell
from dawan_node.execution.executor import Executor
from dawan_node.execution.module import Args, Context, Entity, Event, Module, Money, ShortText, key_of
from dawan_node.testing.module_kit import ModuleKit


class Account(Entity, collection="account", schema=1):
    owner: str
    number: str
    balance: Money
    changed_ms: int

    indexes = {"by_owner": lambda account: [(account.owner, account.number)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.owner, self.number)


class Deposit(Args):
    number: ShortText
    amount: Money


class Deposited(Event):
    number: str
    balance: Money


bank = Module("bank", version=1, entities=(Account,), events=(Deposited,), errors={"E_AMOUNT": "Not positive."})


@bank.command("deposit", args=Deposit, roles=("customer",))
def deposit(ctx: Context, args: Deposit) -> None:
    """Put money into an account, which is opened by the first deposit."""
    ctx.require(args.amount.minor > 0, "E_AMOUNT")
    account = ctx.get(Account, key_of(ctx.sender.name, args.number))
    balance = args.amount if account is None else account.balance + args.amount
    ctx.put(Account(ctx.sender.name, args.number, balance, ctx.time_ms))
    ctx.emit(Deposited(number=args.number, balance=balance))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--transactions", type=int, default=1_000)
    options = parser.parse_args()
    people = {f"customer-{number:03}": ("gz", ["customer"]) for number in range(100)}
    kit = ModuleKit([bank], people)
    # A node's own: the kit's watches what its commands write.
    executor = Executor(kit.executor.registry, kit.genesis)
    names = sorted(people)
    execute_us: list[float] = []
    check_us: list[float] = []
    tree_us: list[float] = []
    for block in range(options.blocks):
        transactions = [
            kit.call(
                names[number % 100],
                "deposit",
                {
                    "number": f"A{(number // 100) if number % 2 else number}-{block * (number % 2)}",
                    "amount": ["CNY", 5],
                },
            )
            for number in range(options.transactions)
        ]
        header = kit.header(transactions)
        started = time.thread_time()
        executor.check_block(kit.state, kit.time_ms, header, transactions)
        checked = time.thread_time()
        execution = executor.execute(kit.state, kit._result, header, transactions)
        executed = time.thread_time()
        _tree_again(kit, execution)
        tree = time.thread_time() - executed
        kit.block(*transactions)
        per = 1e6 / options.transactions
        check_us.append((checked - started) * per)
        tree_us.append(tree * per)
        execute_us.append((executed - checked - tree) * per)
    figures = {
        "check_block, us per transaction": statistics.median(check_us),
        "execute, state tree apart, us per transaction": statistics.median(execute_us),
        "state tree, us per transaction": statistics.median(tree_us),
    }
    tell(figures, options.json)


def _tree_again(kit: ModuleKit, execution: object) -> None:
    """The tree update of the block once more, to subtract it."""
    from dawan_node.execution.executor import _update_tree

    _update_tree(kit.state, execution.changes.state)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
