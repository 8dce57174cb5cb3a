"""Carrying proofs from one channel to another (issue 7; domain.md 3; docs/cross-channel.md).

A relay need not be trusted and decides nothing: the channel that gets a proof verifies every signature in it, and uses
what it says once. So a relay may be anybody, there may be several, and one that dies is started again. What it must not
do is to let a proof lie: until a title's channel hears what became of a reservation, the title stays locked.

Files by noun: ``source`` is the channel that proves, ``target`` the one that believes, ``errands`` what is carried,
``carrier`` carries it, ``follower`` does so again and again, ``refusals`` says why not.
"""
