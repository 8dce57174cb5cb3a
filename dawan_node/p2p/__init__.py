"""Peers: who they are, what travels between them, and the links that carry it.

Pure parts, which hold no socket and no clock: ``framing`` (bytes to frames), ``handshake`` (who is at the other
end), ``gossip`` (messages that spread transactions and blocks), ``peers`` (whom to dial, when, and whom to avoid)
and ``send_queue`` (what leaves first). The shell around them: ``transport`` (one TLS link) and ``network`` (all of
them, supervised).
"""
