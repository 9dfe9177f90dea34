"""The cancel operation for webhooks: prove the sender by its signature, read the request, carry it
out as this application.

Owns the order (size, signature, body, business), and what Graph's words about a user mean where
there is none. Its answers follow what senders do with them: what will not change is a 200, what a
person has to mend a 4xx, what is worth a repeat has a Retry-After. Does *not* know Azure Functions
or threads.
"""

from cancel_appointment.operation import CancelWork, CarriesOut
from cancel_appointment.patience import WEBHOOK_WITHIN_S
from cancel_appointment.records import Keep
from cancel_appointment.request import check_size, parse_cancel_request
from shared.errors import (
    AccessDenied,
    FacadeError,
    IdempotencyKeyReused,
    InteractionRequired,
    Misconfigured,
    TokenRejected,
    WebhooksOff,
)
from shared.identity.webhooks import WebhookSender, read_webhook_id
from shared.services import Services
from shared.serving.problems import Reply
from shared.serving.requests import Incoming
from shared.telemetry.journal import Journal, pseudonym
from shared.transport.deadline import Deadline

_KEEP_S = (
    7 * 24 * 3600.0
)  # the Standard Webhooks specification has senders try for three days; some keep on longer


class WebhookOperation(CarriesOut[WebhookSender]):
    """Cancels appointments for senders of webhooks.

    Errors: WebhooksOff, where no key for them is set, before anything is read.
    """

    def __init__(self, services: Services) -> None:
        if services.webhooks is None:
            raise WebhooksOff(
                "This service takes no webhooks; its operator has set no key for them."
            )
        super().__init__(
            services,
            services.webhooks.tokens,
            Keep.for_deadline(
                min(WEBHOOK_WITHIN_S, services.settings.request_deadline_seconds), keep_s=_KEEP_S
            ),
        )
        self._verifier = services.webhooks.verifier

    def admit(self, incoming: Incoming, journal: Journal) -> CancelWork[WebhookSender]:
        """Prove the sender, then read the request.

        Errors: those of ``check_size``, ``verify``, ``parse_cancel_request`` and
        ``require_business``.
        """
        check_size(incoming.body)  # before it is hashed once per secret
        journal.note(acting="app")
        sender = self._verifier.verify(incoming.headers, incoming.body)
        webhook_id = read_webhook_id(incoming.headers)
        journal.note(
            key=sender.key_id,
            tenant=sender.tenant_id,
            delivery=pseudonym(sender.key_id, webhook_id),
        )
        request = parse_cancel_request(incoming.headers.get("content-type"), incoming.body)
        sender.require_business(request.business_id)
        work = CancelWork(sender, request, webhook_id)
        journal.note(mailbox=pseudonym(work.lane))
        return work

    def admit_at_once(self, incoming: Incoming, journal: Journal) -> None:
        """See ``Operation.admit_at_once``: hashing for a stranger is work for a thread."""

    def carry_out(
        self, work: CancelWork[WebhookSender], deadline: Deadline, journal: Journal
    ) -> Reply:
        """Cancel. Where Graph wants a user to sign in, an operator has to act; what is a key
        elsewhere is the webhook-id here.
        """
        try:
            return super().carry_out(work, deadline, journal)
        except IdempotencyKeyReused as error:
            raise IdempotencyKeyReused(
                "This webhook-id came before, with another body: give another request an id of its own."
            ) from error
        except (TokenRejected, InteractionRequired) as error:
            raise _misconfigured(error) from error
        except AccessDenied as error:
            if error.upstream is not None and error.upstream.status == 401:
                raise _misconfigured(error) from error
            raise AccessDenied(
                "Microsoft Graph does not allow this service to do this; it may lack the application permission.",
                upstream=error.upstream,
            ) from error


def _misconfigured(error: FacadeError) -> Misconfigured:
    return Misconfigured(
        "Microsoft Graph does not accept this service's own token. It needs both application "
        "permissions: Bookings.ReadWrite.All and BookingsAppointment.ReadWrite.All.",
        upstream=error.upstream,
    )
