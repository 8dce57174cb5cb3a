"""Whole networks of nodes in one thread, from one seed: what a replica, its pool, its executor, its store and its
catch-up make of a world that crashes, lies, delays and forgets.

Everything between the sockets and the disk is the node's own code (``node.channel.Channel`` with its driver,
admission, gatherer, applier and catch-up, over a write-ahead log and a key-value store). Not real are the clock
(``world``), the network (``network``), the disk (``testing.simulated_disk``), threads (``runtime``) and, in most runs,
Ed25519 (a hash stands for it). Read in this order: ``contract`` (the channel), ``world``, ``node``, ``network``,
``checks`` (what must never happen), ``plan`` (what a seed means), ``scene`` (one run), ``campaign`` (many).
"""
