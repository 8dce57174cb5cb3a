"""The TCP ports a node listens on unless node.toml says otherwise. Apart, because ``init --help`` shows them."""

from __future__ import annotations

from typing import Final

P2P_PORT: Final = 7100
RPC_PORT: Final = 7110
OPS_PORT: Final = 7120
