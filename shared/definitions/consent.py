"""The consent file: per channel, what marketing needs. One a workspace."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.definitions.models import Definition, Part
from shared.definitions.segment import Name


class ChannelConsent(Part):
    """`opt_in`: only who has said yes. `opt_out`: everybody but those who have said no. Transactional messages need no consent."""

    marketing: Literal["opt_in", "opt_out"] = "opt_in"


class ConsentPolicy(Definition):
    """What each channel needs; a channel that is not named is `opt_in`."""

    kind: ClassVar[str] = "consent"
    only_one: ClassVar[bool] = True

    consent: Name
    channels: Annotated[dict[str, ChannelConsent], Field(default_factory=dict)]
