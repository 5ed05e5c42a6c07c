#!/usr/bin/env python3
"""Writes prices/table.json, which is compiled into the program, out of genai-prices.

    git clone https://github.com/pydantic/genai-prices && python3 prices/update.py genai-prices
    pip install genai-prices && python3 prices/update.py "$(python3 -c 'import genai_prices as g; print(g.__path__[0])')"

Takes a checkout of genai-prices or the folder of the installed package; needs nothing but python3. `--version` and
`--date` name what is pinned where the folder does not tell. The same source gives the same bytes. A price or a rule
that the table cannot hold ends the program, and nothing is written.

The table is JSON with a model to a line:

    {"source", "version", "revision", "date", "providers": [
      {"id", "names": [RULE…], "makes": [RULE…], "fallback": [provider id…], "models": [
        [id, [RULE…], [{PRICES, "from"?, "daily"?, "tiers"?: [{"above", PRICES}…]}…]], …]}, …]}

A RULE is `=whole`, `^start`, `$end`, `*anywhere`, or `~whole` and `^start` with `#` for a digit; `a&b` wants both. All
are in lower case. PRICES are USD per million tokens: in, out, cr and cw (cache read and write), cw1h (cache write that
lives for an hour), ain and aout (audio), think (reasoning). No price at all: the model is free. Of several price lists
the last whose condition holds is meant: `from` is a day, `daily` two times of the day in seconds, both UTC.
"""
import argparse, ast, json, pathlib, re, subprocess, sys
from decimal import Decimal

PRICES = {
    "input_mtok": "in", "output_mtok": "out", "cache_read_mtok": "cr", "cache_write_mtok": "cw",
    "cache_write_1h_mtok": "cw1h", "input_audio_mtok": "ain", "output_audio_mtok": "aout", "output_reasoning_mtok": "think",
}
# What the formula has no term for: images, video, searches, requests.
LEFT_OUT = {
    "cache_audio_read_mtok", "input_image_mtok", "output_image_mtok", "cache_image_read_mtok", "input_video_mtok",
    "output_video_mtok", "output_citation_mtok", "web_searches_kcount", "requests_kcount",
}
# Prices are kept in millionths of a dollar per million tokens.
DIGITS_MAX = 6


def parse(node):
    """A literal of the generated module: a call becomes [name, its arguments]."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name == "Decimal":
            return Decimal(node.args[0].value)
        return [name, {k.arg: parse(k.value) for k in node.keywords}, [parse(a) for a in node.args]]
    if isinstance(node, ast.List):
        return [parse(item) for item in node.elts]
    if isinstance(node, ast.Constant):
        return node.value
    if ast.unparse(node) in ("datetime.timezone.utc", "timezone.utc"):
        return "utc"
    raise ValueError(f"unexpected in the source: {ast.unparse(node)}")


def providers_of(data_py):
    for statement in ast.parse(data_py.read_text()).body:
        if isinstance(statement, ast.AnnAssign) and statement.target.id == "providers":
            return [fields for _, fields, _ in parse(statement.value)]
    raise ValueError(f"{data_py} has no providers")


def rules(clause):
    """The alternatives of a clause."""
    if clause is None:
        return []
    name, fields, args = clause
    parts = fields.get("or_", fields.get("and_", args[0] if args else None))
    if name == "ClauseOr":
        return [rule for part in parts for rule in rules(part)]
    if name == "ClauseAnd":
        sides = [rules(part) for part in parts]
        if any(len(side) != 1 for side in sides):
            raise ValueError(f"a clause within a clause: {clause}")
        return ["&".join(side[0] for side in sides)]
    sign = {"ClauseEquals": "=", "ClauseStartsWith": "^", "ClauseEndsWith": "$", "ClauseContains": "*"}
    if name == "ClauseRegex":
        return regex(fields["regex"])
    (text,) = fields.values()
    if any(c in text for c in "#&"):
        raise ValueError(f"a sign of the table's own stands in {text}")
    return [sign[name] + text.lower()]


def regex(clause):
    """The few regular expressions of the source are lists of words and digits."""
    pattern = clause if isinstance(clause, str) else clause[2][0]
    if m := re.fullmatch(r"\(\?:([a-z|]+)\)([a-z]+)", pattern):
        return [f"*{start}{m[2]}" for start in m[1].split("|")]
    if m := re.fullmatch(r"\^([a-z]+)\[(\d+)\]", pattern):
        return [f"^{m[1]}{digit}" for digit in m[2]]
    if m := re.fullmatch(r"\^((?:[a-z0-9/-]|\\\.|\\d(?:\{\d+\})?)+)(\$?)", pattern):
        text = re.sub(r"\\d(?:\{(\d+)\})?", lambda d: "#" * int(d[1] or 1), m[1]).replace("\\.", ".")
        return [("~" if m[2] else "^") + text]
    raise ValueError(f"a regular expression that the table cannot hold: {pattern}")


def usd(price):
    # Some prices went through floating point on their way: 0.18000000000000002.
    sent, price = price, Decimal(f"{price:.12g}").normalize()
    if price.as_tuple().exponent < -DIGITS_MAX:
        if len(sent.as_tuple().digits) < 16:
            raise ValueError(f"a price with more than {DIGITS_MAX} digits: {sent}")
        price = round(price, DIGITS_MAX)
        print(f"a fraction without end was cut: {sent} is {price}", file=sys.stderr)
    return int(price) if price == price.to_integral_value() else float(price)


def price_list(model_price):
    """Base prices, and whole lists for each threshold on the input."""
    named = {}
    for key, price in model_price[1].items():
        if key in PRICES:
            named[PRICES[key]] = price
        elif key not in LEFT_OUT:
            raise ValueError(f"a price of an unknown kind: {key}")
    named = {key: named[key] for key in PRICES.values() if key in named}
    tiered = {key: price[1] for key, price in named.items() if isinstance(price, list)}
    out = {key: usd(tiered[key]["base"] if key in tiered else price) for key, price in named.items()}
    tiers = []
    for above in sorted({tier[1]["start"] for price in tiered.values() for tier in price["tiers"]}):
        prices = dict(out)
        for key, price in tiered.items():
            reached = [tier[1]["price"] for tier in price["tiers"] if tier[1]["start"] <= above]
            if reached:
                prices[key] = usd(reached[-1])
        tiers.append({"above": above, **prices})
    return {**out, **({"tiers": tiers} if tiers else {})}


def condition(constraint):
    if constraint is None:
        return {}
    name, fields, _ = constraint
    if name == "StartDateConstraint":
        return {"from": "{:04}-{:02}-{:02}".format(*fields["start_date"][2])}
    if name == "TimeOfDateConstraint":
        return {"daily": [h * 3600 + m * 60 for h, m in (fields[key][2] for key in ("start_time", "end_time"))]}
    raise ValueError(f"an unknown condition: {name}")


def dated(prices):
    if prices and isinstance(prices[0], list):
        return [{**condition(p[1].get("constraint")), **price_list(p[1]["prices"])} for p in prices]
    return [price_list(prices)]


def is_known(model):
    """The source leaves out prices that nobody looked up, and those of free models: only a name tells them apart."""
    return model["id"].endswith(":free") or all("in" in prices or "out" in prices for prices in dated(model["prices"]))


def line(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def git(folder, *args):
    return subprocess.run(["git", "-C", folder, *args], capture_output=True, text=True).stdout.strip()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source", type=pathlib.Path)
    options.add_argument("--version")
    options.add_argument("--revision")
    options.add_argument("--date")
    options.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "table.json")
    asked = options.parse_args()
    inside = asked.source / "packages/python/genai_prices"
    package = inside if inside.is_dir() else asked.source
    version, revision, date = asked.version, asked.revision, asked.date
    if package is inside:
        version = version or re.search(r'^version = "(.+)"', (package.parent / "pyproject.toml").read_text(), re.M)[1]
        revision = revision or git(asked.source, "rev-parse", "HEAD")
        date = date or git(asked.source, "log", "-1", "--format=%cs")
    else:
        found = sorted(package.parent.glob("genai_prices-*.dist-info"))
        version = version or (found and found[-1].name.split("-")[1].removesuffix(".dist-info"))
    if not version or not date:
        sys.exit("the source does not tell its version and date: say --version and --date")

    heads = []
    for provider in providers_of(package / "data.py"):
        head = {
            "id": provider["id"], "names": rules(provider.get("provider_match")),
            "makes": rules(provider.get("model_match")), "fallback": provider.get("fallback_model_providers") or [],
        }
        models = [
            line([model["id"].lower(), sorted(set(rules(model["match"]))), dated(model["prices"])])
            for _, model, _ in provider["models"]
            if is_known(model)
        ]
        heads.append(line(head)[:-1] + ',"models":[\n' + ",\n".join(models) + "\n]}")
    head = line({"source": "genai-prices", "version": version, "revision": revision or "", "date": date})
    asked.out.write_text(head[:-1] + ',"providers":[\n' + ",\n".join(heads) + "\n]}\n")
    json.loads(asked.out.read_text())


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"prices/update.py: {error}")
