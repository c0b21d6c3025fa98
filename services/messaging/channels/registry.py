"""Every channel that there is. A new one is a file beside this and a line here."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from services.messaging.channels.email import EMAIL
from services.messaging.channels.socket import Channel
from services.messaging.channels.webhook import WEBHOOK
from services.messaging.channels.wecom_group import WECOM_GROUP
from shared.definitions.template import TemplateHead

CHANNELS: Final[Mapping[str, Channel]] = MappingProxyType({channel.name: channel for channel in (EMAIL, WEBHOOK, WECOM_GROUP)})


def heads(channels: Mapping[str, Channel]) -> dict[str, type[TemplateHead]]:
    """What templates begin with, by channel."""
    return {name: channel.head for name, channel in channels.items()}


def contacts(channels: Mapping[str, Channel]) -> frozenset[str]:
    """Kinds of contact points by which any channel reaches people."""
    return frozenset(channel.head.contact for channel in channels.values() if channel.head.contact is not None)


HEADS: Final[Mapping[str, type[TemplateHead]]] = MappingProxyType(heads(CHANNELS))
