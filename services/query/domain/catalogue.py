"""What a time series may count, sum and group by: the only names that reach the text of a query.

The event spec's own properties; a property that is not listed cannot be asked for, so no name of a client's ever becomes SQL.
"""

from enum import StrEnum
from typing import Final


class Measure(StrEnum):
    """`unique_people`: distinct profiles, merges resolved. `sum`: of one numeric property, exact to four decimals."""

    COUNT = "count"
    UNIQUE_PEOPLE = "unique_people"
    SUM = "sum"


class Interval(StrEnum):
    """Calendar intervals of the query's time zone; weeks begin on Monday."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class NumericProperty(StrEnum):
    """Properties that can be summed. `revenue` is `total` where an event says no revenue."""

    REVENUE = "revenue"
    TOTAL = "total"
    SUBTOTAL = "subtotal"
    VALUE = "value"
    SHIPPING = "shipping"
    TAX = "tax"
    DISCOUNT = "discount"
    PRICE = "price"
    QUANTITY = "quantity"


class Grouping(StrEnum):
    """What a series can be split by."""

    SOURCE_ID = "source_id"
    CURRENCY = "currency"
    AFFILIATION = "affiliation"
    COUPON = "coupon"
    PAYMENT_METHOD = "payment_method"
    SHIPPING_METHOD = "shipping_method"
    CATEGORY = "category"
    BRAND = "brand"
    PRODUCT_ID = "product_id"
    SKU = "sku"
    VARIANT = "variant"
    COUNTRY = "country"
    CHANNEL = "channel"
    PLAN = "plan"
    LIST_ID = "list_id"
    PROMOTION_ID = "promotion_id"
    UTM_SOURCE = "utm_source"
    UTM_MEDIUM = "utm_medium"
    UTM_CAMPAIGN = "utm_campaign"
    LOCALE = "locale"
    LIBRARY = "library"


COLUMNS: Final = frozenset({Grouping.SOURCE_ID, Grouping.CURRENCY})
"""Groupings that are columns of their own."""

CONTEXT_PATHS: Final = {
    Grouping.UTM_SOURCE: ("campaign", "source"),
    Grouping.UTM_MEDIUM: ("campaign", "medium"),
    Grouping.UTM_CAMPAIGN: ("campaign", "name"),
    Grouping.LOCALE: ("locale",),
    Grouping.LIBRARY: ("library", "name"),
}
"""Groupings that stand in the event's context; all others are properties."""
