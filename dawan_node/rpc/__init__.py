"""JSON-RPC: how wallets, ERP systems, the explorer and the command line talk to a node.

A newcomer reads in this order: ``api`` (what the RPC layer needs of a node), ``methods`` (one table of all calls),
``values`` and ``shapes`` (how ledger values look in JSON), ``jsonrpc`` (requests, batches and errors; pure),
``dispatch`` (one call from bytes to bytes), ``server`` (HTTP with its own deadlines and caps) and ``client`` (what a
member company's program uses).
"""
