"""Which channels there are, so that templates are checked as messaging will read them before they reach the log.

The one import of another service: a channel is registered in one place, and templates of a channel that control did not know would be
applied unread.
"""

from services.messaging.channels.registry import HEADS as HEADS
