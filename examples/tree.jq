# The answer of GET /runs/{run_id} as a tree: jq -r -f examples/tree.jq
def say(value; unit): if value == null then "" else "  \(value)\(unit)" end;
def usd: if . == null then null else (. * 1e6 | round) as $u | "\($u / 1e6 | floor).\("00000\($u % 1000000)"[-6:])" end;
def ms: if . == null then null else round end;
def cut: if . == null then "" else "  " + (gsub("\\s+"; " ") | if length > 48 then .[:47] + "…" else . end) end;
def step(indent):
  "\(indent)\(.type)  \(.name)\(if .status == "success" then "" else "  " + (.status | ascii_upcase) end)"
    + "\(say(.model; ""))\(say(.tokens; " tokens"))\(say(.latency_ms | ms; " ms"))"
    + (if .type == "tool_call" then "\(.input | cut)  →\(.output | cut)" else "" end),
  (.children[] | step(indent + "  "));
(.run | "\(.name)  \(.status)\(say(.model; ""))\(say(.tokens; " tokens"))\(say(.cost | usd; " USD"))",
  "in \(.input | cut)", "out\(.output | cut)", ""),
(.tree[] | step(""))
