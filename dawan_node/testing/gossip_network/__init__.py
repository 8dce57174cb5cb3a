"""Gossip among sixty nodes in virtual time: the pure parts of ``p2p`` on a simulated network, with attackers.

``network`` carries real encoded messages over links that are late and lossy, ``attackers`` are the members that play
foul, ``scenarios`` says what is tried and what must come of it.
"""
