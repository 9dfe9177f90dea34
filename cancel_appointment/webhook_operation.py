"""The cancel operation for webhooks: prove the sender, read the request, carry it out.

The service acts as itself, because no user is there. Owns the order (size, signature, body,
business), and what Graph's words about a user mean here. The answers fit what senders do with
them: a final outcome is a 200, a fault that a person has to correct is a 4xx, and an answer that is
worth a repeat has a Retry-After. Does *not* know Azure Functions or threads.
"""

from cancel_appointment.operation import CancelWork, CarriesOut
from cancel_appointment.request import check_size, parse_cancel_request
from shared.errors import (
    AccessDenied,
    IdempotencyKeyReused,
    InteractionRequired,
    Misconfigured,
    TokenRejected,
    WebhooksOff,
)
from shared.identity.webhooks import WebhookSender, read_webhook_id
from shared.ids import folded
from shared.services import Services
from shared.serving.problems import Reply
from shared.serving.requests import Incoming
from shared.telemetry.journal import Journal, pseudonym
from shared.transport.deadline import Deadline

_ROLES = "the application permissions Bookings.ReadWrite.All and BookingsAppointment.ReadWrite.All"
# The Standard Webhooks specification has senders try for three days; some keep on longer.
_KEEP_S = 7 * 24 * 3600.0


class WebhookOperation(CarriesOut[WebhookSender]):
    """Cancels appointments for senders of webhooks.

    Errors: WebhooksOff, where no key for them is set, before anything is read.
    """

    def __init__(self, services: Services) -> None:
        if services.webhooks is None:
            raise WebhooksOff(
                "This service takes no webhooks; its operator has set no key for them."
            )
        super().__init__(services, services.webhooks.tokens, keep_s=_KEEP_S)
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
        journal.note(mailbox=pseudonym(folded(request.business_id)))
        return CancelWork(sender, request, webhook_id)

    def admit_at_once(self, incoming: Incoming, journal: Journal) -> None:
        """See ``Operation.admit_at_once``: hashing for a stranger is work for a thread."""

    def carry_out(
        self, work: CancelWork[WebhookSender], deadline: Deadline, journal: Journal
    ) -> Reply:
        """Cancel, and name what senders know.

        Where Graph wants a user to sign in, an operator has to act. What is an Idempotency-Key
        elsewhere is the webhook-id here.
        """
        try:
            return super().carry_out(work, deadline, journal)
        except IdempotencyKeyReused as error:
            raise IdempotencyKeyReused(
                "This webhook-id came before, with another body: "
                "give another request an id of its own."
            ) from error
        except (TokenRejected, InteractionRequired, AccessDenied) as error:
            said = error.upstream
            if isinstance(error, AccessDenied) and said is not None and said.status == 403:
                raise AccessDenied(
                    "Microsoft Graph does not allow this service to do this. "
                    f"It may lack {_ROLES}.",
                    upstream=said,
                ) from error
            raise Misconfigured(
                f"Microsoft Graph does not accept this service's own token. It may lack {_ROLES}.",
                upstream=said,
            ) from error
