"""What lies in an object store: offloaded payloads, and files in chunks."""

from __future__ import annotations

from hypothesis import strategies as st
from obstore.store import MemoryStore
from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverClaim, StorageDriverRetrieveContext, StorageDriverStoreContext

from codec import CodecError, ObjectStoreDriver
from codec.storage.object_store import OpenStore
from tests.codec import files_tampering, test_files_chunks
from tests.tampering import WrongValueError, count, errs, kind, run


@kind("offloaded objects damaged, and references altered", weight=15)
def offloaded(data: st.DataObject) -> None:
    """An object cut, lengthened, flipped, exchanged or gone; a reference to another object or to nowhere."""
    store = MemoryStore()
    driver = ObjectStoreDriver(OpenStore(store, "memory"), namespace="orders.acme")
    contents = [data.draw(st.binary(min_size=1, max_size=300)) + bytes([number]) for number in range(2)]
    payloads = [
        Payload(metadata={"encoding": b"binary/tacit-encrypted"}, data=content) for content in contents
    ]
    claims = run(driver.store(StorageDriverStoreContext(), payloads))
    [first, second] = sorted(str(meta["path"]) for batch in store.list() for meta in batch)
    whole = bytes(store.get(first).bytes())
    claim = dict(claims[0].claim_data)
    # Which of the two objects is the first payload's is the hashes' choice: damage is done to both, or to the reference.
    match data.draw(st.sampled_from(["cut", "longer", "flip", "exchange", "gone", "reference"])):
        case "cut":
            for path in (first, second):
                content = bytes(store.get(path).bytes())
                store.put(path, content[: data.draw(st.integers(0, len(content) - 1))])
        case "longer":
            for path in (first, second):
                store.put(
                    path, bytes(store.get(path).bytes()) + data.draw(st.binary(min_size=1, max_size=40))
                )
        case "flip":
            for path in (first, second):
                content = bytearray(store.get(path).bytes())
                at = data.draw(st.integers(0, len(content) * 8 - 1))
                content[at // 8] ^= 1 << at % 8
                store.put(path, bytes(content))
        case "exchange":
            store.put(first, bytes(store.get(second).bytes()))
            store.put(second, whole)
        case "gone":
            store.delete([first, second])
        case _:
            field = data.draw(st.sampled_from(sorted(claim)))
            other = data.draw(
                st.one_of(st.text(max_size=70), st.sampled_from(["../..", "a" * 64, "0", "-1", "9" * 20]))
            )
            if other == claim[field]:
                return
            claim[field] = other
    fetched = ObjectStoreDriver(OpenStore(store, "memory"), namespace="orders.acme")
    errs(lambda: run(fetched.retrieve(StorageDriverRetrieveContext(), [StorageDriverClaim(claim)])))


@kind("chunks of files replayed, exchanged and cut", weight=15)
def chunks(data: st.DataObject) -> None:
    """The cases of the files' own test."""
    content = data.draw(st.binary(min_size=1, max_size=900))
    test_files_chunks.test_any_change_of_a_segment_is_an_error.hypothesis.inner_test(  # type: ignore[attr-defined]
        content=content, data=data
    )
    count("ChunkInvalid")


@kind("files in the store, and their handles", weight=15)
def files(data: st.DataObject) -> None:
    """The cases of the files' own strategy: read as a client would."""
    tampering = data.draw(files_tampering.tamperings())
    found = run(files_tampering.outcome(tampering))
    if not isinstance(found, CodecError):
        raise WrongValueError(f"{tampering.kind}: content was taken in")
    count(type(found).__name__)
