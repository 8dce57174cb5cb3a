"""What a replica may keep, whatever it is sent (consensus.md 1.14), as one assertion per collection."""

from __future__ import annotations

from dawan_node.consensus import Replica
from dawan_node.consensus.state import EVIDENCE_MAX
from dawan_node.consensus.verification import VERIFIED_MAX


def sizes_and_bounds(replica: Replica) -> dict[str, tuple[int, int]]:
    """(size, bound) of everything that messages make grow."""
    state = replica._state
    log, chain, tree = state.log, state.chain, state.tree
    n, window = state.validators.n, state.window
    slots = [*log.slots.values(), *log.older.values()]
    repair, suspicion, changer = replica._repair, replica._suspicion, replica._view_changer
    pinned = [block for block in tree.blocks() if block.pinned]
    return {
        # 2W above the head for votes, and what O brings again, which lies at most W above the view's floor.
        "slots": (len(log.slots), 4 * window),
        "older slots": (len(log.older), 4 * window),
        "votes": (
            max((max(len(slot.prepares), len(slot.commits)) for slot in slots), default=0),
            n,
        ),
        "authors of later votes": (len(log._later), n),
        "later votes": (max((len(votes) for votes in log._later.values()), default=0), 4 * window),
        "prepared": (len(state.prepared), 4 * window),
        "certificates": (len(chain.certificates), 2 * window),
        "proven": (len(chain.proven), 2 * window),
        "recent": (len(chain.recent), 2 * window),
        # Each slot, PC, proof and VIEW-CHANGE makes at most one header known. Pinned ones stay until their height is
        # decided (L5): at most W for each view in which this replica accepted anything.
        "headers": (len(tree.blocks()) - len(pinned), 8 * window + n),
        "pinned headers": (len(pinned), window * (state.view + 1)),
        "own votes": (len(state.own_records), 4 * window),
        "view changes": (len(changer.view_changes), n),
        "view change times": (len(changer._taken_at), n),
        "due votes": (len(changer.due_votes), 0),
        "wishes": (len(suspicion.wishes.views()), n),
        "signs of life": (len(suspicion._heard_at), n),
        "claims": (len(repair._claims), n),
        "told": (len(repair._told), n),
        "helped": (len(repair._helped), n),
        "evidence": (len(state._evidence), EVIDENCE_MAX),
        "refusals": (len(state._refused), 4 * window + n),
        "verified signatures": (len(state.verifier._seen), VERIFIED_MAX),
    }


def assert_bounded(replica: Replica) -> None:
    """Every collection is within its bound."""
    over = {name: pair for name, pair in sizes_and_bounds(replica).items() if pair[0] > pair[1]}
    assert not over, over
