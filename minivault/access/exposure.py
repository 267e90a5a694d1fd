"""What must hold before a server starts: settings that can be used, and a key where other machines can reach it."""

from __future__ import annotations

from collections.abc import Iterable

from minivault.access.caller import Meter
from minivault.access.hosts import OriginPolicy
from minivault.access.keyring import Keyring
from minivault.access.offline import is_loopback
from minivault.access.rates import Rates
from minivault.config import Settings
from minivault.errors import ConfigError


def check_access(settings: Settings, addresses: Iterable[tuple[str, int] | str] = ()) -> None:
    """Raise ConfigError for a limit, origin or storage that is none, and when other machines could call the server
    while no valid key exists. Opens no file but the keys.

    `addresses` are those really bound, `(host, port)` or the path of a socket, where they may differ from the setting.
    """
    OriginPolicy.of(settings)
    Meter(settings, Rates.of(settings))
    hosts = [address[0] for address in addresses if isinstance(address, tuple)]
    is_exposed = not settings.is_loopback or not all(is_loopback(host) for host in hosts)
    if not is_exposed or Keyring(settings.keys_file).has_valid_key:
        return
    bind = ", ".join(hosts) or settings.bind
    raise ConfigError(
        f"the server would be reachable from other machines at {bind}, and there is no key; "
        "run `minivault keys create NAME` first, or bind 127.0.0.1",
        field="MINIVAULT_BIND",
    )
