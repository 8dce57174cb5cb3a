"""A module of the benchmark's own, for channels that carry bytes and nothing else: ``payload.record``.

It is found as a member's own module is: ``workloads.Payload.install`` copies it and writes an entry point.
"""

from __future__ import annotations

from typing import Annotated

from dawan_node.execution.module import Args, Context, Entity, Meta, Module, key_of

#: Twice the largest size that is measured.
DATA_BYTES_MAX = 16 * 1024


class Kept(Entity, collection="kept", schema=1):
    number: int
    owner: str
    data: bytes

    def primary_key(self) -> bytes:
        return key_of(self.owner, f"{self.number:012d}")


class Record(Args):
    number: Annotated[int, Meta(ge=0)]
    data: Annotated[bytes, Meta(max_length=DATA_BYTES_MAX)]


module = Module("payload", version=1, entities=(Kept,), events=(), errors={})


@module.command("record", args=Record, roles=("supplier",))
def record(ctx: Context, args: Record) -> None:
    """Keep the bytes."""
    ctx.put(Kept(number=args.number, owner=ctx.sender.name, data=args.data))
