"""Peers: who they are, what travels between them, and the links that carry it.

Pure parts, which hold no socket and no clock: ``framing`` (bytes to frames), ``handshake`` (who is at the other
end), ``judgement`` (whose certificates count, at the door and inside), ``standing`` (whether a link still fits the list
of nodes and channels), ``failure`` (what an operator reads), ``gossip`` (messages that spread transactions and blocks),
``peers`` (whom to dial, when, and whom to avoid) and ``send_queue`` (what leaves first). The shell around them: ``tls``
(a socket through TLS), ``transport`` (one link), ``meeting`` (from a connection to a link both keep), ``door`` and
``dialling`` (the two ways in), ``network`` (all of them, supervised) and ``probe`` (what `doctor` asks).
"""
