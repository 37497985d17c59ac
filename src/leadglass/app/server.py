"""The server process: opens the site, opens the doors, keeps the log signed, and ends in order."""

import signal
import threading
from collections.abc import Callable, Mapping
from typing import Final

from leadglass.app.chores import ONCE, Chore, Chores
from leadglass.app.compose import SERVICE, Node
from leadglass.app.control import ControlServer
from leadglass.app.node_certificate import NodeCertificate
from leadglass.app.operations import SERVED_OPERATIONS
from leadglass.app.web import https_server
from leadglass.archive.access import actor_of
from leadglass.base.errors import LeadglassError
from leadglass.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from leadglass.doors.dimse.acceptor import Acceptor
from leadglass.doors.dimse.commitment_scu import CommitmentDelivery
from leadglass.doors.dimse.listener import Listener
from leadglass.doors.dimse.services import Services
from leadglass.trust.audit.interfaces import AuditEvent, EventCode
from leadglass.trust.identity.database import IDENTITY_VERSION_FACT
from leadglass.trust.identity.registry import VERSION_FACT
from leadglass.trust.policy.bundle_store import POLICY_VERSION_FACT
from leadglass.wire.ul.negotiation import LocalParameters

_TICK_SECONDS: Final = 1.0
_DRAIN_SECONDS: Final = 10.0
_WORKER_SECONDS: Final = 5.0
_MINUTE: Final = 60.0
_HOUR: Final = 3600.0


def local_parameters() -> LocalParameters:
    """Return what we say about ourselves when associating."""
    return LocalParameters(IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME)


def services_of(node: Node, certificate: NodeCertificate) -> Services:
    """Return what the DIMSE door works with."""
    settings = node.settings.dimse
    return Services(
        ae_title=settings.ae_title,
        directory=node.registry,
        access=node.access,
        ingest=node.ingest,
        finder=node.finder,
        retriever=node.retriever,
        commitment=node.commitment,
        clock=node.clock,
        storage_sop_classes=node.storage_sop_classes,
        transfer_syntaxes=node.transfer_syntaxes,
        client_tls=lambda _device: certificate.client(),
        local=local_parameters(),
        users=node.user_identity,
    )


def chores_of(node: Node, certificate: NodeCertificate) -> Chores:
    """Return what the node does now and then."""
    return Chores(
        [
            Chore("decoders", ONCE, node.transcoder.warm),
            Chore("password check", ONCE, node.identity.passwords.prepare),
            Chore("emergency accesses", _MINUTE, node.identity.break_glass.due),
            Chore("sessions", _MINUTE, node.identity.sessions.sweep),
            Chore("access reviews", _HOUR, node.access_review.due),
            Chore("workitems", _HOUR, node.worklist.forget_ended),
            Chore("node certificate", _HOUR, certificate.refresh),
        ],
        node.clock,
    )


class Server:
    """One running node."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.certificate = NodeCertificate(node)
        services = services_of(node, self.certificate)
        self.listener = Listener(
            node.settings.dimse.host,
            node.settings.dimse.port,
            self.certificate.server,
            Acceptor(services),
            connections_max=node.settings.dimse.associations_max,
        )
        self.web = https_server(node, self.certificate.web) if node.settings.web.enabled else None
        if self.web is not None:
            self.certificate.on_change(self.web.reload)
        delivery = CommitmentDelivery(services)
        self._control = ControlServer(node.paths.control_socket, node, SERVED_OPERATIONS)
        self._stopping = threading.Event()
        self._reload = threading.Event()
        # Delivery waits for other people's devices; the log must be signed meanwhile.
        self._workers = [
            threading.Thread(target=self._repeat, args=(node.audit.seal,), name="audit-seal", daemon=True),
            threading.Thread(
                target=self._repeat, args=(self._reload_when_asked,), name="reload", daemon=True
            ),
            threading.Thread(
                target=self._repeat, args=(delivery.deliver_due,), name="commitment", daemon=True
            ),
            threading.Thread(
                target=self._repeat,
                args=(chores_of(node, self.certificate).run_due,),
                name="chores",
                daemon=True,
            ),
        ]

    def start(self) -> None:
        """Open the doors.

        Raises:
            ConfigurationError: the port is taken.
            AuditUnavailable: the start cannot be put on record.
        """
        versions = {
            VERSION_FACT: self.node.registry.version,
            IDENTITY_VERSION_FACT: self.node.identity.database.version,
            POLICY_VERSION_FACT: self.node.policy.version,
        }
        self._record(EventCode.SERVICE_STARTED, versions)
        try:
            self._control.start()
            self.listener.start()
            if self.web is not None:
                self.web.start()
        except LeadglassError:
            self.listener.stop(0)
            self._control.stop()
            self._record(EventCode.SERVICE_STOPPED)
            raise
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Close the doors, let associations end, and close the site."""
        self._stopping.set()
        if self.web is not None:
            self.web.stop(_DRAIN_SECONDS)
        self.listener.stop(_DRAIN_SECONDS)
        self._control.stop()
        for worker in self._workers:
            worker.join(_WORKER_SECONDS)
        try:
            self._record(EventCode.SERVICE_STOPPED)
        finally:
            self.node.close()

    def run(self, ready: Callable[[int, int], None]) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP takes up another certificate. ``ready`` is called with the ports of DICOM and HTTPS when the doors are open.

        The port of HTTPS is 0 where it is switched off.
        """
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stop.set())
        # Not in the handler itself: it may come while this thread holds a lock.
        signal.signal(signal.SIGHUP, lambda _number, _frame: self._reload.set())
        try:
            self.start()
        except LeadglassError:
            self.node.close()
            raise
        ready(self.listener.port, 0 if self.web is None else self.web.port)
        stop.wait()
        self.stop()

    def _reload_when_asked(self) -> None:
        if self._reload.is_set():
            self._reload.clear()
            self.certificate.refresh()

    def _repeat(self, work: Callable[[], object]) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                work()
            except LeadglassError:
                # A log that takes nothing closes every door by itself, and `status` shows it; a report that was not
                # delivered is kept for the next try.
                continue

    def _record(self, code: EventCode, facts: Mapping[str, str | int | bool] | None = None) -> None:
        event = AuditEvent(code=code, at=self.node.clock.now(), actor=actor_of(SERVICE), facts=facts or {})
        self.node.audit.record(event)
