"""The protocol that never gives a wrong answer and never cancels twice. Pure.

    an exchange ended   means                                   next
    answered            204: cancelled; "gone": see below;      the end
                        any other refusal: its error
    refused             nothing was done                        the same again, after the wait
                                                                that Graph asked for
    not sent            nothing was done                        the same again, with backoff
    unanswered          a cancel may have taken effect (doubt)  look
    look: it stands     no effect so far                        cancel again
    look: it is gone    ours or not, nobody knows               not_found, unconfirmed

"Gone" to a cancel is ``not_found``: confirmed without doubt, unconfirmed with it. It changes once a
look of the same request has seen the appointment standing. A later "gone", to a cancel or to a
look, is then ``cancelled``, unconfirmed. Without such a look it never is: Graph answers 500 to ids
that never existed, too.

Owns what each end of a call means (``decisions``), what unanswered cancels leave behind
(``doubt``), what is said where there is no outcome (``failures``), and the outcomes (``outcome``).
Does *not* send, wait or record: ``cancellation.py`` carries it out.
"""
