"""An agent with tools, traced by OpenTelemetry, that needs no outside service.

    pip install -r examples/agent/requirements.txt
    export OTEL_EXPORTER_OTLP_ENDPOINT=…     # two of the lines that the collector prints at its first start
    export OTEL_EXPORTER_OTLP_HEADERS=…
    python examples/agent/agent.py "What will a weekend in Lisbon cost, and what should I pack?"

The agent is the usual loop around the `openai` package: ask the model, run the tools it calls, ask again. The model is
`scripted_model.py`, which this program starts and stops; `OpenAI()` against the real service would be traced alike.

The OpenInference instrumentation of `openai` makes a span of each model call, with messages and token counts. The
agent itself makes one `invoke_agent` span around the loop and one `execute_tool` span for each tool call, named after
the OpenTelemetry GenAI semantic conventions. Both kinds meet in one trace, which becomes one run.
"""

import json
import os
import sys
import uuid

from openai import OpenAI
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from scripted_model import ScriptedModel

AGENT = "weekend_planner"
MODEL = "gpt-4o-mini"
TURNS_MAX = 8
INSTRUCTIONS = "You plan weekends. Use the tools for facts; never guess prices or weather."

tracer = trace.get_tracer("weekend-agent")


# --- tools ---------------------------------------------------------------------------------------------------------


def get_weather(city: str) -> dict:
    """Weather of the coming weekend in a city."""
    return {"Lisbon": {"sky": "sunny", "high_c": 24, "low_c": 16}}[city]


def find_hotels(city: str, nights: int) -> dict:
    """Hotels in a city with the price of the whole stay in euros."""
    per_night = {"Lisbon": {"Hotel Alfama": 118, "Casa do Rio": 96, "Pensão Central": 104}}[city]
    return {"hotels": [{"name": name, "total_eur": price * nights} for name, price in per_night.items()]}


def convert_currency(amount: float, to: str) -> dict:
    """Converts an amount in euros to another currency."""
    return {"amount": round(amount * {"USD": 1.17, "GBP": 0.87}[to], 2), "currency": to}


def parameters(**types: str) -> dict:
    """The JSON schema of a tool's arguments, all of them required."""
    return {"type": "object", "properties": {k: {"type": t} for k, t in types.items()}, "required": list(types)}


TOOLS = {
    get_weather: parameters(city="string"),
    find_hotels: parameters(city="string", nights="integer"),
    convert_currency: parameters(amount="number", to="string"),
}
TOOL_BY_NAME = {tool.__name__: tool for tool in TOOLS}
TOOL_DEFINITIONS = [
    {"type": "function", "function": {"name": tool.__name__, "description": tool.__doc__, "parameters": schema}}
    for tool, schema in TOOLS.items()
]


def execute_tool(call) -> str:
    """Runs one tool call of the model in a span of its own. A failing tool answers the model with its error."""
    name, arguments = call.function.name, call.function.arguments
    with tracer.start_as_current_span(f"execute_tool {name}", record_exception=False) as span:
        span.set_attribute("gen_ai.operation.name", "execute_tool")
        span.set_attribute("gen_ai.tool.name", name)
        span.set_attribute("gen_ai.tool.type", "function")
        span.set_attribute("gen_ai.tool.call.id", call.id)
        span.set_attribute("gen_ai.tool.call.arguments", arguments)
        try:
            tool = TOOL_BY_NAME[name]
            span.set_attribute("gen_ai.tool.description", tool.__doc__)
            result = json.dumps(tool(**json.loads(arguments)), ensure_ascii=False)
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(trace.StatusCode.ERROR, repr(error))
            result = json.dumps({"error": repr(error)})
        span.set_attribute("gen_ai.tool.call.result", result)
        return result


# --- the agent -----------------------------------------------------------------------------------------------------


def text_message(role: str, text: str, **more) -> dict:
    """One message in the shape of `gen_ai.input.messages` and `gen_ai.output.messages`."""
    return {"role": role, "parts": [{"type": "text", "content": text}], **more}


def invoke_agent(client: OpenAI, question: str) -> tuple[str, str]:
    """Answers the question. Returns the answer and the id of the trace that tells how it came about."""
    with tracer.start_as_current_span(f"invoke_agent {AGENT}") as span:
        span.set_attribute("gen_ai.operation.name", "invoke_agent")
        span.set_attribute("gen_ai.provider.name", "openai")
        span.set_attribute("gen_ai.agent.name", AGENT)
        span.set_attribute("gen_ai.request.model", MODEL)
        span.set_attribute("gen_ai.conversation.id", str(uuid.uuid4()))
        span.set_attribute("gen_ai.input.messages", json.dumps([text_message("user", question)], ensure_ascii=False))
        answer = run_loop(client, question)
        output = [text_message("assistant", answer, finish_reason="stop")]
        span.set_attribute("gen_ai.output.messages", json.dumps(output, ensure_ascii=False))
        return answer, trace.format_trace_id(span.get_span_context().trace_id)


def run_loop(client: OpenAI, question: str) -> str:
    messages: list = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": question}]
    for _ in range(TURNS_MAX):
        response = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOL_DEFINITIONS)
        message = response.choices[0].message
        if not message.tool_calls:
            return message.content or ""
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": execute_tool(call)})
    raise RuntimeError(f"no answer after {TURNS_MAX} turns")


def main() -> None:
    question = " ".join(sys.argv[1:]) or "What will a weekend in Lisbon cost, and what should I pack?"

    # Endpoint and headers come from OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS.
    os.environ.setdefault("OTEL_SERVICE_NAME", "weekend-agent")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    OpenAIInstrumentor().instrument()

    with ScriptedModel() as model:
        client = OpenAI(base_url=model.base_url, api_key="not-needed")
        answer, trace_id = invoke_agent(client, question)
    provider.shutdown()  # sends what is still in the batch

    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318").rstrip("/")
    run_id = str(uuid.UUID(trace_id))
    print(answer)
    print()
    print(f"trace  {trace_id}")
    print(f"run    {run_id}")
    # The shell turns name=value into a header, so that the key is not printed here.
    print(f'open   curl -s -H "${{OTEL_EXPORTER_OTLP_HEADERS/=/: }}" {endpoint}/runs/{run_id}')


if __name__ == "__main__":
    main()
