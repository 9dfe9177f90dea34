"""Real exchanges, recorded from the running service by ``make contract``."""

RECORDED = """{
 "access_denied": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADdeniedAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 403,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:access_denied",
    "title": "Access is denied",
    "status": 403,
    "detail": "Microsoft Graph does not allow this user to do this in this booking business.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "access_denied",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "upstream": {
     "service": "graph",
     "status": 403,
     "code": "ErrorAccessDenied",
     "requestId": "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    }
   }
  }
 },
 "appointments": {
  "request": {
   "method": "GET",
   "path": \
"/api/v1/businesses/Contosolunchdelivery@M365B489948.onmicrosoft.com/appointments?start=2027-0\
5-01T00:00:00Z&end=2027-06-01T00:00:00Z",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "x-correlation-id": "flow-run-08dd3c8f"
   }
  },
  "response": {
   "status": 200,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "x-correlation-id": "flow-run-08dd3c8f"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "start": "2027-05-01T00:00:00Z",
    "end": "2027-06-01T00:00:00Z",
    "appointments": [
     {
      "appointmentId": "AAMkADKoAAA=",
      "title": "2027-05-01 12:00 UTC, Catered bento, Jordan Miller",
      "serviceName": "Catered bento",
      "customerName": "Jordan Miller",
      "attendees": 1,
      "start": "2027-05-01T12:00:00Z",
      "end": "2027-05-01T12:30:00Z"
     },
     {
      "appointmentId": "AAMkADKnAAA=",
      "title": "2027-05-02 12:00 UTC, Catered bento, Alex Wilber",
      "serviceName": "Catered bento",
      "customerName": "Alex Wilber",
      "attendees": 1,
      "selfServiceAppointmentId": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
      "start": "2027-05-02T12:00:00Z",
      "end": "2027-05-02T12:30:00Z"
     },
     {
      "appointmentId": "AAMkAD/Ko+rAAA=",
      "title": "2027-05-03 12:00 UTC, Tasting, Isaiah Langer and 2 more (group)",
      "serviceName": "Tasting",
      "customerName": "Isaiah Langer",
      "attendees": 3,
      "start": "2027-05-03T12:00:00Z",
      "end": "2027-05-03T13:00:00Z"
     }
    ],
    "complete": true,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "business_not_found": {
  "request": {
   "method": "GET",
   "path": "/api/v1/businesses/nobody@contoso.com/appointments",
   "headers": {
    "Authorization": "Bearer <a token for this API>"
   }
  },
  "response": {
   "status": 404,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:business_not_found",
    "title": "There is no such booking business",
    "status": 404,
    "detail": "There is no such booking business, or it is not visible to this user.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "business_not_found",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "upstream": {
     "service": "graph",
     "status": 404,
     "code": "ErrorNonExistentMailbox",
     "requestId": "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    }
   }
  }
 },
 "businesses": {
  "request": {
   "method": "GET",
   "path": "/api/v1/businesses?query=lunch",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "x-correlation-id": "flow-run-08dd3c8f"
   }
  },
  "response": {
   "status": 200,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "x-correlation-id": "flow-run-08dd3c8f"
   },
   "body": {
    "businesses": [
     {
      "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
      "displayName": "Contoso Lunch Delivery"
     }
    ],
    "complete": true,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "caller_not_allowed": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 403,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:caller_not_allowed",
    "title": "The caller is not allowed",
    "status": 403,
    "detail": "This tenant is not on the list of callers.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "caller_not_allowed",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "cancelled": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json",
    "Idempotency-Key": "cancel-AAMkADKoAAA=-1",
    "x-correlation-id": "flow-run-08dd3c8f"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 200,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "x-correlation-id": "flow-run-08dd3c8f"
   },
   "body": {
    "outcome": "cancelled",
    "cancelled": true,
    "confirmed": true,
    "replayed": false,
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "message": "The appointment was cancelled; Microsoft Bookings notifies the customer and \
the staff."
   }
  }
 },
 "cancelled_by_webhook": {
  "request": {
   "method": "POST",
   "path": "/api/v1/webhooks/cancel-appointment",
   "headers": {
    "Content-Type": "application/json",
    "webhook-id": "msg_2f7c",
    "webhook-signature": "v1,INO7MpTR7fCEu77kWXFO5RI4CXJxbaBCTr02ATJErak=",
    "webhook-timestamp": "1793000000",
    "x-correlation-id": "flow-run-08dd3c8f"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 200,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "x-correlation-id": "flow-run-08dd3c8f"
   },
   "body": {
    "outcome": "cancelled",
    "cancelled": true,
    "confirmed": true,
    "replayed": false,
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "message": "The appointment was cancelled; Microsoft Bookings notifies the customer and \
the staff."
   }
  }
 },
 "cancelled_replayed": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json",
    "Idempotency-Key": "cancel-AAMkADKoAAA=-1",
    "x-correlation-id": "flow-run-08dd3c8f"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 200,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "x-correlation-id": "flow-run-08dd3c8f"
   },
   "body": {
    "outcome": "cancelled",
    "cancelled": true,
    "confirmed": true,
    "replayed": true,
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "message": "The appointment was cancelled; Microsoft Bookings notifies the customer and \
the staff."
   }
  }
 },
 "cancelled_unconfirmed": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKnAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 200,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "outcome": "cancelled",
    "cancelled": true,
    "confirmed": false,
    "replayed": false,
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKnAAA=",
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "message": "The appointment was cancelled. Microsoft Graph did not confirm it, but it \
stood before and is gone now."
   }
  }
 },
 "consent_required": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 403,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:consent_required",
    "title": "Consent is missing",
    "status": 403,
    "detail": "Nobody has consented yet that this service cancels appointments for this user; \
an administrator can.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "consent_required",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "upstream": {
     "service": "entra",
     "status": 400,
     "code": "AADSTS65001",
     "requestId": "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    }
   }
  }
 },
 "health": {
  "request": {
   "method": "GET",
   "path": "/api/health",
   "headers": {}
  },
  "response": {
   "status": 200,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "status": "ok",
    "version": "0.1.0"
   }
  }
 },
 "idempotency_key_reused": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json",
    "Idempotency-Key": "order-4711"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADotherAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 422,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:idempotency_key_reused",
    "title": "The idempotency key belongs to another request",
    "status": 422,
    "detail": "This Idempotency-Key came before, with another body: use a new key for another \
request.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "idempotency_key_reused",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "insufficient_scope": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 403,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "WWW-Authenticate": "Bearer realm=\\"\\", \
authorization_uri=\\"https://login.microsoftonline.com/84bd8158-6d4d-4958-8b9f-9d6445542f95/oau\
th2/v2.0/authorize\\", error=\\"insufficient_scope\\", error_description=\\"The token lacks the \
scope Appointments.Cancel.\\", scope=\\"Appointments.Cancel\\""
   },
   "body": {
    "type": "urn:bookings-cancel:problem:insufficient_scope",
    "title": "The token lacks a scope",
    "status": 403,
    "detail": "The token lacks the scope Appointments.Cancel.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "insufficient_scope",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "interaction_required": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 401,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "WWW-Authenticate": "Bearer realm=\\"\\", \
authorization_uri=\\"https://login.microsoftonline.com/84bd8158-6d4d-4958-8b9f-9d6445542f95/oau\
th2/v2.0/authorize\\", error=\\"insufficient_claims\\", error_description=\\"Entra asks this user \
for more than the token proves, for example multi-factor authentication. This client cannot \
answer such a challenge by itself. In a flow or app, open its connection and sign in again. If \
that does not help, an administrator has to apply the same access policy to this API as to \
Microsoft Graph. You then meet the policy when you make the connection.\\", \
claims=\\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19\\""
   },
   "body": {
    "type": "urn:bookings-cancel:problem:interaction_required",
    "title": "The user has to sign in again",
    "status": 401,
    "detail": "Entra asks this user for more than the token proves, for example multi-factor \
authentication. This client cannot answer such a challenge by itself. In a flow or app, open \
its connection and sign in again. If that does not help, an administrator has to apply the \
same access policy to this API as to Microsoft Graph. You then meet the policy when you make \
the connection.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "interaction_required",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "claims": "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19",
    "upstream": {
     "service": "entra",
     "status": 400,
     "code": "AADSTS50076",
     "requestId": "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    }
   }
  }
 },
 "internal_error": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 500,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:internal_error",
    "title": "This service failed",
    "status": 500,
    "detail": "Something unexpected happened. Quote the requestId to the operator of this service.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "internal_error",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "invalid_request": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentID": "AAMkADKoAAA="
   }
  },
  "response": {
   "status": 400,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:invalid_request",
    "title": "The request is not valid",
    "status": 400,
    "detail": "appointmentId is required (1 more fault; see errors).",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "invalid_request",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "errors": [
     {
      "field": "appointmentId",
      "message": "is required"
     },
     {
      "field": "appointmentID",
      "message": "is not a member of this request"
     }
    ]
   }
  }
 },
 "invalid_signature": {
  "request": {
   "method": "POST",
   "path": "/api/v1/webhooks/cancel-appointment",
   "headers": {
    "Content-Type": "application/json",
    "webhook-id": "msg_2f7c",
    "webhook-timestamp": "1793000000"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 401,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "WWW-Authenticate": "StandardWebhooks"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:invalid_signature",
    "title": "The signature is not accepted",
    "status": 401,
    "detail": "The header webhook-signature is missing, or holds no signature of version v1.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "invalid_signature",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "invalid_token": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 401,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "WWW-Authenticate": "Bearer realm=\\"\\", \
authorization_uri=\\"https://login.microsoftonline.com/84bd8158-6d4d-4958-8b9f-9d6445542f95/oau\
th2/v2.0/authorize\\", error=\\"invalid_token\\", error_description=\\"The token has expired.\\""
   },
   "body": {
    "type": "urn:bookings-cancel:problem:invalid_token",
    "title": "The token is not accepted",
    "status": 401,
    "detail": "The token has expired.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "invalid_token",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "misconfigured": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 500,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:misconfigured",
    "title": "This service is not set up correctly",
    "status": 500,
    "detail": "Exactly one of CLIENT_SECRET, CLIENT_CERTIFICATE_PATH, \
MANAGED_IDENTITY_CLIENT_ID must be set; none is.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "misconfigured",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "missing_token": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 401,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "WWW-Authenticate": "Bearer realm=\\"\\", \
authorization_uri=\\"https://login.microsoftonline.com/84bd8158-6d4d-4958-8b9f-9d6445542f95/oau\
th2/v2.0/authorize\\""
   },
   "body": {
    "type": "urn:bookings-cancel:problem:missing_token",
    "title": "A token is needed",
    "status": 401,
    "detail": "No bearer token came with the request.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "missing_token",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "not_found": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADnosuchAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 200,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "outcome": "not_found",
    "cancelled": false,
    "confirmed": true,
    "replayed": false,
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADnosuchAAA=",
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "missing": "appointment",
    "message": "There is no such appointment, or it is not visible to this caller. Check both \
ids; an appointment that was moved gets a new id."
   }
  }
 },
 "not_found_business": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "nobody@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 200,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "outcome": "not_found",
    "cancelled": false,
    "confirmed": true,
    "replayed": false,
    "businessId": "nobody@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "missing": "business",
    "message": "There is no such booking business, or it is not visible to this caller."
   }
  }
 },
 "not_found_unconfirmed": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosorepairs@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADrepair1="
   }
  },
  "response": {
   "status": 200,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "outcome": "not_found",
    "cancelled": false,
    "confirmed": false,
    "replayed": false,
    "businessId": "Contosorepairs@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADrepair1=",
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "missing": "appointment",
    "message": "The appointment is not there, or not visible to this caller. An earlier \
attempt may have cancelled it."
   }
  }
 },
 "outcome_unknown": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADunknownAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 504,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Retry-After": "5"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:outcome_unknown",
    "title": "It is not known yet whether the appointment was cancelled",
    "status": 504,
    "detail": "The cancel was sent, and it is not known yet whether it took effect. Send the \
same request again: that is safe.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "outcome_unknown",
    "retryable": true,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "retryAfterSeconds": 5,
    "upstream": {
     "service": "graph",
     "status": 403,
     "requestId": "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    }
   }
  }
 },
 "overloaded": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 503,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Retry-After": "1"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:overloaded",
    "title": "This service is busy",
    "status": 503,
    "detail": "Too many requests for this booking business are waiting.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "overloaded",
    "retryable": true,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "retryAfterSeconds": 1
   }
  }
 },
 "payload_too_large": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": "<70126 bytes of JSON>"
  },
  "response": {
   "status": 413,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:payload_too_large",
    "title": "The body is too large",
    "status": 413,
    "detail": "The body is larger than 64 KiB.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "payload_too_large",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "refused_by_bookings": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADlateAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 422,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:refused_by_bookings",
    "title": "Microsoft Bookings does not allow this cancel",
    "status": 422,
    "detail": "Microsoft Bookings refused the cancel by one of its rules. Most likely the \
appointment begins sooner than the minimum lead time allows.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "refused_by_bookings",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "upstream": {
     "service": "graph",
     "status": 400,
     "requestId": "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    }
   }
  }
 },
 "request_in_progress": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 409,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Retry-After": "1"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:request_in_progress",
    "title": "The same request is still running",
    "status": 409,
    "detail": "The same request is being carried out right now; ask again shortly.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "request_in_progress",
    "retryable": true,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "retryAfterSeconds": 1
   }
  }
 },
 "throttled": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADthrottledAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 429,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Retry-After": "41"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:throttled",
    "title": "Too many requests upstream",
    "status": 429,
    "detail": "Microsoft Graph asks for fewer requests to this booking business.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "throttled",
    "retryable": true,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "retryAfterSeconds": 41,
    "upstream": {
     "service": "graph",
     "status": 429,
     "code": "ApplicationThrottled",
     "requestId": "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    }
   }
  }
 },
 "unsupported_media_type": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "text/plain"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 415,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:unsupported_media_type",
    "title": "The body is not JSON",
    "status": 415,
    "detail": "Send the body as application/json in UTF-8, and say so in Content-Type.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "unsupported_media_type",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "upstream_error": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADbrokenAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 502,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:upstream_error",
    "title": "Microsoft answered nothing usable",
    "status": 502,
    "detail": "Microsoft Graph refused the request in a way that this service does not know.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "upstream_error",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "upstream": {
     "service": "graph",
     "status": 405,
     "code": "UnknownError",
     "requestId": "7c9e6679-7425-40de-944b-e07fc1f90ae7"
    }
   }
  }
 },
 "upstream_unavailable": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 503,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Retry-After": "5"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:upstream_unavailable",
    "title": "Microsoft could not be reached",
    "status": 503,
    "detail": "Entra could not be reached.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "upstream_unavailable",
    "retryable": true,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "retryAfterSeconds": 5,
    "upstream": {
     "service": "entra"
    }
   }
  }
 },
 "user_token_required": {
  "request": {
   "method": "POST",
   "path": "/api/v1/cancel-appointment",
   "headers": {
    "Authorization": "Bearer <a token for this API>",
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 403,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:user_token_required",
    "title": "A user's token is needed",
    "status": 403,
    "detail": "The token stands for an application; this route acts for a signed-in user.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "user_token_required",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 },
 "webhooks_not_enabled": {
  "request": {
   "method": "POST",
   "path": "/api/v1/webhooks/cancel-appointment",
   "headers": {
    "Content-Type": "application/json"
   },
   "body": {
    "businessId": "Contosolunchdelivery@M365B489948.onmicrosoft.com",
    "appointmentId": "AAMkADKoAAA=",
    "cancellationMessage": "Your appointment has been successfully cancelled. Please call us again."
   }
  },
  "response": {
   "status": 404,
   "headers": {
    "Content-Type": "application/json",
    "Cache-Control": "no-store"
   },
   "body": {
    "type": "urn:bookings-cancel:problem:webhooks_not_enabled",
    "title": "This service takes no webhooks",
    "status": 404,
    "detail": "This service takes no webhooks; its operator has set no key for them.",
    "instance": "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e",
    "code": "webhooks_not_enabled",
    "retryable": false,
    "requestId": "0f8fad5b-d9cb-469f-a165-70867728950e"
   }
  }
 }
}"""
