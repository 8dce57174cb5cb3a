"""Enterprises as regulators count them: size, district and group, for statistics and for exposure by group.

A banking regulator says it, not the enterprise itself, which would gain from being small. The newest statement holds;
earlier ones stand in the blocks. Nothing but reports depends on it.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Meta, ShortText
from dawan_node.modules.receivable.checks import active_party
from dawan_node.modules.receivable.declaration import EnterpriseClassified, module
from dawan_node.modules.receivable.supervised import EnterpriseProfile, EnterpriseSize
from dawan_node.primitives.names import is_label

#: Who counts enterprises in Macau, Hong Kong and the mainland.
REGULATORS: Final = ("amcm", "hkma", "pboc")

# GB/T 2260 divisions have six digits; HK and MO have no such number and are places of their own here.
_DISTRICT: Final = re.compile("[0-9]{6}|HK|MO")


class ClassifyEnterprise(Args):
    """``district``: six digits, HK or MO; ``group``: a name like those of the channel, empty for none."""

    party: ShortText
    size: EnterpriseSize
    district: ShortText
    group: Annotated[str, Meta(max_length=32)] = ""


@module.command("classify_enterprise", args=ClassifyEnterprise, roles=REGULATORS)
def classify_enterprise(ctx: Context, args: ClassifyEnterprise) -> None:
    """A banking regulator states an enterprise's size, district and group for its statistics."""
    party = active_party(ctx, args.party)
    ctx.require(party.org != ctx.sender.org, "E_SELF_DEALING")
    named = args.group == "" or is_label(args.group)
    ctx.require(_DISTRICT.fullmatch(args.district) is not None and named, "E_PROFILE")
    ctx.put(
        EnterpriseProfile(
            party=party.name,
            size=args.size,
            district=args.district,
            group=args.group,
            classified_by=ctx.sender.name,
            classified_date=ctx.business_date,
        )
    )
    ctx.emit(EnterpriseClassified(party=party.name, size=args.size, group=args.group))
