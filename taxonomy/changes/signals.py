"""What other apps may say of a change set, without this app knowing them."""

from django.dispatch import Signal

# Sent in each active tenant's schema. kwargs: `affected` (taxonomy.changes.impact.Affected) and
# `since` (datetime). A receiver returns counts by name, such as {"events": 12}.
impact_asked = Signal()
