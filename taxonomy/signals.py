"""What other apps may check before knowledge is loaded, without this app knowing them."""

from django.dispatch import Signal

# Sent before anything is written. kwargs: documents (taxonomy.selectors.KnowledgeDocuments, the
# release as it would be). A receiver returns problems, each naming file, field and remedy (or
# None); a single one of them stops the load.
knowledge_checked = Signal()
