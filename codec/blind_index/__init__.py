"""Search for exact values on a service that cannot read them: keyword search attributes as keyed hashes."""

from temporalio import workflow

# As in `codec` itself: a module of workflows may import this, and its libraries cannot be loaded twice.
with workflow.unsafe.imports_passed_through():
    from codec.blind_index.filters import asks_for_hashes, translated_filter
    from codec.blind_index.index import MARK, BlindIndex, BlindIndexError
    from codec.blind_index.messages import IndexedMessages

__all__ = ["MARK", "BlindIndex", "BlindIndexError", "IndexedMessages", "asks_for_hashes", "translated_filter"]
