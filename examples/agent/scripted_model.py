"""A model that needs no network: OpenAI's chat completions API on a local port, with scripted answers.

It plays one short conversation about a weekend in Lisbon. Which line comes next follows from the messages of the
request alone, as with a real model, so requests may come in any number and order:

1. no tool has answered yet: call `get_weather` and `find_hotels`, both at once;
2. both have answered: call `convert_currency` with the cheapest hotel's price;
3. all three have answered: say what the tools found.

Usage counts four letters as a token. From the second request on, what the first one sent counts as read from the
prompt cache, as a provider reports it in `prompt_tokens_details.cached_tokens`.
"""

import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "gpt-4o-mini-2024-07-18"


class ScriptedModel:
    """The server, as a context manager: `with ScriptedModel() as model: … model.base_url …`."""

    def __enter__(self) -> "ScriptedModel":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/v1/chat/completions":
            self._send(404, {"error": {"message": f"no such path: {self.path}", "type": "invalid_request_error"}})
            return
        self._send(200, completion(json.loads(body)))

    def _send(self, status: int, answer: dict) -> None:
        payload = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_) -> None:
        """One line a request would only stand between the lines of the example."""


def completion(request: dict) -> dict:
    """The chat completion that answers `request`."""
    messages = request["messages"]
    results = {m["tool_call_id"]: json.loads(m["content"]) for m in messages if m["role"] == "tool"}
    message, finish_reason = _next_message(results)
    time.sleep(0.05)  # so that the times of the run are worth looking at

    prompt_tokens = _tokens([messages, request.get("tools", [])])
    first = [m for m in messages if m["role"] in ("system", "user")]
    cached_tokens = _tokens([first, request.get("tools", [])]) if results else 0
    completion_tokens = _tokens(message)
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex[:24]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "system_fingerprint": "fp_scripted",
    }


def _next_message(results: dict) -> tuple[dict, str]:
    if "call_hotels" not in results or "call_weather" not in results:
        return _calls(
            ("call_weather", "get_weather", {"city": "Lisbon"}),
            ("call_hotels", "find_hotels", {"city": "Lisbon", "nights": 2}),
        )
    hotel = min(results["call_hotels"]["hotels"], key=lambda hotel: hotel["total_eur"])
    if "call_convert" not in results:
        return _calls(("call_convert", "convert_currency", {"amount": hotel["total_eur"], "to": "USD"}))
    weather, price = results["call_weather"], results["call_convert"]
    text = (
        f"Stay at {hotel['name']}: two nights cost {hotel['total_eur']} EUR, which is {price['amount']} USD. "
        f"It will be {weather['sky']} and {weather['high_c']} °C, so pack light clothes and sunglasses."
    )
    return {"role": "assistant", "content": text, "refusal": None}, "stop"


def _calls(*calls: tuple[str, str, dict]) -> tuple[dict, str]:
    tool_calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for call_id, name, arguments in calls
    ]
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": tool_calls}, "tool_calls"


def _tokens(value) -> int:
    return max(1, len(json.dumps(value)) // 4)
