"""Which presentation context carries an object: as stored where the peer agreed, and never on one it did not."""

from hypothesis import given
from hypothesis import strategies as st

from leadglass.doors.dimse.store_scu import UNCOMPRESSED, StoreContexts, proposals
from leadglass.wire.ul.negotiation import AcceptedContext

CLASSES = [f"1.2.840.10008.5.1.4.1.1.{n}" for n in range(1, 90)]
COMPRESSED = [f"1.2.840.10008.1.2.4.{n}" for n in (50, 70, 80, 90, 91, 201, 202)]
ENCODINGS = st.lists(
    st.tuples(st.sampled_from(CLASSES), st.sampled_from([*UNCOMPRESSED, *COMPRESSED])), max_size=300
)


@given(ENCODINGS)
def test_a_proposal_fits_an_association(encodings: list[tuple[str, str]]) -> None:
    contexts = proposals(encodings)
    assert len(contexts) <= 128
    ids = [context.context_id for context in contexts]
    assert all(number % 2 == 1 and 1 <= number <= 255 for number in ids)
    assert len(set(ids)) == len(ids)
    assert all(context.transfer_syntaxes for context in contexts)
    assert {context.abstract_syntax for context in contexts} <= {uid for uid, _ in encodings}


@given(st.lists(st.tuples(st.sampled_from(CLASSES[:20]), st.sampled_from([*UNCOMPRESSED, *COMPRESSED[:1]]))))
def test_what_fits_is_proposed_as_stored_in_a_context_of_its_own(encodings: list[tuple[str, str]]) -> None:
    contexts = proposals(encodings)
    single = {
        (context.abstract_syntax, context.transfer_syntaxes[0])
        for context in contexts
        if len(context.transfer_syntaxes) == 1
    }
    assert set(encodings) <= single
    for uid, _ in encodings:
        offered = {s for c in contexts if c.abstract_syntax == uid for s in c.transfer_syntaxes}
        assert set(UNCOMPRESSED) <= offered, "every class can be had uncompressed too"


def test_fall_backs_give_way_first() -> None:
    encodings = [(uid, syntax) for uid in CLASSES[:16] for syntax in COMPRESSED]
    contexts = proposals([*encodings, *((uid, COMPRESSED[0]) for uid in CLASSES[16:32])])
    assert len(contexts) == 128
    assert {(c.abstract_syntax, c.transfer_syntaxes[0]) for c in contexts} >= set(encodings)


def accepted(
    number: int, uid: str, syntax: str, *, scu: bool = True, scp: bool = False
) -> tuple[int, AcceptedContext]:
    return number, AcceptedContext(
        context_id=number, abstract_syntax=uid, transfer_syntax=syntax, requestor_scu=scu, requestor_scp=scp
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(CLASSES[:3]), st.sampled_from([*UNCOMPRESSED, *COMPRESSED])), max_size=12
    ),
    st.sampled_from(CLASSES[:3]),
    st.sampled_from([*UNCOMPRESSED, *COMPRESSED]),
)
def test_the_choice(agreed: list[tuple[str, str]], wanted: str, stored_as: str) -> None:
    contexts = dict(accepted(2 * i + 1, uid, syntax) for i, (uid, syntax) in enumerate(agreed))
    chosen = StoreContexts.of(contexts, as_requestor=True).choose(wanted, stored_as)
    of_class = [syntax for uid, syntax in agreed if uid == wanted]
    if stored_as in of_class:
        assert chosen is not None
        assert chosen[1] == stored_as
    elif any(syntax in of_class for syntax in UNCOMPRESSED):
        assert chosen is not None
        assert chosen[1] in UNCOMPRESSED
    else:
        assert chosen is None
    if chosen is not None:
        context = contexts[chosen[0]]
        assert (context.abstract_syntax, context.transfer_syntax) == (wanted, chosen[1])


def test_roles_count() -> None:
    contexts = dict(
        (
            accepted(1, CLASSES[0], UNCOMPRESSED[0], scu=True, scp=False),
            accepted(3, CLASSES[1], UNCOMPRESSED[0], scu=False, scp=True),
        )
    )
    as_requestor = StoreContexts.of(contexts, as_requestor=True)
    assert as_requestor.choose(CLASSES[0], UNCOMPRESSED[0]) == (1, UNCOMPRESSED[0])
    assert as_requestor.choose(CLASSES[1], UNCOMPRESSED[0]) is None
    as_acceptor = StoreContexts.of(contexts, as_requestor=False)
    assert as_acceptor.choose(CLASSES[0], UNCOMPRESSED[0]) is None
    assert as_acceptor.choose(CLASSES[1], UNCOMPRESSED[0]) == (3, UNCOMPRESSED[0])
