"""``node.toml``: the settings of one node. Flag over environment variable over file over default.

An environment variable is ``DAWAN_<SECTION>__<KEY>``, for example ``DAWAN_RPC__LISTEN=127.0.0.1:7210``; lists are
separated by commas. Nothing here can change what a channel agrees on: rules of a channel are parameters in its
genesis, so that two nodes can never differ in them by configuration.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec

from dawan_node.errors import ConfigError
from dawan_node.node.home import Home
from dawan_node.node.keeping import RETAIN_BLOCKS_MIN, SNAPSHOT_BEHIND, SNAPSHOT_EVERY, Keeping
from dawan_node.node.ports import OPS_PORT, P2P_PORT, RPC_PORT
from dawan_node.node.toml_file import check_keys, nearest, read_toml
from dawan_node.primitives.names import is_label

ENVIRONMENT_PREFIX: Final = "DAWAN_"
# An address of another party is printed and dialled: nothing but what a resolver takes (DNS limits a name to 253).
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}(%[A-Za-z0-9._-]{1,32})?")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of the file."""


class NodeSection(Section, frozen=True):
    """Who this node is. ``home`` is relative to the file, and normally the folder the file lies in.

    ``observer``: this node never votes, whatever consortium.toml or a vote on a channel makes of its key.
    ``verifier``: where transaction signatures are checked; ``auto`` measures at start whether threads gain anything.
    """

    name: str
    org: str
    home: str = "."
    observer: bool = False
    verifier: Literal["auto", "inline", "threads"] = "auto"


class P2PSection(Section, frozen=True):
    """Where peers reach this node: it listens on ``listen`` and tells them ``advertise``.

    ``revocation``: what it makes of organisations whose revocation list is missing or out of date. ``soft`` accepts
    their certificates and warns; ``hard`` refuses their nodes until a current list is there. Revoked is refused always.
    """

    listen: str = f"127.0.0.1:{P2P_PORT}"
    advertise: tuple[str, ...] = ()
    revocation: Literal["soft", "hard"] = "soft"


class RpcSection(Section, frozen=True):
    """JSON-RPC for applications. ``allow_hosts``: names accepted in the Host header (against DNS rebinding)."""

    listen: str = f"127.0.0.1:{RPC_PORT}"
    allow_hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    tls: bool = False


class OpsSection(Section, frozen=True):
    """Health and metrics, a listener of its own so that it can stay inside."""

    listen: str = f"127.0.0.1:{OPS_PORT}"


class RetainSection(Section, frozen=True):
    """Which blocks are kept: the newest ``blocks`` and all of the last ``days``, whichever is more; 0 and 0: all."""

    blocks: Annotated[int, msgspec.Meta(ge=0)] = 0
    days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] = 0


class StorageSection(Section, frozen=True):
    """``history``: heights at which state can still be read (design section 6: 10,000 blocks of before-images).

    ``retain`` holds for all channels but those named under ``channel``. ``snapshot_every``: heights between two
    snapshots this node makes for newcomers, 0 for none. ``snapshot_behind``: from how many blocks on it fetches a
    snapshot itself, 0 for never. ``reserve_mib``: kept back for the recovery of a full disk (``storage.room``); less on
    a small disk.
    """

    history: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    retain: RetainSection = RetainSection()
    channel: Mapping[str, RetainSection] = msgspec.field(default_factory=dict)
    snapshot_every: Annotated[int, msgspec.Meta(ge=0)] = SNAPSHOT_EVERY
    snapshot_behind: Annotated[int, msgspec.Meta(ge=0)] = SNAPSHOT_BEHIND
    reserve_mib: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 256

    def keeping(self, channel: str, folder: Path) -> Keeping:
        """What is kept of one channel, whose data is in ``folder``."""
        retain = self.channel.get(channel, self.retain)
        return Keeping(folder, retain.blocks, retain.days, self.snapshot_every, self.snapshot_behind)


class LogSection(Section, frozen=True):
    """``logfmt`` is ``event key=value``, made for eyes; ``json`` for machines."""

    format: Literal["logfmt", "json"] = "logfmt"
    level: Literal["debug", "info", "warning", "error"] = "info"


class DevnetSection(Section, frozen=True):
    """``faults``: accept commands that cut this node's links and move its clock. Only for local test networks."""

    faults: bool = False


class Config(Section, frozen=True):
    """All settings of one node."""

    node: NodeSection
    p2p: P2PSection = P2PSection()
    rpc: RpcSection = RpcSection()
    ops: OpsSection = OpsSection()
    storage: StorageSection = StorageSection()
    log: LogSection = LogSection()
    devnet: DevnetSection = DevnetSection()

    def home(self, folder: Path) -> Home:
        """The node's home, for a file that lies in ``folder``."""
        return Home((folder / self.node.home).resolve())


_KEYS: Final = {
    section.encode_name: {field.encode_name: field.type for field in msgspec.structs.fields(section.type)}
    for section in msgspec.structs.fields(Config)
}


def load(file: Path, *, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None) -> Config:
    """The settings in ``file``, overridden by ``environment`` (``DAWAN_...``), then by ``flags`` (``rpc.listen``).

    Raises ConfigError naming the file or variable, the key, and what would be valid.
    """
    document = read_toml(file)
    check_keys(str(file), document, Config)
    origin: dict[str, str] = {}
    for name, text in sorted((environment or {}).items()):
        if key := _key_of_variable(name):
            _override(document, key, text)
            origin[key] = f"environment variable {name}"
    for key, text in (flags or {}).items():
        _override(document, key, text)
        origin[key] = f"option --{key.replace('.', '-')}"
    try:
        # Lax, because a variable or flag is text: "7110" and "true" become what the field wants.
        config = msgspec.convert(document, Config, strict=not origin)
    except msgspec.ValidationError as error:
        words = str(error)
        key = next((key for key in origin if f"`$.{key}" in words), "")
        raise ConfigError(
            f"{origin.get(key, file)} is refused", words.replace("$.", ""), "Correct that value."
        ) from None
    _check(config, lambda key: origin.get(key, str(file)))
    return config


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``. Raises ValueError with a sentence."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(f"{text!r} is not host:port with a port from 0 to 65535")
    if ":" in host:
        if not (host.startswith("[") and host.endswith("]")):
            raise ValueError(f"{text!r}: an IPv6 address stands in square brackets")
        host = host[1:-1]
        if not _IPV6.fullmatch(host):
            raise ValueError(f"{text!r}: there is no IPv6 address in the brackets")
    elif not _HOST.fullmatch(host):
        raise ValueError(f"{text!r}: a host is a name of letters, digits, '-', '_' and '.', or an IP address")
    return host, int(port)


def local_host(host: str) -> str:
    """Where this machine reaches a listener on ``host``: one on every address, at this machine's own."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _key_of_variable(name: str) -> str:
    """``rpc.listen`` for ``DAWAN_RPC__LISTEN``; empty for variables that are not settings."""
    if not name.startswith(ENVIRONMENT_PREFIX):
        return ""
    words = name.removeprefix(ENVIRONMENT_PREFIX).lower()
    variables = {f"{section}__{key}": f"{section}.{key}" for section, keys in _KEYS.items() for key in keys}
    if words in variables:
        return variables[words]
    almost = {variable.replace("__", "_"): variable for variable in variables}
    if "__" in words or words in almost:
        hint = almost.get(words)
        _refuse(
            f"environment variable {name}",
            f"the nearest valid one is {ENVIRONMENT_PREFIX}{hint.upper()}"
            if hint
            else nearest(name, [ENVIRONMENT_PREFIX + variable.upper() for variable in variables]),
            "Correct or unset it.",
        )
    return ""


def _override(document: dict[str, Any], key: str, text: str) -> None:
    section, _, name = key.partition(".")
    kind = _KEYS.get(section, {}).get(name)
    if kind is None:
        _refuse(f"option {key}", nearest(key, [f"{s}.{k}" for s, keys in _KEYS.items() for k in keys]), "Correct it.")
    listed = [part.strip() for part in text.split(",") if part.strip()]
    document.setdefault(section, {})[name] = listed if kind == tuple[str, ...] else text


def _check(config: Config, origin: Any) -> None:
    """What the types cannot say."""
    for key, name in (("node.name", config.node.name), ("node.org", config.node.org)):
        if not is_label(name):
            _refuse(f"{origin(key)}: {key} = {name!r}", "a name is [a-z][a-z0-9-]{0,31}", "Correct it.")
    for key, retain in (
        ("storage.retain", config.storage.retain),
        *((f"storage.channel.{name}", retain) for name, retain in config.storage.channel.items()),
    ):
        if 0 < retain.blocks < RETAIN_BLOCKS_MIN:
            _refuse(
                f"{origin(key)}: {key}.blocks = {retain.blocks}",
                f"peers and proofs need the newest {RETAIN_BLOCKS_MIN:,} blocks",
                f"Set {RETAIN_BLOCKS_MIN} or more, or 0 to keep all.",
            )
    listeners = {
        "p2p.listen": [config.p2p.listen],
        "p2p.advertise": list(config.p2p.advertise),
        "rpc.listen": [config.rpc.listen],
        "ops.listen": [config.ops.listen],
    }
    for key, addresses in listeners.items():
        for address in addresses:
            try:
                parse_address(address)
            except ValueError as error:
                _refuse(f"{origin(key)}: {key}", str(error), "Correct it.")
    if not config.rpc.tls and not is_loopback(parse_address(config.rpc.listen)[0]):
        _refuse(
            f"{origin('rpc.listen')}: rpc.listen = {config.rpc.listen!r}",
            "other machines could reach JSON-RPC without TLS",
            'Listen on 127.0.0.1, or set "tls = true" in [rpc].',
        )


def _refuse(what: str, why: str, fix: str) -> NoReturn:
    raise ConfigError(what, why, fix)
