"""Deterministic execution: what a decided order of transactions does to the state of a channel.

``module`` is the SDK that channel modules are written against, ``registry`` finds the modules of a channel,
``state`` layers the changes of undecided blocks over the stored state, ``state_tree`` keeps the Merkle tree under
``state_root``, and ``executor`` runs blocks. Same header, same parent state, same transactions: same bytes out.
"""
