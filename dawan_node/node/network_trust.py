"""Whom the files of a home say to believe: registered authorities, and the revocation lists beside consortium.toml.

Commands and ``doctor`` go by it. The channels may have decided otherwise since; only a running node knows
(``node.directory``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from dawan_node.crypto.revocation import RevocationRule, Revocations, load_revocation_list
from dawan_node.crypto.trust import Trust
from dawan_node.errors import ConfigError, UntrustedCertificate
from dawan_node.node.home import Home, read_revocation_lists, revocation_files


def network_trust(
    home: Home, roots: Mapping[str, Sequence[bytes]], rule: RevocationRule, now: datetime
) -> tuple[Trust, list[tuple[Path, str]]]:
    """``roots`` with every list in HOME/network/crl that counts, and the files that do not, each with the reason."""
    lists, troubles = [], []
    for org, path in revocation_files(home).items():
        try:
            lists += [load_revocation_list(der, org, roots.get(org, ()), now) for der in read_revocation_lists(path)]
        except UntrustedCertificate as error:
            troubles.append((path, str(error)))
        except ConfigError as error:
            troubles.append((path, error.why))
    return Trust(roots, Revocations.collect(roots, lists, rule)), troubles
