"""Any valid PDU, for hypothesis."""

from hypothesis import strategies as st

from leadglass.base.secret import Secret
from leadglass.wire.ul.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    AsyncOperations,
    ContextResult,
    PresentationContextAC,
    PresentationContextRQ,
    ReleaseRP,
    ReleaseRQ,
    RoleSelection,
    SOPClassCommonExtended,
    SOPClassExtended,
    UserIdentity,
    UserIdentityResponse,
    UserIdentityType,
    UserInformation,
)

octet = st.integers(0, 255)
short = st.integers(0, 0xFFFF)
uids = st.lists(st.integers(0, 10**9), min_size=1, max_size=6).map(lambda parts: ".".join(map(str, parts)))
ae_titles = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), min_size=1, max_size=16
)
odd_ids = st.integers(0, 127).map(lambda n: 2 * n + 1)
secrets = st.binary(max_size=40).map(Secret)

user_informations = st.builds(
    UserInformation,
    maximum_length=st.integers(0, 2**32 - 1),
    implementation_class_uid=st.one_of(st.just(""), uids),
    implementation_version_name=st.one_of(st.just(""), ae_titles),
    async_operations=st.one_of(st.none(), st.builds(AsyncOperations, short, short)),
    role_selections=st.lists(st.builds(RoleSelection, uids, st.booleans(), st.booleans()), max_size=3).map(
        tuple
    ),
    sop_class_extended=st.lists(st.builds(SOPClassExtended, uids, st.binary(max_size=20)), max_size=3).map(
        tuple
    ),
    sop_class_common_extended=st.lists(
        st.builds(SOPClassCommonExtended, uids, uids, st.lists(uids, max_size=3).map(tuple)), max_size=2
    ).map(tuple),
    user_identity=st.one_of(
        st.none(), st.builds(UserIdentity, st.sampled_from(UserIdentityType), st.booleans(), secrets, secrets)
    ),
    user_identity_response=st.one_of(st.none(), st.builds(UserIdentityResponse, secrets)),
)
contexts_rq = st.lists(
    st.builds(PresentationContextRQ, odd_ids, uids, st.lists(uids, min_size=1, max_size=4).map(tuple)),
    min_size=1,
    max_size=5,
    unique_by=lambda context: context.context_id,
).map(tuple)
contexts_ac = st.lists(
    st.one_of(
        st.builds(PresentationContextAC, odd_ids, st.just(ContextResult.ACCEPTANCE), uids),
        st.builds(PresentationContextAC, odd_ids, st.sampled_from(list(ContextResult)[1:]), st.just("")),
    ),
    max_size=5,
    unique_by=lambda context: context.context_id,
).map(tuple)
requests = st.builds(AssociateRQ, ae_titles, ae_titles, contexts_rq, user_informations, uids, short)
answers = st.builds(AssociateAC, ae_titles, ae_titles, contexts_ac, user_informations, uids, short)
pdus = st.one_of(
    requests,
    answers,
    st.builds(AssociateRJ, octet, octet, octet),
    st.just(ReleaseRQ()),
    st.just(ReleaseRP()),
    st.builds(Abort, octet, octet),
)
