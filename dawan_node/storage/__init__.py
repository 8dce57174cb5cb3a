"""Everything a node keeps on disk.

Two kinds of store with two kinds of promise:

* Each channel has one **database** (:mod:`.leveldb` behind the :mod:`.kv` protocol; key layouts in :mod:`.schema`)
  that holds only decided blocks and the state they lead to. :mod:`.channel_store` writes a decided block, its
  receipts and every state change in one synced batch, so the database is always at exactly one height.
* The whole node has one **write-ahead log** (:mod:`.wal`) of what its validator keys have signed. It is what
  keeps a validator honest over a crash, and it is never re-created by a running node.

Disks lie, fill up and rot. The one rule for all of it: any doubt is a ``StorageError``, the handle that raised it
refuses every further call, and only a restart (reopen, verify, compare) may go on.
"""
