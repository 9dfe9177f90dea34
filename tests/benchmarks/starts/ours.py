"""This service: the Function App as it is, its trigger called once."""

import asyncio
import json
import os
import sys
from types import SimpleNamespace

import azure.functions as func

import function_app

asked = json.loads(os.environ["ASKED"])
handler = next(
    one.get_user_function()
    for one in function_app.app.get_functions()
    if one.get_function_name() == "cancel_appointment"
)
request = func.HttpRequest(
    "POST",
    "https://localhost/api/v1/cancel-appointment",
    headers={"authorization": f"Bearer {asked['token']}", "content-type": "application/json"},
    body=asked["body"].encode(),
)
answer = asyncio.run(
    handler(request, SimpleNamespace(trace_context=SimpleNamespace(trace_parent=None)))
)
told = json.loads(answer.get_body())
sys.stdout.write(
    json.dumps({"status": answer.status_code, "told": [told.get("outcome"), told.get("confirmed")]})
    + "\n"
)
sys.stdout.flush()
os._exit(0)
