"""Every bound in one place, each with its unit and its reason.

A limit here has no off switch. Where a site may lower or raise one, ``app.config`` names the range.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# --- upper layer (PS3.8) ---------------------------------------------------------------------------------------

PDU_BYTES_MAX: Final = 256 * KIB
"""Maximum length we announce for P-DATA-TF (PS3.8 D.1). DCMTK: 16 KiB, 128 KiB at most; Orthanc: 16 KiB.
P-DATA is streamed, so memory does not depend on it; larger PDUs save per-PDU work."""

ASSOCIATE_BYTES_MAX: Final = 1 * MIB
"""Longest A-ASSOCIATE PDU. 128 contexts with 60 transfer syntaxes each are about 250 KiB; user identity may carry
a SAML assertion or JWT of up to 64 KiB."""

PRESENTATION_CONTEXTS_MAX: Final = 128
"""Odd ids 1..255. Source: PS3.8 9.3.2.2."""

TRANSFER_SYNTAXES_PER_CONTEXT_MAX: Final = 256
"""Far above the number of registered transfer syntaxes (about 60)."""

USER_IDENTITY_BYTES_MAX: Final = 64 * KIB
"""A two-octet length field cannot say more. Source: PS3.7 D.3.3.7."""

COMMAND_SET_BYTES_MAX: Final = 64 * KIB
"""A command set is a few hundred octets; an attribute list of N-GET may reach some KiB."""

IDENTIFIER_BYTES_MAX: Final = 4 * MIB
"""Data set of a query, retrieve or commitment request, held in memory. A commitment request of 20 000 instances,
or a C-MOVE by UID list of as many, is about 3 MiB."""

COMMITMENT_INSTANCES_MAX: Final = 20_000
"""Referenced SOP Instances in one N-ACTION."""

ARTIM_SECONDS: Final = 30.0
"""ARTIM timer: waiting for A-ASSOCIATE-RQ, or for the close after a reject (PS3.8 9.1.5). DCMTK: 30 s."""

HANDSHAKE_SECONDS: Final = 10.0
"""TLS handshake, whole."""

RECEIVE_BUFFER_BYTES: Final = 1 * MIB
"""Kernel receive buffer of a connection: two CT slices, so that the peer is not stopped while one is sealed."""

IDLE_SECONDS: Final = 60.0
"""Longest silence in an open association, and longest wait for one write. Orthanc: 30 s; DCMTK: none."""

PROGRESS_BYTES_MIN: Final = 64 * KIB
"""Octets that earn a peer another ``IDLE_SECONDS``: about 1 KiB/s. Slower than any modality, faster than a slow
loris."""

ASSOCIATIONS_MAX: Final = 100
"""Associations at once, over all peers; a further connection is closed when its handshake is done."""

ASSOCIATIONS_PER_ADDRESS_MAX: Final = 32
"""Associations at once from one address, counted when the handshake is done."""

HANDSHAKES_MAX: Final = 128
"""Connections whose TLS handshake is under way, over all addresses; a further one takes the place of the one that has
waited longest."""

HANDSHAKES_PER_ADDRESS_MAX: Final = 32
"""The same, of one address: as many as it may have associations."""

PEER_PDU_BYTES_MIN: Final = 128
"""Smallest maximum length of a peer that we send to; below, each octet of data would cost a multiple in headers.
DCMTK refuses below 4096; 0 means no limit (PS3.8 D.1)."""

UL_BUFFER_BYTES: Final = 256 * KIB
"""Receive buffer of one association: one PDU of the length that we announce, sixteen TLS records."""

# --- data sets (PS3.5) -----------------------------------------------------------------------------------------

DATASET_HEAD_BYTES_MAX: Final = 16 * MIB
"""How much of a data set may come before its Study Instance UID is known. All of it is held in memory; 150 MB are
the aim for the whole process."""

ATTRIBUTE_BYTES_MAX: Final = 64 * KIB
"""Longest value that is kept for the index. Longer ones are stored in the object but not searchable."""

SEQUENCE_DEPTH_MAX: Final = 32
"""Deepest nesting of sequences. Deep SR trees of real reports stay below 20."""

ELEMENTS_MAX: Final = 4_000_000
"""Data elements of one data set, nested ones included; a large RT structure set has some 100 000."""

INFLATE_RATIO_MAX: Final = 200
"""Deflated transfer syntax: octets out for one octet in, once 1 MiB is out."""

OBJECT_BYTES_MAX: Final = 64 * GIB
"""Largest object; FLOE would allow more, no modality makes one."""

TRANSCODE_BYTES_MAX: Final = 1 * GIB
"""Pixel data of one object that is decoded for a peer which does not take its compression: all of it is held in memory,
in a process of its own. Checked against the attributes and against every code stream before a decoder runs."""

JSON_BYTES_MAX: Final = 16 * MIB
"""DICOM JSON of one request: metadata of a study to be stored, or a workitem. 300 CT slices have some 2 MiB."""

JSON_DATASETS_MAX: Final = 10_000
"""Data sets of one JSON document."""

JSON_ELEMENTS_MAX: Final = 500_000
"""Data elements of one JSON document, nested ones included: as many as of an identifier held in memory."""

JSON_UPLOADS_MAX: Final = 2
"""STOW-RS requests of DICOM JSON at once: each may hold ``JSON_BULK_BYTES_MAX`` octets, and one data set of it twice."""

JSON_BULK_BYTES_MAX: Final = 256 * MIB
"""Octets of all bulk values that one JSON document names, held in memory."""

OUTLINE_HEADER_BYTES_MAX: Final = 4 * MIB
"""All of a data set but its bulk values, kept beside the index row; a thousand frames of enhanced MR have some 3 MiB. Beyond,
readers open the object itself."""

OUTLINE_READ_BYTES_MAX: Final = 64 * MIB
"""The same of an object whose outline is not kept, read from its pack when it is asked for: enhanced multi-frame objects of
some ten thousand frames."""

OUTLINE_FRAGMENTS_MAX: Final = 262_144
"""Fragments of encapsulated pixel data, or bulk values, whose places are kept: four octets each. A whole slide image at full
resolution has some 150 000 tiles."""

FRAME_BYTES_MAX: Final = 512 * MIB
"""One decoded frame. A mammogram has 50 MB; computing with it takes a few times as much."""

FRAMES_PER_REQUEST_MAX: Final = 2000
"""Frames that one path may name; each is named once, so no answer is longer than the object."""

RENDERED_PIXELS_MAX: Final = 64 * MIB
"""Pixels of one picture that is made; the largest detectors have 30 million."""

RENDERED_SIDE_MAX: Final = 16_384
"""Pixels along one side of a viewport; a JPEG cannot have more than 65 535."""

RENDERED_CACHE_BYTES_MAX: Final = 64 * MIB
"""Pictures that are held in memory for whoever may see them: about a thousand of CT slices."""

DECODERS_WAITING_MAX: Final = 32
"""Requests that wait for a decoding process; a further one is answered with 503. At 5 ms a frame they wait 80 ms."""

DECODER_WAIT_SECONDS: Final = 10.0
"""Longest wait for a decoding process, then 503."""

DECODER_FRAME_SECONDS: Final = 30.0
"""Longest time for one frame, decoded and rendered; then the process is ended. JPEG 2000 of 30 million pixels: 3 s."""

# --- queries ---------------------------------------------------------------------------------------------------

QUERY_RESULTS_MAX: Final = 100_000
"""Matches of one C-FIND; then it ends with 0xA700, never silently short."""

QUERY_CANDIDATES_MAX: Final = 2_000_000
"""Rows that one query may open to decide a match that no token narrows."""

QUERY_SECONDS: Final = 20.0
"""Work for one query, time in which its matches are taken not counted; then it is too broad. A million studies are passed
over in some 8 s."""

WILDCARD_CHARACTERS_MAX: Final = 16
"""Wild cards in one value; matching is linear in any case."""

COUNTED_BY_INDEX_MAX: Final = 10_000
"""How far a total is counted where the database alone can tell: 10 ms. More is told as "at least"."""

COUNTED_BY_OPENING_MAX: Final = 500
"""How far a total is counted where every candidate must be unsealed to tell: some 50 ms."""

FACTS_READ_MAX: Final = 10_000
"""Ways in which the facts of a series read that are remembered, some 300 octets each, no PHI; then it begins anew."""

VERDICTS_REMEMBERED_MAX: Final = 50_000
"""Verdicts of policy on classes of studies that lists remember, over all who ask; some 300 octets each."""

VERDICTS_SECONDS: Final = 1.0
"""How long a list asks from one standpoint: then the age of a strong factor and the hour are looked at anew."""

RELATED_STUDIES_MAX: Final = 50_000
"""Studies that somebody is related to of which a list is made to search by: 30 years of a busy practice's referrals. With
more, each candidate is unsealed to tell."""

RELATION_DAYS_MAX: Final = 366
"""Longest life of an assignment or a treating relationship; whoever still needs it is given it again."""

RELATIONS_PER_PRINCIPAL_MAX: Final = 10_000
"""Assignments and treating relationships of one person at a time, each opened for each request: 10 us."""

DELETED_INSTANCES_PER_HOUR_MAX: Final = 20_000
"""Instances that one person may delete softly in an hour: some forty CT studies. More looks like an attack (S88)."""

DELETION_REASON_CHARACTERS_MAX: Final = 1000
"""Why something was deleted, in a person's words."""

DELETIONS_LISTED_MAX: Final = 1000
"""Deletions of one list, the newest ones: what a person can look through."""

# --- store -----------------------------------------------------------------------------------------------------

PACK_BYTES_MAX: Final = 1 * GIB
"""A pack is closed when the next record would begin beyond this."""

INDEX_QUEUE_MAX: Final = 1024
"""Rows that wait for the index writer; then ingest waits."""

JOB_ATTEMPTS_MAX: Final = 12
"""Tries of one job, with doubling pauses: about two days."""

# --- audit -----------------------------------------------------------------------------------------------------

AUDIT_LEAF_BYTES_MAX: Final = 65_535
"""A bundle stores the length of an entry in two octets. Source: C2SP tlog-tiles, "Log Entries"."""

# --- HTTPS -----------------------------------------------------------------------------------------------------

HTTP_CONNECTIONS_MAX: Final = 1024
"""Connections at once, handshake done, over all addresses; then the one that has been idle longest makes room."""

HTTP_CONNECTIONS_PER_ADDRESS_MAX: Final = 128
"""The same, of one address. A browser opens six; a proxy that the site trusts is not counted."""

HTTP_HANDSHAKES_MAX: Final = 256
"""Connections whose handshake is under way; a further one takes the place of the one that has waited longest."""

HTTP_HANDSHAKES_PER_ADDRESS_MAX: Final = 64
"""The same, of one address."""

HTTP_HEAD_SECONDS: Final = 10.0
"""From the first octet of a request to the end of its head."""

HTTP_HEAD_BYTES_MAX: Final = 32 * KIB
"""Request line and header fields. nginx: 32 KiB. A cookie and a token are below 4 KiB."""

HTTP_HEADERS_MAX: Final = 100
"""Header fields of one request. Browsers send about 20. Apache: 100."""

REQUEST_TARGET_BYTES_MAX: Final = 16 * KIB
"""Path and query. QIDO-RS by a list of 200 UIDs has 13 KiB."""

HTTP_IDLE_SECONDS: Final = 30.0
"""A connection without a request."""

HTTP_SEND_SECONDS: Final = 60.0
"""Longest time in which a client takes nothing of the 512 KiB that wait for it."""

BODY_LEFT_SECONDS: Final = 10.0
"""How long a body may go on after its request was answered, so that the client can read the answer."""

BODY_LEFT_BYTES_MAX: Final = 4 * MIB
"""How many octets of such a body are thrown away before the connection is cut."""

WEBSOCKET_MESSAGE_BYTES_MAX: Final = 64 * KIB
"""One message from a client: a subscription is some hundred octets."""

WEBSOCKET_UNSENT_BYTES_MAX: Final = 1 * MIB
"""What waits for a client that does not read, answers to its pings among it."""

ABSENCE_TICK_SECONDS: Final = 0.01
"""Answers that nothing was found leave at the next multiple of this. A hidden study takes 0.1 to 0.5 ms longer to look up
than a missing one; both take less than this on a machine that is not overloaded."""

WEBSOCKET_RECHECK_SECONDS: Final = 5.0
"""How long a WebSocket outlives the right to it."""

HTTP_REQUESTS_MAX: Final = 512
"""Requests in hand, over everybody who is signed in; a further one is answered 503."""

HTTP_PUBLIC_REQUESTS_MAX: Final = 128
"""Requests in hand to endpoints that anybody may call: these have places of their own and take nobody else's."""

PUBLIC_BODY_SECONDS: Final = 10.0
"""How long the body of such a request may take as a whole: a sign-in is some hundred octets."""

HTTP_REQUESTS_PER_PRINCIPAL_MAX: Final = 64
"""Requests in hand of one principal; a further one is answered 429. A viewer asks for some ten frames at once."""

RATE_KEYS_MAX: Final = 65_536
"""Addresses or principals whose rate is remembered, about 100 octets each; the one that was quiet longest is
forgotten first."""

REFUSALS_REMEMBERED_MAX: Final = 1024
"""Kinds of refusal by address that are counted together in one event; further ones are counted without address."""

HTTP_THREADS_MAX: Final = 32
"""Worker threads of requests. A request holds one while it computes or waits for a disk, never while a client reads."""

BODY_THREADS_MAX: Final = 32
"""Worker threads of request bodies: each is held from the first octet to the last."""

BODIES_WAITING_MAX: Final = 64
"""Bodies that wait for a thread; a further one is answered 503."""

BODY_QUEUE_BYTES: Final = 1 * MIB
"""Octets of one body that wait for its thread; then the client is not read from. 32 bodies: 32 MiB."""

BODY_SILENCE_SECONDS: Final = 60.0
"""Longest silence inside a body. As in an open association."""

STREAM_PIECE_BYTES: Final = 256 * KIB
"""Octets of an answer that are written at once. Larger ones are paged in anew by malloc each time (measured: half the
rate at 1 MiB)."""

STREAM_AHEAD_BYTES: Final = 1 * MIB
"""Octets of an answer that are made by one visit to a thread, while as many are sent: two of these per download. A visit
costs about 0.1 ms."""

# --- DICOMweb --------------------------------------------------------------------------------------------------

MEDIA_TYPE_CHARACTERS_MAX: Final = 8 * KIB
"""Accept header or Content-Type. Viewers that list every transfer syntax send 2 KiB."""

MEDIA_RANGES_MAX: Final = 64
"""Media ranges of one Accept header. As above: about 20."""

BYTE_RANGES_MAX: Final = 16
"""Ranges of one Range header; what asks for more is answered whole."""

MULTIPART_PARTS_MAX: Final = 20_000
"""Parts of one STOW-RS request: instances, or bulk values. The largest studies have some 10 000 instances."""

UNREADABLE_PARTS_MAX: Final = 100
"""Parts of one STOW-RS request that are no DICOM files at all; each costs a durable event of the audit log."""

MULTIPART_PREAMBLE_BYTES_MAX: Final = 4 * KIB
"""Octets before the first and behind the last delimiter of a multipart body; they say nothing."""

PART_HEADER_BYTES_MAX: Final = 8 * KIB
"""Headers of one part: three lines, one of them perhaps with a long URL."""

SEARCH_PARAMETERS_MAX: Final = 256
"""Parameters of one QIDO-RS query, every value of includefield counted. Viewers send about 20."""

SEARCH_CHARACTERS_MAX: Final = 64 * KIB
"""Query string of a QIDO-RS query. A thousand UIDs fit."""

SEARCH_RESULTS_MAX: Final = 1000
"""Results of one QIDO-RS answer; the rest is asked for with ``offset``. Viewers ask for about 100."""

SEARCH_OFFSET_MAX: Final = 1_000_000
"""Results that a QIDO-RS query may pass over. They are decided on all the same, so paging on costs more and more."""

NAME_WORDS_MAX: Final = 16
"""Words of a person name that fuzzy matching looks at. Real names in any group have fewer than ten."""

DISCLOSURE_SECONDS: Final = 300.0
"""How long after a durable event further views of the same study by the same person, session and purpose do not wait for the
disk. Each is an entry of its own all the same."""

DISCLOSURES_REMEMBERED_MAX: Final = 10_000
"""Studies times readers of that time; some 500 octets each. Forgetting one costs one more durable event."""

# --- identity --------------------------------------------------------------------------------------------------

DEVICES_MAX: Final = 10_000
"""Devices or users of one registry, revoked ones included. A large hospital group has some thousand modalities."""

REGISTRY_BYTES_MAX: Final = 16 * MIB
"""Registry of devices or users: about 700 octets a device, so twice what ``DEVICES_MAX`` needs."""

ACCOUNTS_MAX: Final = 50_000
"""Accounts of a site, disabled ones included: they are held in memory, about 1 KiB each. A large hospital group has some
ten thousand people who may see images, over the years."""

SIGN_INS_PENDING_MAX: Final = 4096
"""Sign-ins between two steps, over all people; the oldest goes first. Each is below 1 KiB and lives five minutes."""

SIGN_INS_AT_ONCE_MAX: Final = 32
"""Passwords being checked or waiting for it; a further one is told to come again. They run one after the other (64 MiB,
0.1 to 0.2 s), so the last of these waits some five seconds."""

ADDRESSES_REMEMBERED_MAX: Final = 16_384
"""Addresses whose tries are counted; the least recently seen goes first. About 200 octets each."""

NETWORKS_PER_DEVICE_MAX: Final = 64
"""CIDR blocks of one device."""

TOKENS_REMEMBERED_MAX: Final = 100_000
"""Token ids held against replay until they expire; when all are in use, further tokens are refused."""

TOKEN_LIFETIME_SECONDS_MAX: Final = 600
"""Longest life of an access token that is believed. RFC 9700 asks for short ones; ten minutes bound the replay cache."""

ASSERTION_BYTES_MAX: Final = 256 * KIB
"""One signed statement of an identity provider or a service: a token, a SAML response in base64, or sealed state. A
person in 500 groups makes about 60 KiB."""

JWKS_KEYS_MAX: Final = 64
"""Keys of one issuer. Large ones hold fewer than ten."""

OUTBOUND_SECONDS: Final = 10.0
"""One question to an identity provider, connection and answer together: somebody waits at a sign-in page."""

OUTBOUND_BYTES_MAX: Final = 1 * MIB
"""Longest answer of an identity provider; a discovery document has about 5 KiB, a key set 10."""

SIGN_IN_SECONDS_MAX: Final = 600
"""From leaving for the identity provider to coming back, with a second factor and a lost password on the way."""

GROUPS_MAX: Final = 1000
"""Groups of one person that are read. Active Directory puts at most 1015 into its own tokens."""

ASSERTIONS_REMEMBERED_MAX: Final = 100_000
"""Ids of statements held against replay until they expire; when all are in use, further ones are refused."""

KEYS_REFRESH_SECONDS_MIN: Final = 60.0
"""Between two fetches of an issuer's keys because a token named an unknown one: else strangers make us fetch."""

PROVIDER_RETRY_SECONDS: Final = 5.0
"""After a question to an identity provider failed: until then whoever waits is told so at once, else each would hold a
thread for ``OUTBOUND_SECONDS``, one after the other."""

DISCOVERY_SECONDS: Final = 3600.0
"""How long the metadata and keys of an issuer are used before they are fetched again."""

CLIENTS_MAX: Final = 1000
"""Services and scripts with credentials of their own."""

CLIENT_DAYS_MAX: Final = 730
"""Longest life of one, in days: somebody looks at each at least every two years (NIST SP 800-57 part 1, 5.3.6)."""

ACCESS_TOKENS_MAX: Final = 20_000
"""Access tokens in force at once, over all clients: ten a minute for a hundred clients is a tenth of it."""

ACCESS_TOKENS_PER_CLIENT_MAX: Final = 200
"""Of one client; the oldest ends when there is one more."""

DECISIONS_REMEMBERED_MAX: Final = 10_000
"""Policy decisions in the cache; the least recently used goes first."""

POLICY_FILE_BYTES_MAX: Final = 1 * MIB
"""One file of a site's policies; those of this release together are 20 KiB."""

BREAK_GLASS_REASON_CHARACTERS_MIN: Final = 10
"""Shortest reason for emergency access: a word or two."""

BREAK_GLASS_REASON_CHARACTERS_MAX: Final = 2000
"""Longest reason, or finding of a review."""

BREAK_GLASS_UNREVIEWED_MAX: Final = 50
"""Emergency accesses of one person that wait for review. A night with more has a review in between."""

BREAK_GLASS_ESCALATIONS_MAX: Final = 30
"""Escalations of one emergency access: one a day for a month."""

REVIEW_ITEMS_MAX: Final = 20_000
"""Grants in one access review; its result is about 5 MB then, below what an audit entry may seal."""

REVIEW_REASON_CHARACTERS_MAX: Final = 200
"""Reason of one decision of a review: as many as there are grants stand in the result."""

POLICY_FILES_MAX: Final = 100
"""Policy files of a site's own."""

POLICY_VERSIONS_MAX: Final = 10_000
"""Sets of policies that a site ever applied, about 300 octets each: two a week for a century."""

POLICY_LOOK_SECONDS: Final = 0.2
"""How long what another process applied may go unnoticed; asking the disk before every decision would double its cost."""

POLICY_SAMPLES_MAX: Final = 20
"""Values of changed policies that a dry run makes sample studies of: each makes four, 20 ms of decisions a role."""

POLICY_RULES_MAX: Final = 1000
"""Policies in force. A decision that is not remembered takes longer with each."""

AUDIT_PAYLOAD_BYTES_MAX: Final = 8 * MIB
"""Sealed payload of one audit entry. A C-MOVE that names 20 000 instances is about 1.5 MiB."""

AUDIT_TOKENS_MAX: Final = 1024
"""Object tokens that one leaf shows (35 octets each, so 35 KiB); the payload has them all."""

AUDIT_SEGMENT_BYTES_MAX: Final = 16 * MIB
"""A journal segment is closed when it is longer. The open one is read whole at start: 0.1 s."""

AUDIT_TOKEN_CACHE_MAX: Final = 16_384
"""Object values whose tokens are remembered: about 4 MiB."""

AUDIT_RECENT_LEAVES_MAX: Final = 16_384
"""Leaves held in memory from write to seal, 8 s of 2000 a second; further ones are read back from the journal."""

AUDIT_RECENT_LEAF_BYTES_MAX: Final = 2048
"""Longest leaf held so: 32 MiB at most. An ingest's has about 650 octets."""

AUDIT_CHECKPOINT_BYTES_MAX: Final = 64 * KIB
"""A signed checkpoint with 16 signatures, post-quantum ones included. Source: C2SP signed-note, "Format"."""

DUPLICATE_COMPARED_BYTES_MAX: Final = 4 * MIB
"""Data set of a resent object that is compared attribute by attribute when its octets differ; held in memory meanwhile."""

QUARANTINED_PER_UID_MAX: Final = 16
"""Objects with other content that are kept apart under one SOP Instance UID; a newcomer is compared with each. Further
ones are refused and on record, but not kept: who sends ever new content must not fill the disk."""

COMMITMENT_REQUESTS_MAX: Final = 1000
"""Storage commitment requests that wait for their reports, over all devices; each is up to 2.6 MB in the database."""

POSTURES_REMEMBERED_MAX: Final = 10_000
"""Statements of the access proxy that were verified, 32 octets each; the oldest is verified again."""

# --- worklist --------------------------------------------------------------------------------------------------

WORKITEMS_MAX: Final = 1_000_000
"""Workitems kept at once, final ones included: a thousand a day for the month that they are kept is 30 000."""

WORKITEM_BYTES_MAX: Final = 1 * MIB
"""Data set of one workitem; one with 1000 referenced instances has 150 KiB."""

WORKITEM_RESULTS_MAX: Final = 1000
"""Workitems of one answer; the next ones are asked for with ``offset``."""

SUBSCRIPTIONS_MAX: Final = 10_000
"""Subscriptions of all subscribers. They are walked for every event: 10 ms."""

WORKITEM_CHANNELS_MAX: Final = 500
"""Event channels open at once, a WebSocket each."""

WORKITEM_EVENTS_QUEUED_MAX: Final = 1000
"""Events that wait for a subscriber who reads slowly; one more closes the channel."""
